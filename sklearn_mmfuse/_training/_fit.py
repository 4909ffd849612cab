"""fit_network(): one net trained by skorch, and what every training needs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch.callbacks import LRScheduler
from torch import Tensor
from torch.func import functional_call

from sklearn_mmfuse._training._batches import BatchSampler, Draws
from sklearn_mmfuse._training._callbacks import BestEpoch, EpochHook, TrainingStopped
from sklearn_mmfuse._training._critic import CriticOptions, CriticPlayer
from sklearn_mmfuse._training._net import FusionTrainer
from sklearn_mmfuse._training._product_start import find_products, start_products
from sklearn_mmfuse._training._rows import Rows, move_rows
from sklearn_mmfuse._training._threads import few_threads, work_of
from sklearn_mmfuse.losses import Objective
from sklearn_mmfuse.nets import (
    DependencyNet,
    FusionNet,
    FusionOutput,
    Inputs,
    global_generator,
    rows_at_once,
)

__all__ = [
    "TrainingOptions",
    "TrainingResult",
    "as_predictor",
    "fit_network",
    "keep_freed_memory",
    "predict_network",
    "resolve_device",
    "run_network",
    "set_population",
    "shuffling_generator",
    "silence",
]


KEPT = 2**25 - 2**16  # bytes; just below the largest size that glibc learns from


@dataclass(frozen=True)
class TrainingOptions:
    """How to train; most fields are the estimator parameters of the same names.

    `interaction_decay` is a factor: how many times as much weights of interactions decay.
    `stop_after` ends the training of each part after so many of `max_epochs`, for which schedules
    are laid out all the same.
    """

    max_epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    dropout: float
    n_iter_no_change: int
    max_grad_norm: float | None
    device: torch.device
    learning_rate_schedule: str = "constant"
    modality_dropout: float = 0.0
    interaction_decay: float = 1.0
    penalty_batch_size: int = 0
    verbose: int = 0
    net_params: Mapping[str, Any] | None = None
    critic: CriticOptions | None = None
    stop_after: Sequence[int] | None = None

    def n_epochs(self, position: int) -> int:
        """Return the most epochs that a part, given by number, is trained for."""
        return self.max_epochs if self.stop_after is None else self.stop_after[position]


@dataclass
class TrainingResult:
    """What happened: a row per epoch, the epoch whose weights were kept, how it ended.

    `part_epochs` are the epochs whose weights were kept of each part, counted from its first;
    `scaled_losses`, of members of a team, validation losses of every epoch with each factor.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    part_epochs: list[int] = field(default_factory=list)
    scaled_losses: list[NDArray[np.float64]] = field(default_factory=list)
    interrupted: bool = False
    stopped: bool = False


def keep_freed_memory(device: torch.device) -> None:
    """Have the C library keep what a step frees, for the next one to use again.

    A block that is freed once raises the sizes (glibc's "dynamic mmap threshold") from which on
    memory goes back to the system at once, to be asked for, and zeroed, page by page in every step:
    a third of the time of a small step. Nothing is written here, so no memory is used.
    """
    if device.type == "cpu":
        torch.empty(KEPT, dtype=torch.uint8)


