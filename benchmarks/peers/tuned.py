"""Tuned against tuned: arms choose among a few settings on a quarter of the training rows.

    python -m benchmarks.peers.tuned [--data-home FOLDER] [--jobs 2] [--arms linear MRO ...]
                                     [--sets wine ...]

The folds, scores and sets of `python -m benchmarks.peers`. For each test fold, every setting is
fitted to three quarters of the training rows (persons apart where there are persons) and scored on
the fourth; the best is then fitted to all of them. Seconds are those of search and last fit.
Results of arms that are not run again stay in `results/peers_tuned.json`.
"""

from __future__ import annotations

import argparse
import time
import warnings
from functools import partial
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.model_selection import (
    GroupShuffleSplit,
    ParameterGrid,
    PredefinedSplit,
    ShuffleSplit,
    StratifiedShuffleSplit,
)

from benchmarks.peers.arms import OURS, inputs, pick
from benchmarks.peers.compare import ARMS, problems, run_all
from benchmarks.peers.scores import fit, score
from benchmarks.peers.sets import N_FOLDS, Problem
from benchmarks.peers.summary import summarize
from sklearn_mmfuse.model_selection import MultimodalSearchCV

FILE = "peers_tuned.json"
LAYERS = [(100,), (256,), (128, 64)]
SHRINKING: dict[str, list[Any]] = {"weight_decay": ["auto", 3.0], "dropout": [0.1, 0.4]}
# For classifiers, and for regressors where these have other names. Every grid has the defaults.
Grid = dict[str, list[Any]] | list[dict[str, list[Any]]]
GRIDS: dict[str, tuple[Grid, Grid | None]] = {
    "linear": (
        {"logisticregression__C": [1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0]},
        {"ridge__alpha": [0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0]},
    ),
    "boosting": (
        {"learning_rate": [0.03, 0.1], "max_leaf_nodes": [4, 31], "l2_regularization": [0.0, 10.0]},
        None,
    ),
    "forest": ({"max_features": ["sqrt", 0.3, 1.0], "min_samples_leaf": [1, 5]}, None),
    "RBF-SVM": (
        {"svc__C": [0.3, 1.0, 10.0, 100.0], "svc__gamma": ["scale", 1e-3]},
        {"svr__C": [0.3, 1.0, 10.0, 100.0], "svr__gamma": ["scale", 1e-3]},
    ),
    "MLP": (
        {"mlpclassifier__alpha": [1e-4, 1e-2, 1.0], "mlpclassifier__hidden_layer_sizes": LAYERS},
        {"mlpregressor__alpha": [1e-4, 1e-2, 1.0], "mlpregressor__hidden_layer_sizes": LAYERS},
    ),
    "stacking": (
        {"final_estimator": [LogisticRegression(C=c, max_iter=5000) for c in (0.01, 0.1, 1.0, 10)]},
        {"final_estimator": [RidgeCV(), *(Ridge(alpha) for alpha in (0.1, 10.0, 1000.0))]},
    ),
    # Half a minute per setting: the default, a slower and stronger regularized one, no dropout.
    "RealMLP": ([{}, {"lr": [0.02], "p_drop": [0.3]}, {"p_drop": [0.0]}], None),
    # Up to two minutes: the default, and a stronger regularized one.
    "TabM": ([{}, {"dropout": [0.3], "weight_decay": [0.1]}], None),
    "MKL": ({"onevsrestclassifier__estimator__lmbda": [0.1, 1.0, 10.0]}, None),
    # All pairs that it would take by default cost minutes per fit.
    "EBM": ({"interactions": [0, 5]}, None),
    "MRO": ({**SHRINKING, "max_order": [1, None]}, None),
    "InTense": (
        {
            "interaction_weight": ["auto", 1.0],
            "dropout": [0.1, 0.5],
            "hidden_layer_sizes": [(64,), (256,)],
        },
        None,
    ),
    "Routing": ({"weight_decay": ["auto", 3.0], "dropout": [0.1, 0.3, 0.5]}, None),
    "SMURF": ({**SHRINKING, "max_order": [1, 2]}, None),
}


def hold_out(problem: Problem, rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return three quarters and one of these rows, as positions within them."""
    nothing, y = np.zeros(len(rows)), problem.y[rows]
    if problem.groups is not None:
        splitter = GroupShuffleSplit(1, test_size=0.25, random_state=seed)
        return next(splitter.split(nothing, y, problem.groups[rows]))
    kind = StratifiedShuffleSplit if problem.is_classification else ShuffleSplit
    return next(kind(1, test_size=0.25, random_state=seed).split(nothing, y))


def grid_of(arm: str, problem: Problem) -> Grid:
    classifier, regressor = GRIDS[arm]
    return classifier if problem.is_classification or regressor is None else regressor


def choose(arm: str, problem: Problem, X: Any, rows: np.ndarray, seed: int) -> Any:
    """Return an unfitted model with the setting that is best on the rows held out."""
    model, grid = ARMS[arm](problem, seed), grid_of(arm, problem)
    train, held_out = hold_out(problem, rows, seed)
    X, y = X[rows], problem.y[rows]
    if arm in OURS:
        fold = np.full(len(rows), -1)
        fold[held_out] = 0
        scoring = pick(problem, "roc_auc_ovr" if len(np.unique(y)) > 2 else "roc_auc", "r2")
        search = MultimodalSearchCV(
            model, grid, cv=PredefinedSplit(fold), scoring=scoring, refit=False
        )
        groups = {} if problem.groups is None else {"groups": problem.groups[rows]}
        return model.set_params(**search.fit(X, y, **groups).best_params_)
    found = []
    for params in ParameterGrid(grid):
        candidate = clone(model).set_params(**params).fit(X[train], y[train])
        told = score(
            candidate, X[held_out], y[held_out], is_classification=problem.is_classification
        )
        found.append((told["score"], params))
    return model.set_params(**max(found, key=lambda one: one[0])[1])


def run_fold(problem: Problem, arm: str, fold: int, seed: int) -> dict[str, float]:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    train, test = list(problem.splits(seed))[fold]
    X = inputs(problem, as_modalities=arm in OURS)
    start = time.perf_counter()
    model = choose(arm, problem, X, train, seed)
    fit(model, problem, X, train, ours=arm in OURS)
    seconds = time.perf_counter() - start
    told = score(model, X[test], problem.y[test], is_classification=problem.is_classification)
    return {**told, "seconds": seconds}


def run(problem: Problem, arm: str, jobs: int) -> dict[str, float]:
    folds = Parallel(n_jobs=jobs)(
        delayed(run_fold)(problem, arm, fold, 0) for fold in range(N_FOLDS)
    )
    return summarize(folds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", default=None)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--arms", nargs="*", choices=list(GRIDS), default=list(GRIDS))
    parser.add_argument("--sets", nargs="+", default=None)
    args = parser.parse_args()
    found = problems(args.data_home, args.sets, confirm=False)
    run_all(args.arms, found, partial(run, jobs=args.jobs), FILE)


if __name__ == "__main__":
    main()
