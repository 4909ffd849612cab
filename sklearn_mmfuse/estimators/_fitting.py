"""What happens between checked data and a trained net, without knowing any method."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from sklearn_mmfuse._data import MultimodalData
from sklearn_mmfuse._training import (
    DivergedError,
    Member,
    Rows,
    TrainingOptions,
    TrainingResult,
    cross_validation_splits,
    validation_split,
)
from sklearn_mmfuse._warnings import warn_user
from sklearn_mmfuse.estimators._far_values import far_values
from sklearn_mmfuse.losses import BaseLoss, Objective, Penalty
from sklearn_mmfuse.nets import FusionNet

T = TypeVar("T")

__all__ = [
    "FitData",
    "FitPlan",
    "Fold",
    "Hooks",
    "Shared",
    "align_steps",
    "as_tensors",
    "explain_divergence",
    "present_rows",
    "train_in_context",
]

FloatArray = NDArray[np.float64]
Indices = NDArray[np.intp]
Split = tuple[Indices, Indices]
Hooks = tuple[Callable[[], None], Callable[[], bool]]

PIECE = 2**20  # values that are looked at at once, in float64

# Below this many samples, rows that only watch are missed more than they help.
EARLY_STOPPING_MIN_SAMPLES = 500
# Below this many, a fold leaves out a handful of rows, which tell next to nothing.
CROSS_VALIDATION_MIN_SAMPLES = 32


class Shared:
    """What several fits to the same X need alike; computed by the first of them."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Any] = {}

    def once(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Return what is known under a key, computed now if it is not."""
        if key not in self._known:
            self._known[key] = compute()
        known: T = self._known[key]
        return known


@dataclass(frozen=True)
class FitData:
    """Checked data of one fit: blocks by modality, encoded target, weights, groups or None."""

    blocks: dict[str, NDArray[np.floating[Any]]]
    target: FloatArray
    weight: FloatArray
    groups: NDArray[Any] | None
    shared: Shared = field(default_factory=Shared)

    def _once(self, name: str, rows: Indices, *rest: Hashable, compute: Callable[[], T]) -> T:
        key = (name, id(self.blocks), rows.tobytes(), self.weight.tobytes(), *rest)
        return self.shared.once(key, compute)

    @property
    def names(self) -> list[str]:
        """The modalities, sorted: a net must not depend on the order in which they were named."""
        return sorted(self.blocks)

    def groups_of(self, rows: Indices | None) -> NDArray[Any] | None:
        """Return the groups of some rows, where there are groups and rows."""
        return None if self.groups is None or rows is None else self.groups[rows]

    def way_to_stop(
        self, early_stopping: bool | str, fraction: Any, *, most_folded: int
    ) -> bool | Literal["cv"]:
        """Return whether validation rows (True) or folds ("cv") say when training ends.

        Unless it is said, folds do with up to `most_folded` rows; with one group no one does, for
        there are no others to watch.
        """
        if early_stopping == "cv":
            return "cv"
        if early_stopping != "auto":
            return bool(early_stopping)
        n_rows = np.count_nonzero(self.weight)
        if not isinstance(fraction, Real):
            return True
        groups = self.groups_of(np.flatnonzero(self.weight))
        if groups is not None and len(np.unique(groups)) == 1:
            return False
        # Side by side, encoders of sequences and images save nothing.
        vectors = all(block.ndim == 2 for block in self.blocks.values())
        enough = CROSS_VALIDATION_MIN_SAMPLES <= n_rows <= most_folded
        return "cv" if enough and vectors else self.can_spare_rows

    @property
    def can_spare_rows(self) -> bool:
        """Whether rows that only watch are better than none."""
        return bool(np.count_nonzero(self.weight) >= EARLY_STOPPING_MIN_SAMPLES)

    def split(
        self, fraction: Any, *, X: Any, classification: bool, random_state: np.random.RandomState
    ) -> Split:
        """Return training and validation rows; those without weight are in neither."""
        rows, about = self._to_be_split(fraction, X)
        train, validation = validation_split(
            fraction, classification=classification, random_state=random_state, **about
        )
        return self._weighted(rows[train]), self._weighted(rows[validation])

    def folds(
        self, fraction: Any, *, X: Any, classification: bool, random_state: np.random.RandomState
    ) -> list[Split]:
        """Return training and validation rows of every fold; those without weight are in none."""
        rows, about = self._to_be_split(fraction, X)
        splits = cross_validation_splits(
            fraction, classification=classification, random_state=random_state, **about
        )
        weighted = [[side[self.weight[side] > 0] for side in (rows[a], rows[b])] for a, b in splits]
        return [(train, own) for train, own in weighted if len(train) and len(own)]

    def _to_be_split(self, fraction: Any, X: Any) -> tuple[Indices, dict[str, Any]]:
        # A splitter of the user's speaks of the rows that the user passed.
        own = isinstance(fraction, Real)
        rows = np.flatnonzero(self.weight) if own else np.arange(len(self.weight))
        return rows, {
            # A splitter would count the modalities of a dict.
            "X": MultimodalData(self.blocks) if isinstance(X, Mapping) else X,
            "y": self.target[rows],
            "groups": self.groups_of(rows),
        }

    def _weighted(self, rows: Indices) -> Indices:
        """Return those of the rows on one side of a split that have weight."""
        kept = rows[self.weight[rows] > 0]
        if len(kept) == 0:
            raise ValueError(
                "All rows on one side of the split of validation_fraction have weight zero; early "
                "stopping needs weighted rows on both."
            )
        return kept

    def check_present(self, rows: Indices) -> None:
        """Refuse training rows that all lack a modality."""
        for name in self.absent_from(rows):
            raise ValueError(
                f"Modality {name!r} is absent from all {len(rows)} training rows, so nothing "
                "can be learned from it; leave it out of X."
            )

    def absent_from(self, rows: Indices) -> list[str]:
        """Return the modalities that all of these rows lack."""
        return [name for name in self.names if not len(self._having(name, rows))]

    def _having(self, name: str, rows: Indices) -> Indices:
        """Return those of the rows that have a modality."""
        present = self.shared.once(("present", id(self.blocks)), lambda: present_rows(self.blocks))
        return rows if present is None else rows[present[name][rows]]

    def input_statistics(self, rows: Indices) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Return the weighted mean and standard deviation of every feature over some rows.

        Time steps and pixels count as rows, padding does not.
        """
        return self._once("statistics", rows, compute=lambda: self._input_statistics(rows))

    def _input_statistics(self, rows: Indices) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        statistics = {}
        for name in self.names:
            there = self._having(name, rows)
            mean, std = _mean_and_spread(self.blocks[name], there, self.weight)
            # Rounding leaves a constant column a spread of its last digit.
            std[std <= np.finfo(self.blocks[name].dtype).eps * np.abs(mean)] = 0.0
            statistics[name] = (torch.from_numpy(mean), torch.from_numpy(std))
        return statistics

    def far_values(self, rows: Indices) -> dict[str, list[tuple[int, float]]]:
        """Return, of modalities that are vectors, the columns with a value far from all others."""
        return self._once("far values", rows, compute=lambda: self._far_values(rows))

    def _far_values(self, rows: Indices) -> dict[str, list[tuple[int, float]]]:
        found = {}
        for name in (name for name in self.names if self.blocks[name].ndim == 2):
            there = self._having(name, rows)
            some = there[:: -(-len(there) * self.blocks[name].shape[1] // PIECE) or 1]
            if far := far_values(self.blocks[name][some]):
                found[name] = far
        return found

    def rows(self, rows: Indices, target_mean: float, target_scale: float) -> Rows:
        """Return some rows as tensors, the target standardized, weights averaging to 1."""
        key = (self.target.tobytes(), target_mean, target_scale)
        return self._once(
            "rows", rows, *key, compute=lambda: self._rows(rows, target_mean, target_scale)
        )

    def _rows(self, rows: Indices, target_mean: float, target_scale: float) -> Rows:
        key = ("tensors", id(self.blocks))
        X, there = self.shared.once(key, lambda: as_tensors(self.blocks, self.names))
        dtype = next(iter(X.values())).dtype
        target = (self.target[rows] - target_mean) / target_scale
        weight = self.weight[rows] / self.weight[rows].mean()
        present = None if there is None else there[torch.from_numpy(rows)]
        all_in_order = np.array_equal(rows, np.arange(len(self.weight)))
        return Rows(
            X,
            torch.tensor(target, dtype=dtype),
            torch.tensor(weight, dtype=dtype),
            present=None if present is None or bool(present.all()) else present.to(dtype),
            picked=None if all_in_order else torch.from_numpy(rows),
        )


def _mean_and_spread(
    block: NDArray[np.floating[Any]], rows: Indices, weight: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the weighted mean and standard deviation of every feature, piece by piece.

    The data are read once: what a piece tells is merged into what is known (Chan et al., 1979).
    """
    total, mean, squares = 0.0, np.zeros(()), np.zeros(())
    for some in np.array_split(rows, -(-len(rows) * block[0].size // PIECE) or 1):
        features, own = _by_feature(block[some], weight[some])
        if (own_total := own.sum()) == 0.0:
            continue
        own_mean = own @ features / own_total
        total += own_total
        shift = own_mean - mean
        features -= own_mean
        squares = squares + np.einsum("i,ij,ij->j", own, features, features)
        squares += shift**2 * own_total * (1.0 - own_total / total)
        mean = mean + shift * (own_total / total)
    return mean, np.sqrt(squares / total)


@dataclass(frozen=True)
class Fold:
    """Some of the training rows, the others, and what a net has to know of the former."""

    train: Rows
    validation: Rows
    statistics: Mapping[str, tuple[torch.Tensor, torch.Tensor]]
    bias: torch.Tensor


@dataclass
class FitPlan:
    """All that training needs, and what is needed again once it is done.

    `folds` are to tell for how many epochs to train; what they told is in `fold_history`, of every
    epoch, in `options.stop_after` and in `factor`, which what predictions are beyond the `constant`
    of who knows nothing is to be multiplied with; their nets, at their best, are `fold_nets`. Where
    they fail, all epochs are trained for, unless the plan `needs_folds`.
    """

    data: FitData
    net: FusionNet
    config: Mapping[str, Any]
    loss: BaseLoss
    penalties: Sequence[Penalty]
    train: Rows
    validation: Rows | None
    groups: tuple[NDArray[Any] | None, NDArray[Any] | None]
    options: TrainingOptions
    seed: int
    rng: np.random.RandomState
    index: pd.Index | None
    constant: NDArray[np.floating[Any]]
    needs_folds: bool
    folds: Sequence[Fold] = ()
    fold_history: Sequence[Mapping[str, float]] = ()
    factor: float = 1.0
    fold_nets: Sequence[FusionNet] = ()

    @property
    def numbers(self) -> Indices:
        """Which of the samples are trained on."""
        picked = self.train.picked
        return np.arange(len(self.train)) if picked is None else picked.numpy()

    @property
    def n_epochs(self) -> int:
        """The most epochs that there can be, of all parts of the net."""
        parts = range(len(self.net.training_parts()))
        return sum(self.options.n_epochs(position) for position in parts)

    def with_fold_history(self, history: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the rows of a history with what folds promised for each epoch, if there were."""
        if not self.fold_history:
            return history
        last = "dur"
        return [
            {key: row[key] for key in row if key != last}
            | dict(self.fold_history[row["epoch"] - 1])
            | {last: row[last]}
            for row in history
        ]

    def member(self) -> Member:
        """Return what one of many nets that are trained at once needs."""
        objective = Objective(self.loss, self.penalties)
        return Member(self.net, self.train, self.validation, objective, self.options, self.seed)


def _by_feature(
    block: NDArray[np.floating[Any]], weight: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return a block as float64 with one column per feature or channel, and its rows' weights."""
    if block.ndim == 4:
        block = np.moveaxis(block, 1, -1)
    features = block.reshape(-1, block.shape[-1]).astype(np.float64)
    weight = np.repeat(weight, len(features) // max(len(weight), 1))
    if block.ndim != 3:
        return features, weight
    steps = ~np.isnan(features[:, 0])
    return (features, weight) if steps.all() else (features[steps], weight[steps])


def present_rows(
    blocks: Mapping[str, NDArray[np.floating[Any]]],
) -> dict[str, NDArray[np.bool_]] | None:
    """Return which rows have each modality, or None when all have all."""
    with np.errstate(over="ignore", invalid="ignore"):
        if all(np.isfinite(block.sum()) for block in blocks.values()):
            return None  # the common case, without masks as large as the data
    present = {
        name: ~np.isnan(block).all(axis=tuple(range(1, block.ndim)))
        for name, block in blocks.items()
    }
    return None if all(rows.all() for rows in present.values()) else present


def as_tensors(
    blocks: Mapping[str, NDArray[np.floating[Any]]], names: Iterable[str]
) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
    """Return these blocks as tensors, and which modalities the rows have, `(n, M)` or None.

    Tensors share memory with the blocks where they can; an absent modality is zeros, and the steps
    of a sequence come before its padding.
    """
    names = list(names)
    present = present_rows({name: blocks[name] for name in names})
    X = {}
    for name in names:
        block = align_steps(blocks[name]) if blocks[name].ndim == 3 else blocks[name]
        if present is not None and not present[name].all():
            block = np.where(present[name].reshape(-1, *[1] * (block.ndim - 1)), block, 0.0)
            block = block.astype(blocks[name].dtype, copy=False)
        X[name] = torch.from_numpy(block if block.flags.writeable else np.asarray(_Shown(block)))
    if present is None:
        return X, None
    return X, torch.from_numpy(np.column_stack([present[name] for name in names]))


class _Shown:
    """A read-only block, such as a mapped file, shown to torch: which reads it, but would warn."""

    def __init__(self, block: NDArray[np.floating[Any]]) -> None:
        self.block = block
        self.__array_interface__ = {
            **block.__array_interface__,
            "data": (block.ctypes.data, False),
        }


def align_steps(block: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Return sequences `(n, T, d)` with all padding (NaN) at the end, and no more than is needed.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfuse.estimators._fitting import align_steps
    >>> nan = np.nan
    >>> align_steps(np.array([[[nan], [1.0], [2.0]], [[3.0], [nan], [nan]]]))[..., 0]
    array([[ 1.,  2.],
           [ 3., nan]])
    """
    padding = np.isnan(block[..., 0])
    if not padding.any():
        return block
    n_steps = max(int((~padding).sum(axis=1).max()), 1)
    order = np.argsort(padding, axis=1, kind="stable")[:, :n_steps]
    return np.take_along_axis(block, order[:, :, np.newaxis], axis=1)


def explain_divergence(error: DivergedError, estimator: Any) -> DivergedError:
    """Return the error with what to try."""
    return DivergedError(
        f"Training diverged: {error}. Try a smaller learning_rate (now "
        f"{estimator.learning_rate:g}), input_scaling='clip' against outliers, or "
        "max_grad_norm=1.0."
    )


def train_in_context(
    estimator: Any,
    data: tuple[Any, Any],
    train: Callable[[Hooks | None], TrainingResult],
    *,
    n_epochs: int,
    fitted: Callable[[], dict[str, Any]],
) -> TrainingResult:
    """Train inside scikit-learn's callback contexts; explain a failure or an interruption.

    Parameters
    ----------
    estimator : estimator
        Whose callbacks listen.
    data : tuple
        X and y as the user passed them.
    train : callable
        Trains, calling the pair of functions it receives around every epoch.
    n_epochs : int
        The most epochs there can be.
    fitted : callable
        Returns the attributes that make the estimator, as it is, fitted.
    """
    about = {"estimator": estimator, "X": data[0], "y": data[1]}
    context = estimator._init_callback_context(max_subtasks=n_epochs)
    context.call_on_fit_task_begin(**about)
    epochs: list[Any] = []

    def begin() -> None:
        epochs.append(context.subcontext(task_name="epoch"))
        epochs[-1].call_on_fit_task_begin(**about)

    def end() -> bool:
        return bool(epochs[-1].call_on_fit_task_end(**about, reconstruction_attributes=fitted))

    try:
        result = train((begin, end) if hasattr(estimator, "_skl_callbacks") else None)
    except DivergedError as error:
        raise explain_divergence(error, estimator) from None
    if result.interrupted:
        if not result.history:
            raise KeyboardInterrupt
        warn_user(
            f"Training was interrupted in epoch {len(result.history) + 1}; the model of epoch "
            f"{result.best_epoch} is kept.",
        )
    context.call_on_fit_task_end(**about, reconstruction_attributes=fitted)
    return result