def resolve_device(name: str) -> torch.device:
    """Return the device of a name; "auto" is a GPU where there is one.

    Raises
    ------
    ValueError
        When torch does not know the device, or does not see one.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(
            f"device must be 'auto', 'cpu', 'cuda' or 'cuda:1'; got {name!r}."
        ) from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device={name!r}, but torch sees {torch.cuda.device_count()} GPUs; use 'auto' or "
            "'cpu'."
        )
    return device


def fit_network(
    net: FusionNet,
    train: Rows,
    validation: Rows | None,
    objective: Objective,
    options: TrainingOptions,
    *,
    seed: int,
    on_epoch: tuple[Callable[[], None], Callable[[], bool]] | None = None,
) -> TrainingResult:
    """Draw the parameters of `net` from `seed` and train it, part after part.

    Nothing here draws from a global generator. With validation rows, the weights of the epoch with
    the lowest validation loss are kept and training stops early.

    Parameters
    ----------
    net : FusionNet
        Of one member; changed in place, left on the CPU.
    train, validation : Rows
        Rows whose weights average to 1.
    objective : Objective
        What to minimize.
    options : TrainingOptions
        How.
    seed : int
        Of the parameters and of all that is drawn in training.
    on_epoch : pair of callables, optional
        Called before and after every epoch; the latter returns True to stop.

    Raises
    ------
    DivergedError
        When a loss is no longer finite.
    """
    work = work_of(net, train.blocks, options.batch_size)
    with few_threads(work), global_generator(seed) if net.draws_globally else nullcontext():
        return _fit_network(net, train, validation, objective, options, seed, on_epoch)


def _fit_network(
    net: FusionNet,
    train: Rows,
    validation: Rows | None,
    objective: Objective,
    options: TrainingOptions,
    seed: int,
    on_epoch: tuple[Callable[[], None], Callable[[], bool]] | None,
) -> TrainingResult:
    net.reset_parameters([torch.Generator().manual_seed(seed)])
    start_products(net, find_products(net, train, objective.loss))
    shuffler = shuffling_generator(seed)
    keep_freed_memory(options.device)
    net.to(options.device)
    all_rows, both = train, [train] if validation is None else [train, validation]
    train, *watched = move_rows(both, options.device)
    validation = watched[0] if watched else None
    result, parts = TrainingResult(), net.training_parts()
    try:
        for position, part in enumerate(parts):
            if position:
                trained = parts[position - 1]
                train = _leave_rest(trained, train)
                validation = None if validation is None else _leave_rest(trained, validation)
            net.begin_part(position)
            n_before = len(result.history)
            player = _make_player(part, train, options, seed)
            # Without an end of ours, `max_epochs` may be that of the user's `net_params`.
            n_epochs = None if options.stop_after is None else options.n_epochs(position)
            _fit_part(
                part,
                train,
                validation,
                objective,
                options,
                shuffler,
                on_epoch,
                result,
                player,
                n_epochs,
            )
            part.eval()
            if result.interrupted or result.stopped:
                done = position + (len(result.history) > n_before)
                silence(parts[done:])
                break
    finally:
        net.to(torch.device("cpu"))
        for part in parts:
            part.begin_epoch(1.0)
    set_population(net, all_rows)
    return result


def shuffling_generator(seed: int) -> torch.Generator:
    """Return what draws the order of rows, and masks.

    A stream of its own: the order of rows must not depend on the number of parameters.
    """
    return torch.Generator().manual_seed((seed + 2**31) % 2**63)


def as_predictor(net: FusionNet, rows: Rows) -> FusionNet:
    """Return a copy of a net in training that predicts as it would if training ended now."""
    snapshot = copy.deepcopy(net).to(torch.device("cpu")).eval()
    set_population(snapshot, rows)
    return snapshot


@torch.no_grad()
def set_population(net: FusionNet, rows: Rows) -> None:
    """Set the statistics of the net's population in float64, as predictions are made."""
    if not net.has_population:
        return
    double = copy.deepcopy(net).double().eval()
    double.set_population(rows.double())
    for buffer, exact in zip(net.buffers(), double.buffers(), strict=True):
        buffer.copy_(exact)


@torch.no_grad()
def silence(untrained: Sequence[FusionNet]) -> None:
    """Make nets that were never trained contribute nothing, rather than their random start."""
    for part in untrained:
        for parameter in part.parameters():
            parameter.zero_()


def _leave_rest(trained: FusionNet, rows: Rows) -> Rows:
    """Return the rows with the prediction of a trained part added to their offset."""
    prediction = _raw(trained, rows.inputs_in_place, rows.present)
    offset = prediction if rows.offset is None else rows.offset + prediction
    return replace(rows, offset=offset)


@torch.no_grad()
def _raw(net: FusionNet, X: Inputs, present: Tensor | None) -> Tensor:
    outputs = [net(batch, None, here).raw for batch, here in net.row_pieces(X, present)]
    return torch.cat(outputs, dim=1)


def _fit_part(
    part: FusionNet,
    train: Rows,
    validation: Rows | None,
    objective: Objective,
    options: TrainingOptions,
    shuffler: torch.Generator,
    on_epoch: tuple[Callable[[], None], Callable[[], bool]] | None,
    result: TrainingResult,
    player: CriticPlayer | None,
    n_epochs: int | None,
) -> None:
    """Train one net and add what happened to `result`."""
    best = BestEpoch(options.n_iter_no_change) if validation is not None else None
    callbacks: list[Any] = [callback for callback in (best,) if callback is not None]
    if on_epoch is not None:
        callbacks.append(EpochHook(*on_epoch))
    samplers = (
        BatchSampler(
            train,
            batch_size=options.batch_size,
            draws=Draws(
                shuffler,
                dropout=options.dropout,
                n_mask_units=part.n_mask_units,
                modality_dropout=options.modality_dropout,
            ),
            penalty_batch_size=options.penalty_batch_size,
        ),
        None
        if validation is None
        else BatchSampler(
            validation, batch_size=min(rows_at_once(validation.blocks), part.max_rows)
        ),
    )
    trainer = FusionTrainer(
        part,
        objective,
        **_trainer_params(options, callbacks, part.decays),
        max_grad_norm=options.max_grad_norm,
        player=player,
        schedule=options.learning_rate_schedule,
        n_batches=len(samplers[0]),
        interaction_decay=_interaction_decay(options),
    )
    trainer.initialize()
    trainer.notify("on_train_begin", X=None, y=None)
    try:
        trainer.fit_loop(samplers, epochs=n_epochs)
    except TrainingStopped as stop:
        result.stopped = stop.for_good
    except KeyboardInterrupt:
        result.interrupted = True
    trainer.notify("on_train_end", X=None, y=None)
    done = len(result.history)
    result.history.extend(_epochs(trainer, done))
    result.best_epoch = done + best.best_epoch_ if best is not None else len(result.history)
    result.part_epochs.append(result.best_epoch - done)


