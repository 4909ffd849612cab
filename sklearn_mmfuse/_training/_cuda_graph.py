"""A tape on a GPU as a CUDA graph: one call of the driver instead of one per operation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from threading import Lock

import torch

from sklearn_mmfuse._training._tape import Tape

__all__ = ["CUDAGraph", "capture"]


_CAPTURING = Lock()  # torch allows one capture at a time in a process


@dataclass
class CUDAGraph:
    """Replays a tape that was captured; the memory that the graph knows is the tape's."""

    graph: torch.cuda.CUDAGraph
    tape: Tape

    def __call__(self) -> None:
        """Compute everything again."""
        self.graph.replay()


def capture(tape: Tape, device: torch.device) -> CUDAGraph | None:
    """Return a CUDA graph of a tape; None on other devices, and where it cannot be captured.

    A tape calls kernels on memory that is there, which is what a capture asks for.
    """
    if device.type != "cuda":
        return None
    try:
        with _CAPTURING, torch.cuda.device(device):
            aside = _aside(device)
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                tape.replay()  # libraries set themselves up when they are first used
            torch.cuda.current_stream().wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):
                tape.replay()
    except (RuntimeError, TypeError):
        return None  # what other threads or libraries do may be forbidden meanwhile
    return CUDAGraph(graph, tape)


@cache
def _aside(device: torch.device) -> torch.cuda.Stream:
    """Return the stream of all captures: for each stream libraries keep memory for good."""
    return torch.cuda.Stream(device)
