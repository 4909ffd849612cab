"""For how many epochs few rows train: for as many as suit rows that folds of them leave out.

What is left is nothing that only watches: once the epochs are known, all rows are trained on.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
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
    Team,
    TrainingResult,
    batch_bounds,
    factors_of,
    fit_members,
    holds_every_class,
)
from sklearn_mmfuse.estimators._fitting import FitData, FitPlan, Fold
from sklearn_mmfuse.estimators._stacks import architecture, how_many
from sklearn_mmfuse.losses import Objective
from sklearn_mmfuse.nets import FusionNet

__all__ = ["choose_epochs", "make_folds"]

SMOOTHED = 5  # epochs whose losses are averaged
OF_MANY = 2  # folds of rows that could be spared: those that two of five leave out tell enough

Indices = NDArray[np.intp]
BuildNet = Callable[[dict[str, Any]], FusionNet]


def make_folds(
    plan: FitPlan, splits: Sequence[tuple[Indices, Indices]], scaling: tuple[float, float]
) -> list[Fold]:
    """Return folds for a plan; none where they cannot be, or would mislead, unless they must be.

    Parameters
    ----------
    plan : FitPlan
        Of all rows.
    splits : sequence of (train, validation)
        Rows to train on, and rows to watch.
    scaling : tuple of float
        The mean and scale of the target over all rows.

    Raises
    ------
    ValueError
        When there have to be some (`plan.needs_folds`), and cannot be.
    """
    complete = [split for split in splits if _holds_all(plan, split[0])]
    if not plan.needs_folds:
        # What suits a few rows beside a large group says nothing of all rows.
        complete = [split for split in complete if 2 * len(split[0]) >= len(plan.train)]
        if plan.data.can_spare_rows:
            complete = complete[:OF_MANY]
        if how_many(plan) < len(complete):
            return []
    obstacle = _obstacle(plan, len(splits), complete)
    if obstacle is None:
        return _folds(plan, complete, scaling)
    if plan.needs_folds:
        raise ValueError(
            f"early_stopping='cv' trains at least two folds side by side: {obstacle}. Use "
            "early_stopping=True or False."
        )
    return []


def _obstacle(
    plan: FitPlan, n_splits: int, complete: Sequence[tuple[Indices, Indices]]
) -> str | None:
    """Return why there can be no folds, if there cannot."""
    if plan.net.draws_globally:
        return "modules of your own and language models cannot be"
    if plan.options.net_params:
        return "nets with net_params cannot be"
    if plan.options.critic is not None and plan.train.present is not None:
        return "critics cannot be where modalities are absent"
    if len(complete) < 2:
        return (
            f"validation_fraction and groups give {n_splits}, and {len(complete)} have training "
            "rows of every class and every modality"
        )
    if not _holds_classes(plan, np.concatenate([validation for _, validation in complete])):
        return (
            "a class has its rows in a single fold, or a single group, so that no fold that is "
            "trained on some of them is left others"
        )
    return None


def _holds_all(plan: FitPlan, rows: Indices) -> bool:
    """Return whether there is in these rows all that is to be learned."""
    return _holds_classes(plan, rows) and not plan.data.absent_from(rows)


def _holds_classes(plan: FitPlan, rows: Indices) -> bool:
    if plan.loss.link == "identity":
        return True
    target = plan.data.target
    return holds_every_class(target[rows], target[plan.data.weight > 0])


def _folds(
    plan: FitPlan, splits: Sequence[tuple[Indices, Indices]], scaling: tuple[float, float]
) -> list[Fold]:
    # Side by side, all folds have equally many rows of either kind.
    n_train = max(len(train) for train, _ in splits)
    n_watched = max(len(validation) for _, validation in splits)
    watched = np.concatenate([validation for _, validation in splits])
    mean_weight = plan.data.weight[watched].sum() / (n_watched * len(splits))
    folds = []
    for train, validation in splits:
        target, weight = plan.data.target[train], plan.data.weight[train]
        folds.append(
            Fold(
                _repeated(plan.data, train, n_train, scaling),
                _padded(plan.data, validation, n_watched, scaling, mean_weight),
                plan.data.input_statistics(train),
                torch.as_tensor(plan.loss.intercept(target, weight, plan.net.n_outputs)),
            )
        )
    return folds


def _repeated(data: FitData, rows: Indices, length: int, scaling: tuple[float, float]) -> Rows:
    """Return training rows, some of them twice or more often, which then share their weight."""
    places = np.resize(rows, length)
    weight = data.weight[places] / np.bincount(places)[places]
    return _weighted(data, places, weight * (length / weight.sum()), scaling)


def _padded(
    data: FitData, rows: Indices, length: int, scaling: tuple[float, float], mean_weight: float
) -> Rows:
    """Return validation rows, and after them as many without weight as there is place for.

    Weights average to 1 over all folds, not over each: a larger fold counts more.
    """
    places = np.resize(rows, length)
    weight = np.where(np.arange(length) < len(rows), data.weight[places], 0.0) / mean_weight
    return _weighted(data, places, weight, scaling)


def _weighted(
    data: FitData, places: Indices, weight: NDArray[np.float64], scaling: tuple[float, float]
) -> Rows:
    """Return rows with weights of their own."""
    rows = data.rows(places, *scaling)
    return replace(rows, weight=torch.tensor(weight, dtype=rows.weight.dtype))


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
        teams = {i: [_fold_member(plans[i], fold, i) for fold in plans[i].folds] for i in numbers}
        members = [member for team in teams.values() for member in team]
        stack = build_net({**config, "n_members": len(members)})
        outcomes = iter(fit_members(members, stack.to(getattr(torch, str(config["dtype"])))))
        for i, team in teams.items():
            errors[i] = _learn(plans[i], [next(outcomes) for _ in team])
            plans[i].fold_nets = [member.net for member in team]
    return errors


def _stacks(plans: Sequence[FitPlan]) -> list[list[int]]:
    """Return the numbers of plans whose folds are trained at once."""
    groups: list[tuple[Any, list[int]]] = []
    for i, plan in enumerate(plans):
        if not plan.folds or plan.options.stop_after is not None:
            continue
        first = _member(plan, plan.folds[0], plan.net, team=None)
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
    n_watched = sum(int(torch.count_nonzero(own.validation.weight)) for own in plan.folds)
    return _member(plan, fold, net, Team(team, fold.bias, 1.0 / (n_watched + 1)))


def _member(plan: FitPlan, fold: Fold, net: FusionNet, team: Team | None) -> Member:
    """Return the fold as one of a team, in epochs of as many steps as those of all rows."""
    n_steps = len(batch_bounds(len(plan.train), plan.options.batch_size))
    options = replace(
        plan.options,
        batch_size=-(-len(fold.train) // n_steps),
        net_params=None,
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
            if plan.needs_folds:
                return DivergedError(f"in a fold of early_stopping='cv', {outcome}")
            plan.folds = ()  # all rows may well be fine
            return None
        results.append(outcome)
    scaled = np.mean([result.scaled_losses for result in results], axis=0)  # (epochs, factors)
    factors = factors_of(plan.loss)
    history = [_mean_row(rows) for rows in zip(*(r.history for r in results), strict=True)]
    ends, told, start = [], [], 0
    for best in results[0].part_epochs:
        stop = start + min(best + plan.options.n_iter_no_change, plan.options.max_epochs)
        # The lowest of many noisy losses is the luckiest; its neighborhood has less luck.
        smooth = uniform_filter1d(scaled[start:stop], SMOOTHED, axis=0, mode="nearest")
        ends.append(int(smooth.min(axis=1).argmin()) + 1)
        for row, losses in zip(history[start:stop], scaled[start : start + ends[-1]], strict=False):
            told.append({**row, "valid_loss": float(losses.min())})
        plan.factor = factors[int(smooth[ends[-1] - 1].argmin())]  # of the last part, in the end
        start = stop
    plan.options = replace(plan.options, stop_after=tuple(ends))
    plan.fold_history = told
    return None


def _mean_row(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return what rows left out told of an epoch, on average over folds."""
    watched = [key for key in rows[0] if key.startswith("valid_")]
    return {key: float(np.mean([row[key] for row in rows])) for key in watched}
