"""Quiet early stopping, and the bridge to whoever wants to hear of epochs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback

__all__ = ["BestEpoch", "EpochHook", "TrainingStopped"]


class TrainingStopped(Exception):  # noqa: N818 - a signal, not an error
    """Ends the training loop of one net cleanly.

    Parameters
    ----------
    for_good : bool
        Whether nets that were to be trained after it stay untrained.
    """

    def __init__(self, *, for_good: bool) -> None:
        super().__init__()
        self.for_good = for_good


class BestEpoch(Callback):
    """Keep the net of the epoch with the lowest validation loss, and stop when it is old.

    With its buffers: a user's batch normalization keeps statistics there.

    skorch's `EarlyStopping` and `Checkpoint` print, or write files; this one does neither.

    Parameters
    ----------
    patience : int
        Stop after so many epochs without a better one.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Forget earlier trainings."""
        self.best_epoch_, self.best_loss_ = 0, float("inf")
        self.best_tensors_: list[torch.Tensor] = []

    @torch.no_grad()
    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Compare the epoch that ended with the best one."""
        loss, epoch = net.history[-1, "valid_loss"], len(net.history)
        if loss < self.best_loss_:
            self.best_epoch_, self.best_loss_ = epoch, loss
            self.best_tensors_ = [tensor.clone() for tensor in _tensors(net)]
        elif epoch - self.best_epoch_ >= self.patience:
            raise TrainingStopped(for_good=False)

    @torch.no_grad()
    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Put the best net back; nothing to do when not one epoch was completed."""
        for tensor, best in zip(_tensors(net), self.best_tensors_, strict=False):
            tensor.copy_(best)


def _tensors(net: NeuralNet) -> list[torch.Tensor]:
    return [*net.module_.parameters(), *net.module_.buffers()]


class EpochHook(Callback):
    """Call functions around every epoch; stop when the one at its end returns True."""

    def __init__(self, begin: Callable[[], None], end: Callable[[], bool]) -> None:
        self.begin = begin
        self.end = end

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Announce the epoch."""
        self.begin()

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Report the epoch."""
        if self.end():
            raise TrainingStopped(for_good=True)
