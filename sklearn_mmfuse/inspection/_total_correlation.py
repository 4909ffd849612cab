"""How much modalities depend on each other, whatever they are used for."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit
from sklearn.utils import Bunch

from sklearn_mmfuse._groups import check_groups
from sklearn_mmfuse._intervals import check_confidence, mean_error, mean_interval
from sklearn_mmfuse._params import widths_of
from sklearn_mmfuse._random import Seed, generator
from sklearn_mmfuse._training import run_critic
from sklearn_mmfuse._validation import check_modalities
from sklearn_mmfuse.losses import DEPENDENCIES

__all__ = ["total_correlation"]

MIN_ROWS, MIN_PART = 20, 3
LARGEST = 1e100
MIN_GROUPS = 12  # of which two are for the test, so that there is an interval


def total_correlation(
    X: Any,
    *,
    dependency: str = "kl",
    modalities: list[str] | dict[str, Any] | None = None,
    groups: ArrayLike | None = None,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.15,
    hidden_layer_sizes: int | Sequence[int] = (64, 64),
    batch_size: int = 512,
    max_steps: int = 1200,
    confidence: float = 0.95,
    random_state: Seed = None,
) -> Bunch:
    """Return a lower bound of how much modalities depend on each other.

    A critic learns to tell rows as they are from rows whose modalities were shuffled
    (Colombo et al., 2021, Theorem 1). What it achieves on rows that it has not seen is the result:
    on its own training rows it would find dependence in noise.

    Parameters
    ----------
    X : MultimodalData, mapping, data frame or array
        Two or more modalities, each of feature vectors (n, d).
    dependency : {"kl", "f", "wasserstein"}, default="kl"
        "kl" is the total correlation (mutual information, with two modalities) in nats, by the
        bound of Donsker and Varadhan; "f" the same by that of Nguyen, Wainwright and Jordan;
        "wasserstein" the distance to independence in standard deviations of the features.
    modalities : list of str or dict of str to selector, optional
        Which modalities to look at; or, for arrays and frames without names, which columns make up
        each.
    groups : array-like of shape (n,), optional
        The person each row belongs to: the critic is tested on others than it was trained on, and
        the interval is about persons.
    validation_fraction, test_fraction : float, default=0.15
        Shares of the rows by which training is stopped, and on which the bound is measured.
    hidden_layer_sizes : int or sequence of int, default=(64, 64)
        Hidden layers of the critic.
    batch_size : int, default=512
        Rows per step, each with four shuffles.
    max_steps : int, default=1200
        The most steps.
    confidence : float, default=0.95
        Level of the interval.
    random_state : int, RandomState or None, default=None
        Seeds splits, weights and shuffles; None takes fresh entropy.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        `value`; `standard_error`; `interval`; `history`, the bound on the validation rows by step;
        `n_steps`, the step that was kept; `n_test`, how many rows the value is of. A critic that
        finds nothing has `n_steps` 0, and value and error are exactly zero.

    Raises
    ------
    ValueError
        When there are fewer than two modalities or too few rows, or one is no feature vector.

    Notes
    -----
    A bound from below: a finite critic on finite rows finds less than there is. With few rows or
    strong dependence it is far below (see the benchmarks); compare values of equal sample sizes.
    T is between -6 and 8, so that "kl" and "f" cannot tell more than some 8 nats. "f" is measured
    with the critic of "kl", shifted: both have the same supremum, and the gradient of the latter is
    the steadier one.

    References
    ----------
    Colombo, Chapuis, Labeau and Clavel. Improving Multimodal Fusion via Mutual Dependency
    Maximisation. EMNLP 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfuse.inspection import total_correlation
    >>> rng = np.random.default_rng(0)
    >>> audio = rng.normal(size=(2000, 1))
    >>> X = {"audio": audio, "text": 0.8 * audio + 0.6 * rng.normal(size=(2000, 1))}
    >>> result = total_correlation(X, max_steps=200, random_state=0)  # the truth is 0.51
    >>> 0.35 < result.value < 0.6
    True
    """
    _check_numbers(dependency, batch_size, max_steps)
    hidden = widths_of(hidden_layer_sizes)
    check_confidence(confidence)
    blocks = check_modalities(_Reader(modalities), X, reset=True, dtype=np.dtype("float64"))
    n_rows = _check_blocks(blocks)
    labels = check_groups(groups, n_rows)
    if labels is not None and (n_groups := len(np.unique(labels))) < MIN_GROUPS:
        raise ValueError(
            f"groups holds {n_groups}, to be divided among training, validation and test; at least "
            f"{MIN_GROUPS} are needed."
        )
    rng = generator(random_state)
    parts = _split(n_rows, labels, (validation_fraction, test_fraction), rng)
    result = run_critic(
        blocks,
        parts,
        dependency,
        hidden=hidden,
        batch_size=int(batch_size),
        max_steps=int(max_steps),
        seed=int(rng.randint(2**31 - 1)),
    )
    of_test = None if labels is None else labels[parts[2]]
    values = result.value + result.influence
    _, error, _ = mean_error(values, groups=of_test)
    _, interval = mean_interval(values, confidence=confidence, groups=of_test)
    return Bunch(
        value=result.value,
        standard_error=float(error),
        interval=(float(interval[0]), float(interval[1])),
        history=result.history,
        n_steps=result.n_steps,
        n_test=len(parts[2]),
    )


class _Reader(BaseEstimator):
    """What `check_modalities` asks for the parameter `modalities`."""

    def __init__(self, modalities: Any = None) -> None:
        self.modalities = modalities


def _check_numbers(dependency: str, batch_size: Any, max_steps: Any) -> None:
    if dependency not in DEPENDENCIES:
        raise ValueError(f"dependency must be one of {list(DEPENDENCIES)}; got {dependency!r}.")
    for name, value, least in (("batch_size", batch_size, 2), ("max_steps", max_steps, 1)):
        if not isinstance(value, int | np.integer) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}; got {value!r}.")


def _check_blocks(blocks: dict[str, NDArray[Any]]) -> int:
    """Refuse what the critic cannot read; return the number of rows."""
    if len(blocks) < 2:
        raise ValueError(
            f"A dependency is between modalities, and X has only {next(iter(blocks))!r}; pass at "
            "least two: MultimodalData, a dict, or modalities={name: columns}."
        )
    if other := [name for name, block in blocks.items() if block.ndim != 2]:
        raise ValueError(
            f"total_correlation reads feature vectors (n, d), and {', '.join(map(repr, other))} "
            "has more axes. Summarize it, e.g. by means over time, or look at "
            "MutualDependencyClassifier(reg_lambda=0).fit(X, y).dependency_, which encodes it."
        )
    for name, block in blocks.items():
        if np.abs(block).max(initial=0.0) > LARGEST:
            raise ValueError(
                f"Modality {name!r} has values beyond {LARGEST:g}, of which no spread can be "
                "taken; rescale it."
            )
    n_rows = len(next(iter(blocks.values())))
    if n_rows < MIN_ROWS:
        raise ValueError(
            f"X has {n_rows} rows, to be divided among training, validation and test; at least "
            f"{MIN_ROWS} are needed, and thousands to find much."
        )
    return n_rows


def _split(
    n_rows: int,
    groups: NDArray[Any] | None,
    fractions: tuple[float, float],
    rng: np.random.RandomState,
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Return training, validation and test rows; persons stay together."""
    for name, share in zip(("validation_fraction", "test_fraction"), fractions, strict=True):
        if not isinstance(share, Real) or not 0 < share < 1:
            raise ValueError(f"{name} must be between 0 and 1; got {share!r}.")
    validation, test = fractions
    if validation + test >= 1:
        raise ValueError(
            f"validation_fraction={validation} and test_fraction={test} leave no rows to train on."
        )
    splitter = ShuffleSplit if groups is None else GroupShuffleSplit
    rows = np.arange(n_rows)
    rest, held = _halve(splitter, rows, groups, test, rng)
    train, watched = _halve(splitter, rest, groups, validation / (1 - test), rng)
    if (fewest := min(map(len, (train, watched, held)))) < MIN_PART:
        raise ValueError(
            f"validation_fraction={validation} and test_fraction={test} leave {fewest} rows in one "
            f"part; at least {MIN_PART} are needed."
        )
    return train, watched, held


def _halve(
    splitter: Any,
    rows: NDArray[np.intp],
    groups: NDArray[Any] | None,
    share: float,
    rng: np.random.RandomState,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    labels = None if groups is None else groups[rows]
    split = splitter(n_splits=1, test_size=share, random_state=rng)
    kept, taken = next(split.split(rows, groups=labels))
    return rows[kept], rows[taken]
