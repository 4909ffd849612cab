"""A unit of work of a search: candidates of one architecture, trained at once and scored."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from traceback import format_exc
from typing import Any

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
    path_to_final,
    put_behind,
)
from sklearn_mmfuse.model_selection._sklearn import (
    check_method_params,
    count_rows,
    fit_and_score,
    is_of_scikit_learn,
    safe_split,
    score,
)
from sklearn_mmfuse.model_selection._threads import fair_threads

__all__ = ["Candidate", "Job", "Split", "Task", "Unit", "run_alone", "run_unit"]

Task = tuple[int, int]  # the numbers of a candidate and of a split
Result = dict[str, Any]
Front = tuple[Any, Caught] | str  # what was fitted, or None, and its data; or how it failed


@dataclass(frozen=True)
class Candidate:
    """Parameters to try."""

    number: int
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Split:
    """Rows to train on, and rows to score."""

    number: int
    train: NDArray[np.intp]
    test: NDArray[np.intp]


@dataclass(frozen=True)
class Job:
    """What all units of a search have in common."""

    estimator: Any
    X: Any
    y: Any
    scorer: Any
    fit_params: Mapping[str, Any]
    score_params: Mapping[str, Any]
    error_score: Any
    return_train_score: bool
    groups: Any
    max_members: int | str
    dispatcher: int
    n_workers: int

    @property
    def scores_predictions(self) -> bool:
        """Whether scores are known to look at predictions alone, and not at explanations."""
        return is_of_scikit_learn(self.scorer)

    def model(self, candidate: Candidate) -> Any:
        """Return the model with the parameters of a candidate, unfitted."""
        return clone(self.estimator).set_params(**clone(dict(candidate.params), safe=False))

    def training_data(self, model: Any, split: Split) -> Caught:
        """Return X, y and fit parameters of the training rows."""
        X, y = safe_split(model, self.X, self.y, split.train)
        params = self.params_for(model)
        return X, y, check_method_params(self.X, params=params, indices=split.train)

    def params_for(self, model: Any) -> dict[str, Any]:
        """Return the fit parameters of a model, with the groups for a fusion estimator in it."""
        params = dict(self.fit_params)
        if self.groups is not None and (path := path_to_final(model)) is not None:
            params.setdefault("__".join([*path, "groups"]), self.groups)
        return params


@dataclass(frozen=True)
class Unit:
    """Candidates with the same in front of the estimator, and splits."""

    candidates: Sequence[Candidate]
    splits: Sequence[Split]


def run_alone(job: Job, candidate: Candidate, split: Split) -> list[tuple[Task, Result]]:
    """Fit and score as scikit-learn does: what cannot be trained beside others."""
    with fair_threads(job.dispatcher, job.n_workers):
        model = job.model(candidate)
        result = fit_and_score(
            model,
            job.X,
            job.y,
            scorer=job.scorer,
            train=split.train,
            test=split.test,
            verbose=0,
            parameters=None,
            fit_params=job.params_for(model),
            score_params=dict(job.score_params),
            return_train_score=job.return_train_score,
            return_n_test_samples=True,
            return_times=True,
            error_score=job.error_score,
        )
        return [((candidate.number, split.number), result)]


def run_unit(job: Job, unit: Unit) -> list[tuple[Task, Result]]:
    """Train all candidates of a unit on all its splits, and score them."""
    with fair_threads(job.dispatcher, job.n_workers):
        fits = _plan(job, unit)
        for stack in _stacks(fits, job.max_members):
            _train(job, stack)
        return [(fit.task, _result(job, fit)) for fit in fits]


@dataclass
class _Fit:
    """One fit: its estimator, the model that it is the last step of, and how far it has come."""

    task: Task
    split: Split
    estimator: BaseFusionEstimator
    front: Any
    plan: FitPlan | None = None
    seconds: float = 0.0
    error: str | None = None

    @property
    def model(self) -> Any:
        return put_behind(self.front, self.estimator)


def _plan(job: Job, unit: Unit) -> list[_Fit]:
    """Check and prepare everything; what fails is kept as failed."""
    fits = []
    for split in unit.splits:
        front, shared = _fit_front(job, unit.candidates[0], split), Shared()
        for candidate in unit.candidates:
            model = job.model(candidate)
            estimator = final_estimator(model)
            assert estimator is not None
            fit = _Fit((candidate.number, split.number), split, estimator, model)
            fits.append(fit)
            if isinstance(front, str):
                fit.error = front
                continue
            fitted, data = front
            if fitted is not None:
                fit.front = fitted
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


def _set_plan(fit: _Fit, data: Caught, shared: Shared) -> None:
    X, y, params = data
    fit.estimator._validate_params()
    known = {"sample_weight": None, "groups": None}
    if unknown := [name for name in params if name not in known]:
        raise TypeError(f"{type(fit.estimator).__name__}.fit() has no parameters {unknown}.")
    fit.plan = fit.estimator._plan(X, y, **{**known, **params}, shared=shared)


def _attempt(job: Job, fit: _Fit, action: Any) -> None:
    """Run a part of a fit, take its time, and keep how it failed."""
    start = time.perf_counter()
    try:
        action()
    except Exception:
        if job.error_score == "raise":
            raise
        fit.error = format_exc()
    fit.seconds += time.perf_counter() - start


def _stacks(fits: Sequence[_Fit], max_members: int | str) -> list[list[_Fit]]:
    """Return fits that train at once, no more than fit into memory."""
    groups: list[list[_Fit]] = []
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


def _train(job: Job, stack: Sequence[_Fit]) -> None:
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
        describe = not job.scores_predictions
        _attempt(job, fit, partial(fit.estimator._conclude, plan, outcome, describe=describe))
        fit.plan = None  # the memory of its rows


def _result(job: Job, fit: _Fit) -> Result:
    """Score a fit; the same entries as scikit-learn's."""
    X, y = safe_split(fit.model, job.X, job.y, fit.split.test, fit.split.train)
    result: Result = {"fit_error": fit.error, "fit_time": fit.seconds}
    result["n_test_samples"] = count_rows(X)
    start = time.perf_counter()
    result["test_scores"] = _scores(job, fit, X, y, fit.split.test)
    result["score_time"] = time.perf_counter() - start
    if job.return_train_score:
        X, y = safe_split(fit.model, job.X, job.y, fit.split.train)
        result["train_scores"] = _scores(job, fit, X, y, fit.split.train)
    return result


def _scores(job: Job, fit: _Fit, X: Any, y: Any, rows: NDArray[np.intp]) -> Any:
    if fit.error is not None:
        names = getattr(job.scorer, "_scorers", None)  # of several metrics
        return job.error_score if names is None else dict.fromkeys(names, job.error_score)
    params = check_method_params(job.X, params=dict(job.score_params), indices=rows)
    return score(fit.model, X, y, job.scorer, params, job.error_score)
