"""Several nets of one estimator: what each is trained on, and what they say together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sklearn_mmfuse._decomposition import Decomposition
from sklearn_mmfuse._effects import PureEffects
from sklearn_mmfuse._terms import Term
from sklearn_mmfuse._training import DivergedError, Rows, TrainingResult, member_state
from sklearn_mmfuse.estimators._fitting import FitPlan, Hooks
from sklearn_mmfuse.estimators._stacks import alike, how_many
from sklearn_mmfuse.estimators._together import train_alone, train_together
from sklearn_mmfuse.nets import FusionNet

__all__ = ["ensemble", "mean_effects", "member_nets", "pooled", "train_ensemble"]


def ensemble(plan: FitPlan, n_members: int, *, bootstrap: bool) -> list[FitPlan]:
    """Return the plans of all nets; without `bootstrap` the first is the plan itself.

    Raises
    ------
    ValueError
        When nets cannot stand side by side.
    """
    if n_members == 1 and not bootstrap:
        return [plan]
    if plan.net.draws_globally:
        raise ValueError(
            f"n_members={n_members} puts nets side by side, which modules of one's own, or a "
            "language model, cannot be; fit several estimators that differ in random_state."
        )
    seeds = [plan.seed, *(int(plan.rng.randint(2**31 - 1)) for _ in range(n_members - 1))]
    plans = [plan, *(replace(plan, net=copy.deepcopy(plan.net)) for _ in seeds[1:])]
    plans = [replace(own, seed=seed) for own, seed in zip(plans, seeds, strict=True)]
    if not bootstrap:
        return plans
    return [replace(own, train=_drawn_anew(plan.train, plan.groups[0], plan.rng)) for own in plans]


def _drawn_anew(rows: Rows, groups: NDArray[Any] | None, rng: np.random.RandomState) -> Rows:
    """Return as many rows, drawn with replacement: one by one, or group after group."""
    n = len(rows)
    if groups is None:
        drawn = rng.randint(n, size=n)
    else:
        _, number = np.unique(groups, return_inverse=True)
        members = [np.flatnonzero(number == group) for group in range(int(number.max()) + 1)]
        pieces: list[NDArray[np.intp]] = []
        while sum(len(piece) for piece in pieces) < n:
            pieces += [members[g] for g in rng.randint(len(members), size=len(members))]
        drawn = np.concatenate(pieces)[:n]  # of the last group perhaps a part
    taken = rows.take(torch.from_numpy(drawn))
    return replace(taken, weight=taken.weight / taken.weight.mean())


def train_ensemble(
    build_net: Callable[[dict[str, Any]], FusionNet],
    plans: Sequence[FitPlan],
    hooks: Hooks | None = None,
) -> TrainingResult:
    """Train the nets, together where that is possible and nobody listens to single epochs.

    Raises
    ------
    DivergedError
        When one of them diverges.
    KeyboardInterrupt
        When one of several is interrupted: half an ensemble is none.
    """
    listened = hooks is not None or plans[0].options.verbose
    if len(plans) > 1 and not listened and alike(plans[0], plans[1]):
        most = how_many(plans[0])
        stacks = [plans[start : start + most] for start in range(0, len(plans), most)]
        outcomes = [o for stack in stacks for o in train_together(build_net, stack)]
    else:
        outcomes = [_whole(train_alone(plan, hooks), len(plans)) for plan in plans]
    results = []
    for outcome in outcomes:
        if isinstance(outcome, DivergedError):
            raise outcome
        results.append(outcome)
    return _summed_up(results)


def _whole(result: TrainingResult, n_nets: int) -> TrainingResult:
    if result.interrupted and n_nets > 1:
        raise KeyboardInterrupt
    return result


def _summed_up(results: Sequence[TrainingResult]) -> TrainingResult:
    """Return all epochs of all nets, and the best epoch of the one that took longest."""
    if len(results) == 1:
        return results[0]
    longest = max(results, key=lambda result: len(result.history))
    history = [{"member": e, **row} for e, r in enumerate(results) for row in r.history]
    return TrainingResult(history, longest.best_epoch)


def pooled(values: Sequence[Any]) -> Any:
    """Return the mean of what several nets tell; of remarks, one that most of them make."""
    if any(value is None or isinstance(value, str) for value in values):
        made = [value for value in values if value is not None]
        return made[0] if len(made) > len(values) / 2 else None
    return sum(values[1:], start=values[0]) / len(values)


def member_nets(net: FusionNet, build: Callable[[], FusionNet]) -> list[FusionNet]:
    """Return the nets that stand side by side in one."""
    if net.n_members == 1:
        return [net]
    nets = []
    for e in range(net.n_members):
        own = build().to(net.bias).eval()
        own.load_state_dict(member_state(net, e))
        nets.append(own)
    return nets


def mean_decomposition(parts: Sequence[Decomposition]) -> Decomposition:
    """Return the mean of what several nets say, with its standard errors.

    Those of draws, which are the same for every net, come on top.
    """
    if len(parts) == 1:
        return parts[0]
    values = np.stack([own.values for own in parts])
    variance = values.var(axis=0, ddof=1) / len(parts)
    drawn = [own.standard_errors**2 for own in parts if own.standard_errors is not None]
    return replace(
        parts[0],
        values=values.mean(axis=0),
        bias=np.mean([own.bias for own in parts], axis=0),
        standard_errors=np.sqrt(variance + (np.mean(drawn, axis=0) if drawn else 0.0)),
    )


def mean_effects(effects: Sequence[Mapping[Term, PureEffects]]) -> dict[Term, PureEffects]:
    """Return the mean of the effects in several nets."""
    if len(effects) == 1:
        return dict(effects[0])
    return {term: _mean_effect([own[term] for own in effects]) for term in effects[0]}


def _mean_effect(effects: Sequence[PureEffects]) -> PureEffects:
    several = [own.errors for own in effects if own.errors is not None]
    mean = {s: np.mean([own.values[s] for own in effects], axis=0) for s in effects[0].values}
    # Of draws, which are the same for every net.
    errors = {s: np.mean([own[s] for own in several], axis=0) for s in mean} if several else None
    return PureEffects(np.mean([own.constant for own in effects], axis=0), mean, errors)
