"""A device that is none: its tensors have values, and mix with those of the CPU as a GPU's do.

To torch they are of the device "meta", and what they hold lies beside them on the CPU. What a GPU
refuses is refused: operations on tensors of both, generators of the CPU, a look at its memory.
What the CPU would have to wait for is counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

__all__ = ["AWAY", "Away", "SimulatedDevice"]

AWAY, HOME = torch.device("meta"), torch.device("cpu")

aten = torch.ops.aten

MOVES = (aten._to_copy, aten.copy_)
INDEXING = (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_)
JOINS = (aten.cat, aten.stack)  # do not even take numbers of another device


class Away(Tensor):
    """A tensor on the simulated device; `held` are its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Away:
        own = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=AWAY,
        )
        own.held = held
        return own

    def __repr__(self, **options: Any) -> str:
        return f"Away({self.held!r})"

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, other: Away) -> None:
        torch.Tensor.data.__set__(self, other)
        self.held = other.held

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(op, args, kwargs or {})


class SimulatedDevice(TorchDispatchMode):
    """Where it is entered, the device "meta" holds values.

    Attributes
    ----------
    n_operations : int
        How many operations the device was told to do; views are none.
    n_waits : int
        How often the CPU would have to wait for them: values were read or decided on a shape, or
        something went from here to there but not "non_blocking".
    """

    def __init__(self) -> None:
        super().__init__()
        self.n_operations = self.n_waits = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = _compute(op, args, kwargs)
        if any(isinstance(own, Away) for own in tree_leaves((args, kwargs, result))):
            self.n_operations += not op.is_view
            self.n_waits += _waits(op, args, kwargs, result)
        return result


def _compute(op: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
    tensors = [own for own in tree_leaves((args, kwargs)) if isinstance(own, Tensor)]
    # What torch makes by itself on a device, of a list that is an index, cannot be followed.
    assert all(isinstance(own, Away) or own.device != AWAY for own in tensors), f"{op}: no values"
    is_there = any(isinstance(own, Away) for own in tensors)
    goal = kwargs.get("device")
    goes_there = goal is not None and torch.device(goal) == AWAY
    if not is_there and not goes_there:
        return op(*args, **kwargs)
    _refuse(op, args, kwargs, tensors)
    told = {name: HOME if name == "device" and goes_there else v for name, v in kwargs.items()}
    result = op(*tree_map(_held, args), **tree_map(_held, told))
    if is_there and goal is not None and not goes_there:
        return result  # a copy
    if op.overloadpacket is aten.copy_ and not isinstance(args[0], Away):
        return args[0]
    wrapped = tree_map(lambda own: Away(own) if isinstance(own, Tensor) else own, result)
    return return_and_correct_aliasing(op, args, kwargs, wrapped) if is_there else wrapped


def _held(value: Any) -> Any:
    return value.held if isinstance(value, Away) else value


def _refuse(op: Any, args: Any, kwargs: Mapping[str, Any], tensors: list[Tensor]) -> None:
    """Raise what torch would raise on a GPU."""
    for own in tree_leaves((args, kwargs)):
        if isinstance(own, torch.Generator) and own.device == HOME:
            raise RuntimeError(f"{op}: expected a generator of the device, found one of the CPU")
    if op.overloadpacket in MOVES:
        return
    if op.overloadpacket in INDEXING and isinstance(args[0], Away):
        tensors = [args[0], *args[2:3]]
    here = [own for own in _of_tensors(tensors) if not isinstance(own, Away)]
    mixed = any(own.dim() for own in here) or (here and op.overloadpacket in JOINS)
    if mixed and any(isinstance(own, Away) for own in tensors):
        shapes = [tuple(own.shape) for own in here]
        raise RuntimeError(f"{op}: expected all tensors on one device, found CPU tensors {shapes}")


def _of_tensors(values: list[Any]) -> Iterator[Tensor]:
    return (own for own in values if isinstance(own, Tensor))


def _waits(op: Any, args: Any, kwargs: Mapping[str, Any], result: Any) -> bool:
    """Return whether the CPU waits for what the device was told before."""
    if op.overloadpacket in MOVES:
        ends = [own for own in (args[0], *args[1:2], result) if isinstance(own, Tensor)]
        crosses = len({isinstance(own, Away) for own in ends}) == 2
        return crosses and not kwargs.get("non_blocking")
    if op.overloadpacket in INDEXING:
        chosen = [own for own in args[1] if own is not None]
        return any(own.dtype == torch.bool or not isinstance(own, Away) for own in chosen)
    if torch.Tag.dynamic_output_shape in op.tags:
        return True
    results = [own for own in tree_leaves(result) if own is not None]
    return bool(results) and not any(isinstance(own, Away) for own in results)
