"""What goes to a device while it works: small tensors, and inputs that it has no room for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["Sent", "hand_over", "one_ahead", "room_on", "send"]

T = TypeVar("T")

SHARE = 0.5  # of what a device has left; nets, gradients and batches need the rest


@dataclass(frozen=True)
class Sent:
    """Inputs on their way to a device.

    Parameters
    ----------
    X : mapping of str to Tensor
        On the device; not to be read before they are received.
    arrived : torch.cuda.Event, optional
        What there is to wait for.
    """

    X: Mapping[str, Tensor]
    arrived: torch.cuda.Event | None = None

    def receive(self) -> Mapping[str, Tensor]:
        """Return the inputs; what the device is told to do from now on waits for them."""
        if self.arrived is not None:
            here = torch.cuda.current_stream(next(iter(self.X.values())).device)
            here.wait_event(self.arrived)
            for x in self.X.values():
                x.record_stream(here)  # or their memory would be given away while it is read
        return self.X


def room_on(device: torch.device) -> float:
    """Return how many bytes of inputs may be kept on a device; on a CPU they are there already."""
    if device.type != "cuda":
        return math.inf
    # What earlier fits left is torch's still, to be used again.
    left = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return SHARE * (torch.cuda.mem_get_info(device)[0] + left)


def _gather(block: Tensor, rows: Tensor | None, device: torch.device) -> Tensor:
    """Return some rows of a block, in memory that `device` can read while others work."""
    pinned = device.type == "cuda" and block.device.type == "cpu"
    if rows is None:
        return block.pin_memory() if pinned else block
    if not pinned:
        return block.index_select(0, rows)
    out = torch.empty((len(rows), *block.shape[1:]), dtype=block.dtype, pin_memory=True)
    return torch.index_select(block, 0, rows, out=out)


def send(blocks: Mapping[str, Tensor], rows: Tensor | None, device: torch.device) -> Sent:
    """Send some rows, or all, to a device, beside what is computed there.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse._training._sending import send
    >>> blocks = {"a": torch.arange(6.0).reshape(3, 2)}
    >>> send(blocks, torch.tensor([2, 0]), torch.device("cpu")).receive()["a"]
    tensor([[4., 5.],
            [0., 1.]])
    """
    gathered = {name: _gather(block, rows, device) for name, block in blocks.items()}
    if device.type != "cuda":
        return Sent({name: x.to(device) for name, x in gathered.items()})
    with torch.cuda.stream(_stream(device)):
        X = {name: x.to(device, non_blocking=True) for name, x in gathered.items()}
        arrived = torch.cuda.Event()
        arrived.record()
    return Sent(X, arrived)


def hand_over(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a small tensor on a device, which goes on with what it is at: nobody waits.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse._training._sending import hand_over
    >>> hand_over(torch.tensor([2, 0]), torch.device("cpu"))
    tensor([2, 0])
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()  # from other memory a copy first waits for the device
    return tensor.to(device, non_blocking=True)


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


def one_ahead(sent: Iterator[T]) -> Iterator[T]:
    """Yield what was sent before what is sent now: one is on its way while one is worked on.

    Examples
    --------
    >>> from sklearn_mmfuse._training._sending import one_ahead
    >>> list(one_ahead(iter("abc")))
    ['a', 'b', 'c']
    """
    before = next(sent)
    for own in sent:
        yield before
        before = own
    yield before
