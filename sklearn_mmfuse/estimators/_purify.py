"""Purification: what a term owes to fewer modalities moves to the terms of those.

The prediction does not change. Works on the structure of the net (`FusionNet.separate`) instead of
forward passes of the whole model.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sklearn_mmfuse._data import pad_steps
from sklearn_mmfuse._decomposition import Decomposition
from sklearn_mmfuse._effects import (
    Averaging,
    Pool,
    PureEffects,
    Subset,
    exact_cost,
    exact_effects,
    pure_effects,
    sampled_cost,
    sampled_effects,
    subsets,
)
from sklearn_mmfuse._terms import Term
from sklearn_mmfuse.estimators._fitting import as_tensors
from sklearn_mmfuse.nets import FusionNet
from sklearn_mmfuse.nets._separable import SeparableTerm

__all__ = ["purified", "term_effects"]

FloatArray = NDArray[np.float64]
Blocks = Mapping[str, NDArray[np.floating[Any]]]


@torch.no_grad()
def term_effects(
    net: FusionNet,
    blocks: Blocks,
    background: Blocks | None,
    how: Averaging,
    *,
    rescale: Callable[[FloatArray], FloatArray],
) -> dict[Term, PureEffects]:
    """Return the pure effects of every term.

    Cheap terms first: they are exact as long as the budget lasts, the others are sampled.

    Parameters
    ----------
    net : FusionNet
        A trained net.
    blocks, background : dict of str to ndarray
        The rows to explain, and those to average over unless they are the same.
    how : Averaging
        Budget and draws.
    rescale : callable
        The linear map from the scale of the net to that of the contributions, (..., C) to (..., C).
    """
    pool = _make_pool(blocks, background)
    if background is not None:
        blocks = {n: np.concatenate(pad_steps([blocks[n], background[n]])) for n in blocks}
    double = copy.deepcopy(net).double()  # as predictions are
    tensors, _ = as_tensors(blocks, net.in_features)
    X = {name: x.double() for name, x in tensors.items()}
    rng = how.generator()
    left = how.max_evaluations
    effects: dict[Term, PureEffects] = {}
    for term in sorted(double.separate(X), key=lambda term: _cost(term, pool)):
        cost, order = _cost(term, pool), len(term.names)
        left -= cost
        # Nothing is gained by draws that cost more than all combinations.
        drawn = sampled_cost(order, pool, order, how.n_draws) * term.unit_cost
        n_draws = None if left >= 0 or cost <= drawn else how.n_draws
        several = _effects(term, pool, rescale, n_draws, rng)
        for own, effect in zip(term.terms, _split(several, len(term.terms)), strict=True):
            effects[own] = effects[own] + effect if own in effects else effect
    return effects


def _make_pool(blocks: Blocks, background: Blocks | None) -> Pool:
    behind = blocks if background is None else background
    n_rows, n_background = (len(next(iter(rows.values()))) for rows in (blocks, behind))
    if n_background < 2:
        raise ValueError(
            f"Averages over modalities need the rows of a background, and there is {n_background}: "
            "pass background=, for example the training rows."
        )
    return Pool(n_rows, None if background is None else n_background)


def _cost(term: SeparableTerm, pool: Pool) -> int:
    order = len(term.names)
    if order == 1:
        return 0  # as many evaluations as there are rows
    closed = term.closed_cost(pool)
    return exact_cost(order, pool, order) * term.unit_cost if closed is None else closed


def _effects(
    term: SeparableTerm,
    pool: Pool,
    rescale: Callable[[FloatArray], FloatArray],
    n_draws: int | None,
    rng: np.random.RandomState,
) -> PureEffects:
    """Return the effects of terms side by side; exact unless there are draws."""
    names = term.names

    def evaluate(rows: Mapping[str, NDArray[np.intp]]) -> FloatArray:
        values = term.evaluate(rows)
        return rescale(values.reshape(len(values), len(term.terms), -1)).reshape(values.shape)

    if n_draws is not None:
        return sampled_effects(evaluate, names, pool, len(names), n_draws=n_draws, random_state=rng)
    if term.closed_cost(pool) is None:
        return exact_effects(evaluate, names, pool, len(names))
    means = {subset: rescale(mean) for subset, mean in term.closed_means(pool).items()}
    wanted = subsets(names, len(names))
    return PureEffects(means[()], dict(zip(wanted, pure_effects(means, wanted), strict=True)))


def _split(effects: PureEffects, n_terms: int) -> list[PureEffects]:
    """Take apart the effects of several terms, whose outputs stand side by side."""
    if n_terms == 1:
        return [effects]

    def each(values: FloatArray) -> list[FloatArray]:
        return np.split(values, n_terms, axis=-1)

    values = {subset: each(value) for subset, value in effects.values.items()}
    errors = {subset: each(error) for subset, error in (effects.errors or {}).items()}
    return [
        PureEffects(
            constant,
            {subset: parts[i] for subset, parts in values.items()},
            {subset: parts[i] for subset, parts in errors.items()} if errors else None,
        )
        for i, constant in enumerate(each(effects.constant))
    ]


def purified(
    parts: Decomposition, effects: Mapping[Term, PureEffects], names: Sequence[str]
) -> Decomposition:
    """Return the decomposition in which every term holds its pure effect.

    Parameters
    ----------
    parts : Decomposition
        What is purified: its sum stays.
    effects : mapping of Term to PureEffects
        The effects of each term, whose constants are relative to the bias of `parts`.
    names : sequence of str
        The modalities, in the order in which terms are to be listed.
    """
    shape = (len(parts), len(parts.outputs))
    values = {_destination(term, own): np.zeros(shape) for term, own in _owed(effects)}
    variances = dict.fromkeys(values, np.zeros(shape))
    for term, subset in _owed(effects):
        target, effect = _destination(term, subset), effects[term]
        values[target] = values[target] + effect.values[subset]
        if effect.errors is not None:
            variances[target] = variances[target] + effect.errors[subset] ** 2
    ordered = sorted(values, key=lambda term: _rank(term, names))
    sampled = any(effect.errors is not None for effect in effects.values())
    errors = [np.sqrt(variances[term]) for term in ordered]
    return Decomposition(
        np.stack([values[term] for term in ordered], axis=1),
        parts.bias + np.sum([effect.constant for effect in effects.values()], axis=0),
        ordered,
        parts.link,
        parts.outputs,
        np.stack(errors, axis=1) if sampled else None,
        method="effects",
    )


def _owed(effects: Mapping[Term, PureEffects]) -> list[tuple[Term, Subset]]:
    return [(term, subset) for term, effect in effects.items() for subset in effect.values]


def _destination(term: Term, subset: Subset) -> Term:
    """Return the term that a part belongs to: its own, or the plain one of fewer modalities."""
    return term if subset == term.modalities else Term(subset)


def _rank(term: Term, names: Sequence[str]) -> tuple[int, list[int], str]:
    return term.order, sorted(names.index(name) for name in term.modalities), term.kind
