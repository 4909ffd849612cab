"""StepGradients: the losses and gradients of one batch after another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sklearn_mmfuse._training._cuda_graph import capture
from sklearn_mmfuse._training._sending import room_on
from sklearn_mmfuse._training._tape import Tape

__all__ = ["StepGradients"]

# Batches of a kind that are computed as written before one is recorded, unless more than these are
# certain to come: recording takes as long as five to ten steps of a small net save.
BEFORE_RECORDING = 10

# Of the largest number: what is wrong in a replay is wrong by more than that.
TOLERANCE = 1e-4

# Of a CPU: where a step holds more, arithmetic is the bill. A GPU is idle between calls of whatever
# size; of what it has room for, a few recordings take no more than half.
MEMORY = 2**26
SHARE = 0.2

Batch = Mapping[str, Any]  # of tensors, of None, or of such again
Loss = Callable[[Batch], Tensor]


class StepGradients:
    """Computes the losses of a batch, one per member, and leaves the gradients in the parameters.

    Of batches of equal shapes one is recorded on a :class:`Tape`, the second if many more are
    certain to come. Those that follow are replayed, which comes to the same in a fraction of the
    time; on a GPU as a CUDA graph. So the loss may read nothing that changes from step to step but
    the batch, the parameters, and tensors that others change in place; what it changes itself has
    to come with the batch, so that a step may be repeated. A loss that cannot be recorded is
    computed as it is written.

    Parameters
    ----------
    parameters : sequence of Parameter
        What gradients are wanted of; replaced ones (other memory) need :meth:`forget`.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._parameters = parameters
        self.forget()

    def forget(self, *, n_certain: int = 0, finish: Callable[[], None] | None = None) -> None:
        """Drop what was recorded: parameters, or what else is read, are no longer where it was.

        Batches of each kind are certain to come `n_certain` times before it is dropped again.
        Gradients are changed in place by `finish` from now on, which is recorded with them.
        """
        self._finish = finish
        # What a loss keeps from its first time on is not to be done again in every replay.
        self._n_written = 1 if n_certain > BEFORE_RECORDING else BEFORE_RECORDING
        self._seen: Counter[Hashable] = Counter()
        self._recorded: dict[Hashable, _RecordedStep | None] = {}

    def __call__(self, loss: Loss, batch: Batch) -> Tensor:
        """Return the losses of a batch, `(E,)`.

        `loss`, the same one in every call, takes a batch: tensors or None in mappings of any depth.
        """
        leaves = list(_leaves(batch))
        kind = tuple(map(_kind, leaves))
        if kind not in self._recorded:
            self._seen[kind] += 1
            if self._seen[kind] <= self._n_written:
                return self._compute(loss, batch)
            return self._record(kind, loss, batch)
        if (recorded := self._recorded[kind]) is None:
            return self._compute(loss, batch)
        return recorded.replay(leaves, self._parameters)

    def _compute(self, loss: Loss, batch: Batch) -> Tensor:
        for parameter in self._parameters:
            parameter.grad = None
        losses = loss(batch)
        losses.sum().backward()
        if self._finish is not None:
            self._finish()
        return losses.detach()

    def _record(self, kind: Hashable, loss: Loss, batch: Batch) -> Tensor:
        self._recorded[kind] = None  # a loss that is NaN ends its member, and with it what is known
        memory = _memory_on(self._parameters[0].device)
        if sum(_once(leaf).nbytes for leaf in _leaves(batch) if leaf is not None) > memory:
            return self._compute(loss, batch)
        batch = _own(batch)
        with Tape(memory) as tape:
            losses = self._compute(loss, batch)
        gradients = [parameter.grad for parameter in self._parameters]
        results = [losses, *(own for own in gradients if own is not None)]
        if tape.refusal is None and (run := _verified(tape, results)) is not None:
            places = [None if leaf is None else _once(leaf) for leaf in _leaves(batch)]
            self._recorded[kind] = _RecordedStep(run, places, losses, gradients)
        return losses.clone()


@dataclass
class _RecordedStep:
    """A step on memory of its own: where its batch belongs, and where its results come to be."""

    run: Callable[[], None]
    places: Sequence[Tensor | None]
    losses: Tensor
    gradients: Sequence[Tensor | None]

    def replay(self, leaves: Sequence[Tensor | None], parameters: Sequence[nn.Parameter]) -> Tensor:
        """Compute a batch of the same kind."""
        for place, leaf in zip(self.places, leaves, strict=True):
            if place is not None and leaf is not None:
                place.copy_(leaf if leaf.shape == place.shape else _once(leaf))
        self.run()
        for parameter, gradient in zip(parameters, self.gradients, strict=True):
            parameter.grad = gradient  # a batch of another kind may have come between
        return self.losses.clone()


def _verified(tape: Tape, results: Sequence[Tensor]) -> Callable[[], None] | None:
    """Return what replays a tape, if it comes to the results that are there; they still are.

    The tape rests on what torch says of its operations, and a graph on what a capture sees.
    """
    expected = [result.clone() for result in results]
    for run in (capture(tape, results[0].device), tape.replay):
        if run is not None and _comes_to(run, results, expected):
            return run
    for result, own in zip(results, expected, strict=True):
        result.copy_(own)
    return None


def _comes_to(
    run: Callable[[], None], results: Sequence[Tensor], expected: Sequence[Tensor]
) -> bool:
    for result in results:
        result.fill_(torch.nan)
    try:
        run()
    except (RuntimeError, TypeError):
        return False
    return all(map(_close, results, expected))


def _close(result: Tensor, expected: Tensor) -> bool:
    """Return whether numbers are the same up to the order of sums, which varies on a GPU."""
    if not result.numel():
        return True
    difference = (result - expected).abs().max()
    return bool(difference <= TOLERANCE * expected.abs().max())


def _memory_on(device: torch.device) -> float:
    """Return how many bytes what is recorded of a step may take."""
    return MEMORY if device.type == "cpu" else SHARE * room_on(device)


def _leaves(batch: Batch) -> Iterator[Tensor | None]:
    for value in batch.values():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        else:
            yield value


def _kind(leaf: Tensor | None) -> Hashable:
    return None if leaf is None else (leaf.shape, leaf.stride(), leaf.dtype)


def _once(tensor: Tensor) -> Tensor:
    """Return a tensor without the repetitions of an expanded one."""
    for axis, stride in enumerate(tensor.stride()):
        if stride == 0:
            tensor = tensor.narrow(axis, 0, 1)
    return tensor


def _own(batch: Batch) -> dict[str, Any]:
    """Return a copy of a batch that takes as little memory."""

    def copied(value: Any) -> Any:
        if isinstance(value, Mapping):
            return _own(value)
        return None if value is None else _once(value).clone().expand_as(value)

    return {name: copied(value) for name, value in batch.items()}
