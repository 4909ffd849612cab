"""skorch's training loop over whole-tensor batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from skorch import NeuralNet
from torch import Tensor, nn

from sklearn_mmfuse._training._batches import Batch, BatchSampler
from sklearn_mmfuse._training._critic import CriticPlayer
from sklearn_mmfuse._training._interaction_decay import decay_interactions
from sklearn_mmfuse._training._member_optimizer import add_gradient
from sklearn_mmfuse._training._schedule import decay_at, step_size_factor
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
    player : CriticPlayer, optional
        The other player, who takes turns with the net.
    schedule : {"cosine", "constant"}, default="constant"
        How the step size changes over `max_epochs`.
    n_batches : int, default=1
        Steps per epoch, which a schedule has to know.
    interaction_decay : float, default=1.0
        How many times as much weights of interactions decay as others do.
    """

    def __init__(
        self,
        *args: Any,
        max_grad_norm: float | None = None,
        player: CriticPlayer | None = None,
        schedule: str = "constant",
        n_batches: int = 1,
        interaction_decay: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.schedule = schedule
        self.n_batches = n_batches
        self.interaction_decay = interaction_decay
        self._n_steps = 0
        self.max_grad_norm = max_grad_norm
        self.player = player

    def get_all_learnable_params(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters that are this trainer's: another player trains its own."""
        apart = self.module_.trained_apart
        for name, parameter in super().get_all_learnable_params():
            if not name.startswith(apart):
                yield name, parameter

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
        if self.player is not None:
            self.player.train()
        for parameter in self.module_.parameters():
            parameter.grad = None
        loss = self.get_loss(self.infer(inputs), target, X=inputs, training=True)
        loss.backward()
        if self.player is not None and (penalty := self.player.penalty(inputs)) is not None:
            add_gradient(list(self.module_.parameters()), penalty)
            loss = loss + penalty.sum()
        if self.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.module_.parameters(), self.max_grad_norm)
        self._follow_schedules()
        self._step_optimizer(None)
        if self.interaction_decay > 1.0 and (weights := self.module_.interaction_weights()):
            others = self.optimizer_.param_groups[-1]  # whatever no pattern names
            decay_interactions(
                weights,
                [self.interaction_decay],
                [others["lr"] * others["weight_decay"]],
            )
        return {"loss": loss.detach()}

    def _follow_schedules(self) -> None:
        """Set step sizes, which a constant schedule leaves to callbacks, and weight decay."""
        progress = (self._n_steps + 0.5) / (self.max_epochs * self.n_batches)
        for group in self.optimizer_.param_groups:
            if self.schedule != "constant":
                factor = step_size_factor(self.schedule, progress)
                group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
            if "decay" in group:
                strength = group.setdefault("initial_weight_decay", group["weight_decay"])
                group["weight_decay"] = decay_at(
                    group["decay"], progress, weight_decay=strength, learning_rate=group["lr"]
                )
        self._n_steps += 1

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
            self.module_.begin_epoch((len(self.history) - 1) / self.max_epochs)
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
        if self.player is not None:
            bounds = self.player.pop_bounds() if training else self.player.measure(iterator.rows)
            self.history.record("dependency" if training else "valid_dependency", float(bounds[0]))
        if not torch.isfinite(torch.tensor(loss)):
            raise DivergedError(f"the {prefix} loss became {loss} in epoch {len(self.history)}")