def _make_player(
    net: FusionNet, train: Rows, options: TrainingOptions, seed: int
) -> CriticPlayer | None:
    """Return the other player of a net, where there is to be one."""
    if options.critic is None:
        return None
    assert isinstance(net, DependencyNet)
    return CriticPlayer(
        net,
        [(train, seed)],
        [options.critic],
        batch_size=options.batch_size,
        max_grad_norms=[options.max_grad_norm],
    )


def _trainer_params(
    options: TrainingOptions, callbacks: list[Any], decays: Mapping[str, str]
) -> dict[str, Any]:
    """Return skorch's constructor parameters; the user's `net_params` win."""
    user = dict(options.net_params or {})
    _refuse_two_schedules(user, options.learning_rate_schedule)
    params: dict[str, Any] = {
        "lr": options.learning_rate,
        "max_epochs": options.max_epochs,
        "device": options.device,
        "verbose": options.verbose,
        "callbacks": callbacks + list(user.pop("callbacks", None) or []),
    }
    if "optimizer" not in user:
        params |= {
            "optimizer": torch.optim.AdamW,
            "optimizer__weight_decay": options.weight_decay,
            "optimizer__fused": True,
            "optimizer__param_groups": [
                (own, {"weight_decay": 0.0} if decay == "never" else {"decay": decay})
                for own, decay in decays.items()
            ],
        }
    return params | user


def _interaction_decay(options: TrainingOptions) -> float:
    """Return how many times as much interactions decay: as others where a user says how much."""
    decisive = {"optimizer", "optimizer__weight_decay", "optimizer__param_groups"}
    return 1.0 if decisive & set(options.net_params or {}) else options.interaction_decay


def _refuse_two_schedules(user: Mapping[str, Any], schedule: str) -> None:
    """Refuse a scheduler of the user's, which ours would overrule without a word."""
    callbacks = [own[1] if isinstance(own, tuple) else own for own in user.get("callbacks") or []]
    if schedule != "constant" and any(isinstance(own, LRScheduler) for own in callbacks):
        raise ValueError(
            f"net_params holds an LRScheduler, and learning_rate_schedule={schedule!r} sets the "
            "step size as well; use learning_rate_schedule='constant'."
        )


def _epochs(trainer: FusionTrainer, done: int) -> list[dict[str, Any]]:
    """Return completed epochs as plain rows, numbered on from `done`."""
    kept = ("train_loss", "valid_loss", "dependency", "valid_dependency", "dur")
    return [
        {"epoch": done + row["epoch"], **{key: row[key] for key in kept if key in row}}
        for row in trainer.history
        if "train_loss" in row
    ]


@torch.no_grad()
def run_network(net: FusionNet, X: Inputs, present: Tensor | None = None) -> Iterator[FusionOutput]:
    """Yield the outputs of a trained net, piece by piece.

    Computed in float64 whatever the net was trained in: a float32 product depends on how many rows
    are multiplied at once, and a prediction must not. `present` `(n, M)` has zeros where a row
    lacks a modality, and the terms that read it are zero there.
    """
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    state = {key: t.double() if t.is_floating_point() else t for key, t in tensors.items()}
    # To where the net is: one still in training, which callbacks score, may be on a GPU.
    for batch, here in net.row_pieces(X, present):
        inputs = {name: x.double() for name, x in batch.items()}
        here = None if here is None else here.double()
        yield functional_call(net, state, (inputs, None, here))


def predict_network(
    net: FusionNet, X: Inputs, present: Tensor | None = None
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the terms `(E, n, T, C)`, in the order of `net.terms`, and the bias `(E, C)`.

    `present` `(n, M)` is as for :func:`run_network`.
    """
    n_rows = min(len(next(iter(X.values()))), rows_at_once(X), net.max_rows)
    with few_threads(work_of(net, X, n_rows)):
        outputs = list(run_network(net, X, present))
    values = torch.cat([output.values for output in outputs], dim=2).transpose(1, 2)
    return values.cpu().numpy(), outputs[0].bias.cpu().numpy()
