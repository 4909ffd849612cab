"""Tape: what a computation does to tensors, recorded once and repeated on the same memory.

On small nets most of a training step is Python's, and autograd's, way to the next operation. A tape
goes straight there: no modules, no graph, no views, and hardly any memory to be asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Tape"]

# What an operation that makes a tensor may be told of it, and one that fills a tensor need not.
OF_NEW_TENSORS = ("dtype", "layout", "device", "pin_memory")

aten = torch.ops.aten

# Nothing is known of what these make, until others write into it.
UNFILLED = (
    aten.empty,
    aten.empty_like,
    aten.empty_strided,
    aten.new_empty,
    aten.new_empty_strided,
)


class Tape(TorchDispatchMode):
    """Records the operations that run while it is entered, those of autograd's backward included.

    Everything that was computed stays where it is; :meth:`replay` computes it there again, from
    what is then in the tensors that were read. Python does not run again: what it decided, and the
    numbers that it passed, are those of the recording. That it looked at values is noticed where
    it asks torch for them (`item`, `float`, `bool`, a mask as an index), not if it reads their
    memory (`numpy`, `tolist`).

    Parameters
    ----------
    memory : float, default=inf
        Bytes of results beyond which nothing is recorded.

    Attributes
    ----------
    refusal : str or None
        Why there is nothing to replay, or None.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse._training._tape import Tape
    >>> x = torch.ones(2)
    >>> with Tape() as tape:
    ...     y = 3 * x + 1
    >>> _ = x.fill_(2.0)
    >>> tape.replay()
    >>> y
    tensor([7., 7.])
    """

    # Else torch imports its compiler to leave this alone, which takes longer than many a fit.
    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __init__(self, memory: float = math.inf) -> None:
        super().__init__()
        self.refusal: str | None = None
        self._room = memory
        self._devices: set[torch.device] = set()
        self._constants: dict[int, Tensor] = {}
        self._steps: list[Callable[[], Any]] = []

    def replay(self) -> None:
        """Compute everything again."""
        assert self.refusal is None
        with torch.no_grad():
            for step in self._steps:
                step()

    def __torch_dispatch__(
        self, op: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = op(*args, **kwargs)
        if self.refusal is None:
            self.refusal = _refuse(op, args, result) or self._record(op, args, kwargs, result)
            if self.refusal is not None:
                self._steps = []
        return result

    def _record(
        self, op: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any
    ) -> str | None:
        """Add an operation that has just run; return why it cannot be repeated, or None."""
        read, results = [*_tensors(args), *_tensors(kwargs.values())], list(_tensors([result]))
        # Numbers are handed on as tensors of no dimension, of any device.
        self._devices |= {tensor.device for tensor in (*read, *results) if tensor.dim()}
        new = _new(results, read)
        self._room -= sum(tensor.untyped_storage().nbytes() for tensor in new)
        if op.overloadpacket is aten.lift_fresh:
            self._constants |= {_memory(tensor): tensor for tensor in results}
        written = {_memory(t) for t in _tensors(_written(op, args, kwargs))}
        if (written and not _reshapes(op)) or (new and op.overloadpacket not in UNFILLED):
            # As they are now: others may be given another shape in place.
            args, kwargs = _shown(args), {k: _shown(v) for k, v in kwargs.items()}
            self._steps.append(
                partial(_direct(op), *args, **kwargs)
                if written
                else _filling(op, args, kwargs, _shown(result))
            )
        return self._refuse_memory(op, bool(written), n_new=len(new), n_results=len(results)) or (
            f"{op} writes into a constant" if written & self._constants.keys() else None
        )

    def _refuse_memory(self, op: Any, writes: bool, *, n_new: int, n_results: int) -> str | None:
        if len(self._devices) > 1:
            return f"{op} moves between devices"
        if n_new and (writes or n_new < n_results):
            return f"{op} returns new memory beside other"
        return None if self._room >= 0 else "results take too much memory"


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


def _flat(result: Any) -> Sequence[Any]:
    """Return the results of an operation, which may be one or several."""
    return result if isinstance(result, (list, tuple)) else [result]


def _shown(value: Any) -> Any:
    """Return tensors on the same memory, which know of no graph and keep their shape."""
    if isinstance(value, Tensor):
        return value.detach()
    return [_shown(own) for own in value] if isinstance(value, (list, tuple)) else value


def _memory(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _refuse(op: Any, args: Sequence[Any], result: Any) -> str | None:
    """Return why an operation cannot be repeated whatever else there is, or None."""
    # What is picked by a mask depends on values, what is picked by numbers on their shape.
    by_number = op is aten.index.Tensor and not any(
        tensor.dtype in (torch.bool, torch.uint8) for tensor in _tensors(args[1:])
    )
    if _depends_on_values(op) and not by_number:
        return f"{op} depends on values"
    flat = _flat(result)
    if not all(value is None or isinstance(value, Tensor) for value in flat):
        return f"{op} returns what is no tensor"
    if any(tensor.layout != torch.strided for tensor in _tensors([args, flat])):
        return f"{op} knows no memory"
    return None


@cache
def _depends_on_values(op: Any) -> bool:
    tags = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)
    return any(tag in op.tags for tag in tags)


@cache
def _reshapes(op: Any) -> bool:
    """Return whether an operation gives a tensor another shape in place, as `squeeze_` does."""
    return torch.Tag.inplace_view in op.tags


def _written(op: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    return [
        args[position] if position < len(args) else kwargs.get(name)
        for position, name in _written_arguments(op)
    ]


@cache
def _written_arguments(op: Any) -> list[tuple[int, str]]:
    return [
        (position, argument.name)
        for position, argument in enumerate(op._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]


def _new(results: Sequence[Tensor], read: Sequence[Tensor]) -> list[Tensor]:
    """Return the results that are no views of what was read."""
    known = set(map(_memory, read))
    return [own for own in results if _memory(own) not in known]


def _filling(
    op: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any
) -> Callable[[], Any]:
    """Return a function that computes results again, where they are."""
    results = _flat(result)
    filler, names, understood = _filler(op)
    if len(names) != len(op._schema.returns) or not all(isinstance(r, Tensor) for r in results):
        return partial(_compute_into, results, op, args, kwargs)
    told = {key: value for key, value in kwargs.items() if key in understood}
    return partial(_direct(filler), *args, **told, **dict(zip(names, results, strict=True)))


def _direct(op: Any) -> Callable[..., Any]:
    """Return an operation without the method of Python's that only calls it, if torch has one."""
    return getattr(op, "_op", op)


def _compute_into(
    results: Sequence[Tensor | None], op: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    for result, value in zip(results, _flat(op(*args, **kwargs)), strict=True):
        if result is not None:
            result.copy_(value)


@cache
def _filler(op: Any) -> tuple[Any, Sequence[str], Sequence[str]]:
    """Return the form of an operation that fills given tensors, what it calls them, and the rest.

    No names where there is no such form.
    """
    if any(isinstance(returned.type, torch.ListType) for returned in op._schema.returns):
        return None, (), ()
    known = {argument.name for argument in op._schema.arguments}
    for name in op.overloadpacket.overloads():
        other = getattr(op.overloadpacket, name)
        given = [a for a in other._schema.arguments if not a.is_out]
        filled = [a.name for a in other._schema.arguments if a.is_out]
        fits = known >= {a.name for a in given} and _forms(given) == _forms(op._schema.arguments)
        if filled and fits:
            return other, filled, [a.name for a in given]
    return None, (), ()


def _forms(arguments: Iterable[Any]) -> list[tuple[str, str]]:
    return [(a.name, str(a.type)) for a in arguments if a.name not in OF_NEW_TENSORS]
