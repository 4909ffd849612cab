"""GridSearchCV's interface over nets that are trained many at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, ClassVar, Self

import numpy as np
from joblib import effective_n_jobs
from joblib.parallel import get_active_backend
from sklearn.base import clone, is_classifier
from sklearn.model_selection import GridSearchCV, ParameterGrid, ParameterSampler, check_cv
from sklearn.utils import indexable
from sklearn.utils.parallel import Parallel

from sklearn_mmfuse._data import MultimodalData
from sklearn_mmfuse._params import POSITIVE_INT, choice, validates_own_params
from sklearn_mmfuse.model_selection._calls import Call, make_calls
from sklearn_mmfuse.model_selection._scoring import Scoring
from sklearn_mmfuse.model_selection._sklearn import (
    check_method_params,
    insert_error_scores,
    report_failures,
    routing_enabled,
)
from sklearn_mmfuse.model_selection._units import Candidate, Job, Split, Task

__all__ = ["MultimodalSearchCV"]

Results = dict[Task, dict[str, Any]]


class MultimodalSearchCV(GridSearchCV):
    """Grid search that trains the candidates and folds of a fusion estimator many at a time.

    The interface, attributes and results are those of scikit-learn's `GridSearchCV`. Candidates
    that differ in how they are trained alone (`learning_rate`, `weight_decay`, `reg_lambda`, `p`,
    `dropout`, `class_weight`, `random_state`, ...) become members of one net; every candidate still
    stops by itself, and its result is that of a fit of its own up to rounding. Candidates of
    different architectures are trained one group after the other, and what cannot be trained so
    (a user's own modules, `net_params`, mutual-dependency maximization on rows that lack
    modalities unless `random_state` is an integer, an estimator that is not one of ours) is fitted
    as `GridSearchCV` would.

    Parameters
    ----------
    estimator : estimator
        A fusion estimator, or a `Pipeline` that ends in one: what comes before it is fitted once
        per fold for all candidates that have it in common.
    param_grid : dict, list of dict or ParameterSampler
        The candidates; a `ParameterSampler` makes it a random search.
    scoring : str, callable, list, tuple or dict, optional
        As in `GridSearchCV`.
    n_jobs : int, optional
        Processes that work side by side; with `joblib.parallel_config(backend="dask")`, or Ray's,
        they are those of a cluster. Each uses its share of the cores.
    refit : bool, str or callable, default=True
        As in `GridSearchCV`.
    cv : int, splitter or iterable, optional
        As in `GridSearchCV`; `GroupKFold` reads the `groups` of `fit`.
    verbose : int, default=0
        1 prints how far the search has come.
    pre_dispatch : int or str, default="2*n_jobs"
        As in `GridSearchCV`.
    error_score : "raise" or float, default=nan
        As in `GridSearchCV`. A candidate that fails leaves the others alone.
    return_train_score : bool, default=False
        As in `GridSearchCV`.
    max_members : int or "auto", default="auto"
        The most fits to train at once; "auto" goes by memory, and by what is quickest. Fewer make
        more pieces of work, for more processes.

    Attributes
    ----------
    cv_results_ : dict of str to array
        As of `GridSearchCV`; `mean_fit_time` is each candidate's share of the time of all that were
        trained together, without what stands in front of it.
    best_estimator_ : estimator
        Fitted with the best parameters to all rows, alone.
    best_score_ : float
        Mean score of `best_estimator_` over the folds.
    best_params_ : dict
        The best candidate.
    best_index_ : int
        Its place among the candidates.
    scorer_ : callable or dict of str to callable
        What scored.
    n_splits_ : int
        The number of folds.
    refit_time_ : float
        Seconds that the last fit took.
    multimetric_ : bool
        Whether there are several scores.

    Notes
    -----
    A test holds every method against single fits with the same seed. In float32 the order of
    arithmetic differs, so that a candidate may now and then stop an epoch earlier or later than
    alone, and where all rows are one batch the first step of a bias that starts at its best value
    goes where rounding points (scores differed by 0.01 after few epochs). With
    `random_state=None` candidates differ in their seeds, as everywhere; an integer also makes the
    search quicker, because the candidates of a fold then read the same batches.

    The interface departs from `GridSearchCV` in one point: `groups` also reach the fit of the
    fusion estimator. Ctrl-C ends the search. Estimators with callbacks, with `verbose`, with
    several nets of their own (`n_members`, `bootstrap`) or of a subclass that overrides `fit` are
    fitted one by one.

    References
    ----------
    What is put side by side, and why that is quicker, is measured in benchmarks/README.md.

    Examples
    --------
    >>> from sklearn_mmfuse import MROClassifier
    >>> from sklearn_mmfuse.datasets import load_breast_cancer_modalities
    >>> from sklearn_mmfuse.model_selection import MultimodalSearchCV
    >>> cancer = load_breast_cancer_modalities()
    >>> model = MROClassifier(max_order=1, max_epochs=10, random_state=0)
    >>> grid = {"learning_rate": [1e-4, 1e-2], "weight_decay": [1e-4, 1e-2]}
    >>> search = MultimodalSearchCV(model, grid, cv=3).fit(cancer.data, cancer.target)
    >>> search.best_params_["learning_rate"]
    0.01
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **GridSearchCV._parameter_constraints,
        "param_grid": [dict, list, ParameterSampler],
        "max_members": [POSITIVE_INT, choice("auto")],
    }

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: Any = "2*n_jobs",
        error_score: Any = np.nan,
        return_train_score: bool = False,
        max_members: int | str = "auto",
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.max_members = max_members

    @validates_own_params
    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Try all candidates, and fit the best one to all rows.

        Parameters
        ----------
        X : MultimodalData, mapping, data frame or array
            The modalities of n samples.
        y : array-like of shape (n,)
            The target.
        **params : dict of str to object
            `groups` go to the splitter and, unlike in `GridSearchCV`, also to the fusion estimator,
            which then keeps persons apart in early stopping as well. Everything else goes to the
            fit of the estimator, row by row; with metadata routing, to whoever asks for it.

        Returns
        -------
        self : object
            The fitted search.

        Raises
        ------
        ValueError
            When all fits fail, or one does with `error_score="raise"`.
        """
        if isinstance(X, Mapping):  # which scikit-learn's splitters take for a table of two rows
            X = MultimodalData(X)
        scorer, metric = self._get_scorers()
        X, y = indexable(X, y)
        routed = self._get_routed_params_for_fit(check_method_params(X, params=params))
        context = self._init_callback_context(max_subtasks=1 + (self.refit is not False))
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        job = Job(
            clone(self.estimator),
            X,
            y,
            Scoring(scorer, routed.scorer.score, self.return_train_score),
            routed.estimator.fit,
            None if routing_enabled() else params.get("groups"),
            self.error_score,
            self.max_members,
            os.getpid(),
            effective_n_jobs(self.n_jobs),
        )
        self._search(job, self._splits(X, y, routed.splitter.split), metric, context)
        if self.refit:
            self._refit(job, context)
        self.scorer_ = getattr(scorer, "_scorers", scorer)
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def _splits(self, X: Any, y: Any, split_params: Mapping[str, Any]) -> list[Split]:
        splitter = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        splits = Split.numbered(splitter.split(X, y, **split_params))
        self.n_splits_ = splitter.get_n_splits(X, y, **split_params)
        if len(splits) != self.n_splits_:
            raise ValueError(
                f"The splitter says that there are {self.n_splits_} splits, and yields "
                f"{len(splits)}."
            )
        return splits

    def _candidates(self) -> list[Candidate]:
        grid = self.param_grid
        listed = grid if isinstance(grid, ParameterSampler) else ParameterGrid(grid)
        return [Candidate(i, params) for i, params in enumerate(listed)]

    # Searching -----------------------------------------------------------------------------------

    def _search(self, job: Job, splits: Sequence[Split], metric: Any, context: Any) -> None:
        candidates = self._candidates()
        order = list(product(range(len(candidates)), range(len(splits))))
        if not order:
            raise ValueError(
                f"No fits were performed: there are {len(candidates)} candidates and "
                f"{len(splits)} splits."
            )
        if self.verbose:
            print(
                f"Fitting {len(splits)} folds for each of {len(candidates)} candidates, totalling "
                f"{len(order)} fits"
            )
        found = self._run(job, make_calls(job, candidates, splits), len(order), context)
        results = [found[task] for task in order]
        report_failures(results, self.error_score)
        if callable(self.scoring):
            insert_error_scores(results, self.error_score)
        params = [candidate.params for candidate in candidates]
        self.cv_results_ = self._format_results(params, len(splits), results)
        scores = results[0]["test_scores"]
        self.multimetric_ = isinstance(scores, dict)
        if callable(self.scoring) and self.multimetric_:
            self._check_refit_for_multimetric(scores)
            metric = self.refit
        if self.refit or not self.multimetric_:
            self._pick(metric)

    def _pick(self, metric: Any) -> None:
        self.best_index_ = self._select_best_index(self.refit, metric, self.cv_results_)
        self.best_params_ = self.cv_results_["params"][self.best_index_]
        if not callable(self.refit):
            self.best_score_ = self.cv_results_[f"mean_test_{metric}"][self.best_index_]

    def _run(self, job: Job, calls: Sequence[Call], n_fits: int, context: Any) -> Results:
        """Make the calls, here or elsewhere, and say how far they are."""
        backend, _ = get_active_backend()
        parallel = Parallel(
            n_jobs=self.n_jobs,
            pre_dispatch=self.pre_dispatch,
            return_as="generator_unordered" if backend.supports_return_generator else "list",
        )
        start = time.perf_counter()
        results: Results = {}
        progress = context.subcontext(
            task_name="search", max_subtasks=n_fits, sequential_subtasks=False
        )
        progress.call_on_fit_task_begin(estimator=self, X=job.X, y=job.y)
        for finished in parallel(calls):
            for task, result in finished:
                one = progress.subcontext(
                    task_name="candidate-split-evaluation", task_id=len(results)
                )
                results[task] = result
                one.call_on_fit_task_begin(estimator=self, X=job.X, y=job.y)
                one.call_on_fit_task_end(estimator=self, X=job.X, y=job.y)
            if self.verbose:
                seconds = time.perf_counter() - start
                print(f"[{len(results)}/{n_fits} fits] {seconds:.1f} s", flush=True)
        progress.call_on_fit_task_end(estimator=self, X=job.X, y=job.y)
        return results

    def _refit(self, job: Job, context: Any) -> None:
        """Fit the best candidate to all rows."""
        model = job.model(Candidate(self.best_index_, self.best_params_))
        data = () if job.y is None else (job.y,)
        about = {"estimator": self, "X": job.X, "y": job.y}
        subcontext = context.subcontext(task_name="refit-with-best-params")
        with subcontext.propagate_callback_context(model):
            subcontext.call_on_fit_task_begin(**about)
            start = time.time()
            self.best_estimator_ = model.fit(job.X, *data, **job.params_for(model))
            self.refit_time_ = time.time() - start
        subcontext.call_on_fit_task_end(**about)
        if hasattr(self.best_estimator_, "feature_names_in_"):
            self.feature_names_in_ = self.best_estimator_.feature_names_in_
