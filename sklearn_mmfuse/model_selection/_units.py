"""A unit of work: candidates of one architecture, trained at once on some splits and looked at."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from traceback import format_exc
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from sklearn_mmfuse.estimators._base import BaseFusionEstimator
from sklearn_mmfuse.estimators._fitting import FitPlan, Shared
from sklearn_mmfuse.estimators._stacks import alike, how_many
from sklearn_mmfuse.estimators._together import train_together
from sklearn_mmfuse.model_selection._front import (
    Caught,
    catch,
    final_estimator,
    path_to_groups,
    put_behind,
)
from sklearn_mmfuse.model_selection._sklearn import check_method_params, safe_split
from sklearn_mmfuse.model_selection._threads import fair_threads

__all__ = ["Candidate", "Fit", "Job", "Look", "Split", "Task", "Unit", "run_alone", "run_unit"]

Task = tuple[int, int]  # the numbers of a candidate and of a split
Front = tuple[Any, Caught] | str  # what was fitted, or None, and its data; or how it failed


@dataclass(frozen=True)
class Candidate:
    """Parameters to try."""

    number: int
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Split:
    """Rows to train on, and rows to look at."""

    number: int
    train: NDArray[np.intp]
    test: NDArray[np.intp]

    @staticmethod
    def numbered(pairs: Iterable[tuple[Any, Any]]) -> list[Split]:
        """Return the splits that a splitter yields."""
        return [
            Split(i, np.asarray(train), np.asarray(test)) for i, (train, test) in enumerate(pairs)
        ]


class Look(Protocol):
    """What is wanted of a fit that has ended, well or not; it travels to where that was made."""

    @property
    def explains(self) -> bool:
        """Whether more is read than predictions."""

    def __call__(self, job: Job, fit: Fit, /) -> Any:
        """Return it."""


@dataclass(frozen=True)
class Job:
    """What all units of work have in common.

    With `error_score="raise"` the first fit that fails ends it all.
    """

    estimator: Any
    X: Any
    y: Any
    look: Look
    fit_params: Mapping[str, Any]
    groups: Any
    error_score: Any
    max_members: int | str
    dispatcher: int
    n_workers: int

    def model(self, candidate: Candidate) -> Any:
        """Return the model with the parameters of a candidate, unfitted."""
        return clone(self.estimator).set_params(**clone(dict(candidate.params), safe=False))

    def training_data(self, model: Any, split: Split) -> Caught:
        """Return X, y and fit parameters of the training rows."""
        X, y = safe_split(model, self.X, self.y, split.train)
        params = self.params_for(model)
        return X, y, check_method_params(self.X, params=params, indices=split.train)

    def params_for(self, model: Any) -> dict[str, Any]:
        """Return the fit parameters of a model, with the groups for what in it wants them."""
        params = dict(self.fit_params)
        if self.groups is not None and (path := path_to_groups(model)) is not None:
            params.setdefault("__".join([*path, "groups"]), self.groups)
        return params


@dataclass(frozen=True)
class Unit:
    """Candidates with the same in front of the estimator, and splits."""

    candidates: Sequence[Candidate]
    splits: Sequence[Split]


@dataclass
class Fit:
    """One fit: a model, and how far it has come."""

    task: Task
    split: Split
    model: Any
    plan: FitPlan | None = None
    seconds: float = 0.0
    error: str | None = None

    @property
    def estimator(self) -> BaseFusionEstimator:
        """The estimator of ours that the model is, or that is last in it."""
        estimator = final_estimator(self.model)
        assert estimator is not None
        return estimator


def run_alone(job: Job, candidate: Candidate, split: Split) -> list[tuple[Task, Any]]:
    """Fit what cannot be trained beside others, and look at it."""
    with fair_threads(job.dispatcher, job.n_workers):
        fit = Fit((candidate.number, split.number), split, job.model(candidate))
        X, y, params = job.training_data(fit.model, split)
        data = (X,) if y is None else (X, y)
        _attempt(job, fit, partial(fit.model.fit, *data, **params))
        return [(fit.task, job.look(job, fit))]


def run_unit(job: Job, unit: Unit) -> list[tuple[Task, Any]]:
    """Train all candidates of a unit on all its splits, and look at them."""
    with fair_threads(job.dispatcher, job.n_workers):
        fits = _plan(job, unit)
        for stack in _stacks(fits, job.max_members):
            _train(job, stack)
        return [(fit.task, job.look(job, fit)) for fit in fits]


def _plan(job: Job, unit: Unit) -> list[Fit]:
    """Check and prepare everything; what fails is kept as failed."""
    fits = []
    for split in unit.splits:
        front, shared = _fit_front(job, unit.candidates[0], split), Shared()
        for candidate in unit.candidates:
            fit = Fit((candidate.number, split.number), split, job.model(candidate))
            fits.append(fit)
            if isinstance(front, str):
                fit.error = front
                continue
            fitted, data = front
            if fitted is not None:
                fit.model = put_behind(fitted, fit.estimator)
            _attempt(job, fit, partial(_set_plan, fit, data, shared))
    return fits


def _fit_front(job: Job, candidate: Candidate, split: Split) -> Front:
    """Fit what stands in front of the estimator; return it and the data that comes through."""
    try:
        model = job.model(candidate)
        data = job.training_data(model, split)
        return (None, data) if final_estimator(model) is model else catch(model, *data)
    except Exception:
        if job.error_score == "raise":
            raise
        return format_exc()


def _set_plan(fit: Fit, data: Caught, shared: Shared) -> None:
    X, y, params = data
    fit.estimator._validate_params()
    known = {"sample_weight": None, "groups": None}
    if unknown := [name for name in params if name not in known]:
        raise TypeError(f"{type(fit.estimator).__name__}.fit() has no parameters {unknown}.")
    fit.plan = fit.estimator._plan(X, y, **{**known, **params}, shared=shared)


def _attempt(job: Job, fit: Fit, action: Callable[[], Any]) -> None:
    """Run a part of a fit, take its time, and keep how it failed."""
    start = time.perf_counter()
    try:
        action()
    except Exception:
        if job.error_score == "raise":
            raise
        fit.error = format_exc()
    fit.seconds += time.perf_counter() - start


def _stacks(fits: Sequence[Fit], max_members: int | str) -> list[list[Fit]]:
    """Return fits that train at once, no more than fit into memory."""
    groups: list[list[Fit]] = []
    for fit in fits:
        if fit.plan is None:
            continue
        home = next((g for g in groups if g[0].plan and alike(g[0].plan, fit.plan)), None)
        if home is None:
            groups.append([fit])
        else:
            home.append(fit)
    stacks = []
    for group in groups:
        plan = group[0].plan
        assert plan is not None
        most = how_many(plan) if max_members == "auto" else int(max_members)
        n_stacks = -(-len(group) // most)
        stacks += [list(part) for part in np.array_split(np.array(group, dtype=object), n_stacks)]
    return stacks


def _train(job: Job, stack: Sequence[Fit]) -> None:
    """Train a stack; where that fails as a whole, one after the other, so that one fails alone."""
    start = time.perf_counter()
    plans = [fit.plan for fit in stack if fit.plan is not None]
    try:
        outcomes = train_together(stack[0].estimator._build_net, plans)
    except Exception:
        if job.error_score == "raise":
            raise
        if len(stack) == 1:
            stack[0].error, stack[0].plan = format_exc(), None
        for fit in stack if len(stack) > 1 else ():
            _train(job, [fit])
        return
    seconds = (time.perf_counter() - start) / len(stack)
    for fit, plan, outcome in zip(stack, plans, outcomes, strict=True):
        fit.seconds += seconds
        describe = job.look.explains
        _attempt(job, fit, partial(fit.estimator._conclude, plan, outcome, describe=describe))
        fit.plan = None  # the memory of its rows
