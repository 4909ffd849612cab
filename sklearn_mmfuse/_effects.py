"""Pure effects: what a function owes to each subset of its modalities, and to no smaller one.

`E_T f(x)`, the mean of `f(x_T, .)` over the product of the marginals of the other modalities, is
what T alone can tell about `f(x)`; the pure effect of S is `sum_{T in S} (-1)^(|S|-|T|) E_T f`.
Woertwein et al. (2022), eqs. 1-3 and appendix B, for any number of modalities: UC is `E_0 f` and
all effects of order 1, BI those of order 2.

The marginals are those of a background sample. Functions are evaluated on rows of a `Pool`, in
which every modality is looked up on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from math import comb
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from sklearn_mmfuse._random import Seed, generator

__all__ = [
    "Averaging",
    "Pool",
    "PureEffects",
    "Subset",
    "exact_cost",
    "exact_effects",
    "pure_effects",
    "sampled_cost",
    "sampled_effects",
    "subsets",
]

FloatArray = NDArray[np.float64]
Indices = NDArray[np.intp]
Subset = tuple[str, ...]
# From rows of the pool, one array of equal length per modality, to values (k, n_outputs).
Evaluate = Callable[[Mapping[str, Indices]], FloatArray]

CHUNK = 8192


@dataclass(frozen=True)
class Pool:
    """The rows to explain, followed by those of the background unless they are the same.

    Parameters
    ----------
    n_rows : int
        How many rows to explain.
    n_background : int or None
        How many rows the background has; None when the rows are their own background.
    """

    n_rows: int
    n_background: int | None = None

    @property
    def background(self) -> Indices:
        """The positions of the background."""
        if self.n_background is None:
            return np.arange(self.n_rows)
        return self.n_rows + np.arange(self.n_background)


@dataclass(frozen=True)
class Averaging:
    """How to average modalities out.

    Parameters
    ----------
    max_evaluations : int
        The budget for exact averages over combinations of background rows.
    n_draws : int
        Draws for what exceeds it.
    random_state : int, RandomState or None
        Seeds the draws.
    """

    max_evaluations: int
    n_draws: int
    random_state: Seed

    def __post_init__(self) -> None:
        for name, least in (("max_evaluations", 0), ("n_draws", 2)):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}; got {value!r}.")

    def generator(self) -> np.random.RandomState:
        """Return the generator of the draws."""
        return generator(self.random_state)


@dataclass(frozen=True)
class PureEffects:
    """A function as the sum of its pure effects.

    Parameters
    ----------
    constant : ndarray of shape (n_outputs,)
        `E_0 f`, the mean over the product of all marginals.
    values : dict of tuple of str to ndarray of shape (n_rows, n_outputs)
        The pure effect of each subset.
    errors : dict of tuple of str to ndarray of shape (n_rows, n_outputs), or None
        Standard errors of sampled effects; None when exact.
    """

    constant: FloatArray
    values: dict[Subset, FloatArray]
    errors: dict[Subset, FloatArray] | None = None

    def __add__(self, other: PureEffects) -> PureEffects:
        """Return the effects of the sum of two functions of the same modalities."""
        values = {subset: value + other.values[subset] for subset, value in self.values.items()}
        known = [effects.errors for effects in (self, other) if effects.errors is not None]
        errors = {s: np.sqrt(sum(own[s] ** 2 for own in known)) for s in values} if known else None
        return PureEffects(self.constant + other.constant, values, errors)


def subsets(names: Sequence[str], max_order: int) -> list[Subset]:
    """Return the subsets of 1 to `max_order` names, by size, names in the order given.

    Examples
    --------
    >>> from sklearn_mmfuse._effects import subsets
    >>> subsets(["a", "v"], 2)
    [('a',), ('v',), ('a', 'v')]
    """
    return [s for size in range(1, max_order + 1) for s in combinations(names, size)]


def pure_effects(means: Mapping[Subset, FloatArray], wanted: Sequence[Subset]) -> list[FloatArray]:
    """Return the pure effect of each wanted subset from the means `E_T f` of all theirs.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfuse._effects import pure_effects
    >>> means = {(): np.array([1.0]), ("a",): np.array([3.0])}
    >>> pure_effects(means, [("a",)])
    [array([2.])]
    """
    effects = []
    for subset in wanted:
        signed = [
            (-1) ** (len(subset) - size) * means[part]
            for size in range(len(subset) + 1)
            for part in combinations(subset, size)
        ]
        effects.append(reduce(np.add, signed))
    return effects


def exact_cost(n_names: int, pool: Pool, max_order: int) -> int:
    """Return how many evaluations `exact_effects` needs."""
    n_background = len(pool.background)
    cost = sum(
        comb(n_names, size) * pool.n_rows * n_background ** (n_names - size)
        for size in range(1, max_order + 1)
    )
    return cost if pool.n_background is None else cost + n_background**n_names


def sampled_cost(n_names: int, pool: Pool, max_order: int, n_draws: int) -> int:
    """Return how many evaluations `sampled_effects` needs."""
    partial = sum(comb(n_names, size) for size in range(1, min(max_order, n_names - 1) + 1))
    return pool.n_rows * n_draws * partial + n_draws + pool.n_rows


def exact_effects(
    evaluate: Evaluate, names: Sequence[str], pool: Pool, max_order: int
) -> PureEffects:
    """Return pure effects from all combinations of background rows.

    Parameters
    ----------
    evaluate : callable
        The function.
    names : sequence of str
        Its modalities.
    pool : Pool
        Where rows and background are.
    max_order : int
        The largest subset to look at.
    """
    wanted = subsets(names, max_order)
    means = {subset: _mean_given(evaluate, names, subset, pool) for subset in wanted}
    if pool.n_background is None:
        # The rows are the background, so the mean over the last modality is already there.
        means[()] = means[wanted[0]].mean(axis=0)
    else:
        means[()] = _mean_given(evaluate, names, (), pool)[0]
    return PureEffects(means[()], dict(zip(wanted, pure_effects(means, wanted), strict=True)))


def _mean_given(evaluate: Evaluate, names: Sequence[str], kept: Subset, pool: Pool) -> FloatArray:
    """Return `E_kept f` at every row, `(n_rows, n_outputs)`; one row when nothing is kept."""
    others = [name for name in names if name not in kept]
    background = pool.background
    n_rows = pool.n_rows if kept else 1
    n_combinations = len(background) ** len(others)
    total: FloatArray | None = None
    for flat in _chunks(n_rows * n_combinations):
        row, combination = np.divmod(flat, n_combinations)
        rows = dict.fromkeys(kept, row)
        for name in others:
            combination, position = np.divmod(combination, len(background))
            rows[name] = background[position]
        values = evaluate(rows)
        if total is None:
            total = np.zeros((n_rows, values.shape[1]))
        first, starts = np.unique(row, return_index=True)  # rows are sorted
        total[first] += np.add.reduceat(values, starts, axis=0)
    assert total is not None
    return total / n_combinations


def _chunks(total: int) -> Iterator[Indices]:
    for start in range(0, total, CHUNK):
        yield np.arange(start, min(start + CHUNK, total))


def sampled_effects(
    evaluate: Evaluate,
    names: Sequence[str],
    pool: Pool,
    max_order: int,
    *,
    n_draws: int,
    random_state: np.random.RandomState,
) -> PureEffects:
    """Return pure effects estimated from draws out of the product of the marginals.

    Every draw gives an unbiased estimate of every effect, all from the same draw, so that effects
    still add up to the function exactly; the spread of these estimates is the standard error.

    Parameters
    ----------
    evaluate, names, pool, max_order
        As in `exact_effects`.
    n_draws : int
        Draws, at least 2; all rows share them.
    random_state : RandomState
        Draws the background rows, each modality on its own.
    """
    background = pool.background
    draws = {
        name: background[random_state.randint(len(background), size=n_draws)] for name in names
    }
    wanted = subsets(names, max_order)
    unconditional = _in_chunks(evaluate, draws)
    everything = _in_chunks(evaluate, dict.fromkeys(names, np.arange(pool.n_rows)))
    effects: list[list[FloatArray]] = [[] for _ in wanted]
    errors: list[list[FloatArray]] = [[] for _ in wanted]
    step = max(1, CHUNK // n_draws)
    for start in range(0, pool.n_rows, step):
        rows = np.arange(start, min(start + step, pool.n_rows))
        means = {(): unconditional[np.newaxis], tuple(names): everything[rows, np.newaxis]}
        for subset in wanted:
            if len(subset) < len(names):
                means[subset] = _given(evaluate, subset, rows, draws)
        for position, effect in enumerate(pure_effects(means, wanted)):  # (rows, draws, outputs)
            effects[position].append(effect.mean(axis=1))
            errors[position].append(effect.std(axis=1, ddof=1) / np.sqrt(n_draws))
    return PureEffects(
        unconditional.mean(axis=0),
        {subset: np.concatenate(parts) for subset, parts in zip(wanted, effects, strict=True)},
        {subset: np.concatenate(parts) for subset, parts in zip(wanted, errors, strict=True)},
    )


def _given(
    evaluate: Evaluate, kept: Subset, rows: Indices, draws: Mapping[str, Indices]
) -> FloatArray:
    """Return `f` of every row's kept modalities with every draw of the others, `(n, draws, C)`."""
    n_draws = len(next(iter(draws.values())))
    values = _in_chunks(
        evaluate,
        {
            name: np.repeat(rows, n_draws) if name in kept else np.tile(drawn, len(rows))
            for name, drawn in draws.items()
        },
    )
    return values.reshape(len(rows), n_draws, -1)


def _in_chunks(evaluate: Evaluate, rows: Mapping[str, Indices]) -> FloatArray:
    n = len(next(iter(rows.values())))
    return np.concatenate(
        [
            evaluate({name: index[start : start + CHUNK] for name, index in rows.items()})
            for start in range(0, n, CHUNK)
        ]
    )
