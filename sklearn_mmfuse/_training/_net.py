"""skorch's training loop over whole-tensor batches."""

from __future__ import annotations

from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import EpochTimer, PrintLog
from torch import Tensor, nn

from sklearn_mmfuse._training._batches import Batch, BatchSampler
from sklearn_mmfuse.nets import FusionOutput

__all__ = ["DivergedError", "FusionTrainer"]


class DivergedError(FloatingPointError):
    """The loss is no longer a finite number."""


class FusionTrainer(NeuralNet):
    """skorch's `NeuralNet`, fed with `(training, validation)` batch samplers.

    A step is spelled out once, without skorch's closure, mode switch and per-batch history: on
    small nets they cost as much as the arithmetic. Callbacks see every hook of skorch's.

    Parameters
    ----------
    *args, **kwargs
        As for `NeuralNet`.
    max_grad_norm : float or None
        Gradients with a larger norm are scaled down to it.
    """

    def __init__(self, *args: Any, max_grad_norm: float | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.max_grad_norm = max_grad_norm

    @property
    def _default_callbacks(self) -> list[tuple[str, Any]]:
        log = [("print_log", PrintLog())] if self.verbose else []
        return [("epoch_timer", EpochTimer()), *log]

    def get_split_datasets(
        self, X: tuple[BatchSampler, BatchSampler | None], y: None = None, **fit_params: Any
    ) -> tuple[BatchSampler, BatchSampler | None]:
        """Return the two samplers that were passed as `X`."""
        return X

    def get_iterator(self, dataset: BatchSampler, training: bool = False) -> BatchSampler:
        """Return the sampler itself: it is its own loader."""
        return dataset

    def on_batch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Keep no history per batch."""

    def infer(self, x: dict[str, Any], **fit_params: Any) -> FusionOutput:
        """Run the net; modality names stay keys and never become keyword arguments."""
        return self.module_(x["X"], x["mask"], x["present"], x["weight"])

    def get_loss(
        self, y_pred: FusionOutput, y_true: Tensor, X: dict[str, Any], training: bool = False
    ) -> Tensor:
        """Return the objective in training, the loss of the prediction alone in validation."""
        if training:
            more = X["penalty"]
            penalized = None if more is None else (self.infer(more), more["weight"])
            return self.criterion_(
                y_pred, y_true, X["weight"], self.module_, X["offset"], penalized
            ).sum()
        return self.criterion_.data_loss(y_pred.raw, y_true, X["weight"], X["offset"]).sum()

    def train_step(self, batch: Batch, **fit_params: Any) -> dict[str, Tensor]:
        """Take one optimizer step."""
        inputs, target = batch
        for parameter in self.module_.parameters():
            parameter.grad = None
        loss = self.get_loss(self.infer(inputs), target, X=inputs, training=True)
        loss.backward()
        if self.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.module_.parameters(), self.max_grad_norm)
        self._step_optimizer(None)
        return {"loss": loss.detach()}

    @torch.no_grad()
    def validation_step(self, batch: Batch, **fit_params: Any) -> dict[str, Tensor]:
        """Score one batch."""
        inputs, target = batch
        return {"loss": self.get_loss(self.infer(inputs), target, X=inputs)}

    def run_single_epoch(
        self,
        iterator: BatchSampler | None,
        training: bool,
        prefix: str,
        step_fn: Any,
        **fit_params: Any,
    ) -> None:
        """Run one epoch and record its mean loss; the only point that waits for a GPU."""
        if iterator is None:
            return
        self.module_.train(training)
        if training:
            self._population = iterator.rows
        else:
            self.module_.set_population(self._population)
        losses, sizes = [], []
        for batch in iterator:
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch)
            self.notify("on_batch_end", batch=batch, training=training, **step)
            losses.append(step["loss"])
            sizes.append(len(batch[1]))
        total = torch.stack(losses).double() @ torch.tensor(sizes, dtype=torch.float64).to(
            losses[0].device
        )
        loss = float(total) / sum(sizes)
        self.history.record(f"{prefix}_loss", loss)
        if not torch.isfinite(torch.tensor(loss)):
            raise DivergedError(f"the {prefix} loss became {loss} in epoch {len(self.history)}")
