"""For how many epochs few rows train: for as many as suit rows that folds of them leave out.

What is left is nothing that only watches: once the epochs are known, all rows are trained on.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from sklearn_mmfuse._training import (
    DivergedError,
    Member,
    Rows,
    TrainingResult,
    batch_bounds,
    factors_of,
    fit_members,
)
from sklearn_mmfuse.estimators._fitting import FitData, FitPlan, Fold
from sklearn_mmfuse.estimators._stacks import architecture, how_many
from sklearn_mmfuse.losses import Objective
from sklearn_mmfuse.nets import FusionNet

__all__ = ["choose_epochs", "make_folds"]

SMOOTHED = 5  # epochs whose losses are averaged

NO_FOLDS = (
    "early_stopping='cv' trains at least two folds side by side. It needs two groups, two folds "
    "whose training rows have every class and every modality, and a net that can stand beside "
    "others: without net_params, modules of your own and language models. Use "
    "early_stopping=True or False."
)

Indices = NDArray[np.intp]
BuildNet = Callable[[dict[str, Any]], FusionNet]


def make_folds(
    plan: FitPlan,
    splits: Sequence[tuple[Indices, Indices]],
    scaling: tuple[float, float],
    *,
    asked_for: bool,
) -> list[Fold]:
    """Return folds for a plan; none where they could not be trained side by side.

    Parameters
    ----------
    plan : FitPlan
        Of all rows.
    splits : sequence of (train, validation)
        Rows to train on, and rows to watch.
    scaling : tuple of float
        The mean and scale of the target over all rows.
    asked_for : bool
        Whether there have to be some.

    Raises
    ------
    ValueError
        When there have to be, and are not.
    """
    folds = _folds(plan, splits, scaling) if len(splits) > 1 else []
    keys = {_member(plan, fold, plan.net).key for fold in folds}
    if len(folds) > 1 and len(keys) == 1 and None not in keys:
        return folds
    if asked_for:
        raise ValueError(NO_FOLDS)
    return []


def _folds(
    plan: FitPlan, splits: Sequence[tuple[Indices, Indices]], scaling: tuple[float, float]
) -> list[Fold]:
    # Side by side, all folds have equally many rows of either kind.
    n_train = min(len(train) for train, _ in splits)
    n_watched = max(len(validation) for _, validation in splits)
    watched = np.concatenate([validation for _, validation in splits])
    mean_weight = plan.data.weight[watched].sum() / (n_watched * len(splits))
    rng, folds = np.random.RandomState(plan.seed), []
    for train, validation in splits:
        own = np.sort(rng.permutation(train)[:n_train])
        if plan.data.absent_from(own):  # of a modality, those were left out that had it
            continue
        target, weight = plan.data.target[own], plan.data.weight[own]
        folds.append(
            Fold(
                plan.data.rows(own, *scaling),
                _padded(plan.data, validation, n_watched, scaling, mean_weight),
                plan.data.input_statistics(own),
                torch.as_tensor(plan.loss.intercept(target, weight, plan.net.n_outputs)),
            )
        )
    return folds


def _padded(
    data: FitData, rows: Indices, length: int, scaling: tuple[float, float], mean_weight: float
) -> Rows:
    """Return validation rows, and after them as many without weight as there is place for.

    Weights average to 1 over all folds, not over each: a larger fold counts more.
    """
    places = np.resize(rows, length)
    weight = np.where(np.arange(length) < len(rows), data.weight[places], 0.0) / mean_weight
    padded = data.rows(places, *scaling)
    return replace(padded, weight=torch.tensor(weight, dtype=padded.weight.dtype))


def choose_epochs(build_net: BuildNet, plans: Sequence[FitPlan]) -> list[DivergedError | None]:
    """Have plans with folds train all rows for as many epochs as these tell.

    Parameters
    ----------
    build_net : callable
        Makes the net of a configuration.
    plans : sequence of FitPlan
        Changed in place.

    Returns
    -------
    errors : list of DivergedError or None
        How a plan failed, if it did.
    """
    errors: list[DivergedError | None] = [None] * len(plans)
    for numbers in _stacks(plans):
        config = plans[numbers[0]].config
        members = [_fold_member(plans[i], fold, i) for i in numbers for fold in plans[i].folds]
        stack = build_net({**config, "n_members": len(members)})
        outcomes = fit_members(members, stack.to(getattr(torch, str(config["dtype"]))))
        for i in numbers:
            own = [e for e, member in enumerate(members) if member.team == i]
            errors[i] = _learn(plans[i], [outcomes[e] for e in own])
            plans[i].fold_nets = [members[e].net for e in own]
    return errors


def _stacks(plans: Sequence[FitPlan]) -> list[list[int]]:
    """Return the numbers of plans whose folds are trained at once."""
    groups: list[tuple[Any, list[int]]] = []
    for i, plan in enumerate(plans):
        if not plan.folds or plan.options.stop_after is not None:
            continue
        first = _member(plan, plan.folds[0], plan.net)
        kind = first.key, architecture(plan), len(plan.folds)
        home = next((numbers for own, numbers in groups if own == kind), None)
        if home is None:
            groups.append((kind, [i]))
        else:
            home.append(i)
    stacks = []
    for (_, _, n_folds), numbers in groups:
        most = max(1, how_many(plans[numbers[0]]) // n_folds)
        stacks += [numbers[start : start + most] for start in range(0, len(numbers), most)]
    return stacks


def _fold_member(plan: FitPlan, fold: Fold, team: int) -> Member:
    """Return the fold with a net of its own."""
    net = copy.deepcopy(plan.net)
    net.set_input_statistics(fold.statistics)
    net.training_parts()[0].bias.copy_(fold.bias)
    return _member(plan, fold, net, team)


def _member(plan: FitPlan, fold: Fold, net: FusionNet, team: int | None = None) -> Member:
    """Return the fold as one of a team, in epochs of as many steps as those of all rows."""
    n_steps = len(batch_bounds(len(plan.train), plan.options.batch_size))
    options = replace(
        plan.options,
        batch_size=-(-len(fold.train) // n_steps),
        net_params=plan.options.net_params or None,
        verbose=0,
    )
    objective = Objective(plan.loss, plan.penalties)
    return Member(net, fold.train, fold.validation, objective, options, plan.seed, team)


def _learn(
    plan: FitPlan, outcomes: Sequence[TrainingResult | DivergedError]
) -> DivergedError | None:
    """Set the epochs of a plan, and what they promise."""
    results = []
    for outcome in outcomes:
        if isinstance(outcome, DivergedError):
            return outcome
        results.append(outcome)
    scaled = np.mean([result.scaled_losses for result in results], axis=0)  # (epochs, factors)
    factors = factors_of(plan.loss)
    ends, losses, start = [], [], 0
    for best in results[0].part_epochs:
        stop = start + min(best + plan.options.n_iter_no_change, plan.options.max_epochs)
        # The lowest of many noisy losses is the luckiest; its neighborhood has less luck.
        smooth = uniform_filter1d(scaled[start:stop], SMOOTHED, axis=0, mode="nearest")
        ends.append(int(smooth.min(axis=1).argmin()) + 1)
        losses += scaled[start : start + ends[-1]].min(axis=1).tolist()
        plan.factor = factors[int(smooth[ends[-1] - 1].argmin())]  # of the last part, in the end
        start = stop
    plan.options = replace(plan.options, stop_after=tuple(ends))
    plan.fold_losses = losses
    return None
