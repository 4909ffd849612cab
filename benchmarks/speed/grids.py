"""The grid: 25 candidates, five folds, 125 fits, on all cores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNetBinaryClassifier
from skorch.helper import SliceDict

from benchmarks.speed import measure
from benchmarks.speed.arms import make_mlp, make_ours, skorch_params
from benchmarks.speed.cases import HIDDEN, Case
from benchmarks.speed.modules import Ordinary, StageLoss
from sklearn_mmfuse import MultimodalData

RATES = tuple(float(rate) for rate in np.logspace(-4, -2, 5))
DECAYS = tuple(float(decay) for decay in np.logspace(-5, -1, 5))
N_CANDIDATES, N_FOLDS = len(RATES) * len(DECAYS), 5
N = 2000
SGEMM = "sgemm"


@dataclass(frozen=True)
class GridArm:
    """An estimator, the names of its learning rate and decay, its data, and what searches."""

    estimator: Any
    names: tuple[str, str]
    X: Any
    y: Any
    search: Callable[..., Any]
    scaled: bool = False  # whether a subset of the candidates may stand for all

    def fit(self, rates, decays, n_jobs):
        return self._fit(dict(zip(self.names, (list(rates), list(decays)), strict=True)), n_jobs)

    def fit_some(self, candidates, n_jobs):
        """Fit single candidates rather than all combinations."""
        return self._fit(
            [dict(zip(self.names, ([rate], [decay]), strict=True)) for rate, decay in candidates],
            n_jobs,
        )

    def _fit(self, grid, n_jobs):
        search = self.search(self.estimator, grid, cv=N_FOLDS, n_jobs=n_jobs, refit=False)
        return search.fit(self.X, self.y)


def find_multimodal_search():
    """Return the search that trains candidates side by side, or None where there is none yet."""
    try:
        from sklearn_mmfuse.model_selection import MultimodalSearchCV
    except ImportError:
        return None
    return MultimodalSearchCV


def make_arms(problem):
    case, y = problem.case, problem.y
    wide = MultimodalData(problem.X)
    stock = NeuralNetBinaryClassifier(
        Ordinary,
        criterion=StageLoss,
        module__widths=case.widths,
        module__subsets=case.subsets,
        **skorch_params(case),
    )
    decay = "optimizer__weight_decay"
    ours, names = make_ours(case), ("learning_rate", "weight_decay")
    mlp_names, X = ("learning_rate_init", "alpha"), problem.side_by_side
    arms = {
        "ours": GridArm(ours, names, wide, y, GridSearchCV),
        "stock": GridArm(stock, ("lr", decay), SliceDict(**problem.X), y, GridSearchCV, True),
        "mlp": GridArm(make_mlp(case, HIDDEN * len(case.subsets)), mlp_names, X, y, GridSearchCV),
        "small mlp": GridArm(make_mlp(case, HIDDEN), mlp_names, X, y, GridSearchCV),
    }
    if (search := find_multimodal_search()) is not None:
        arms["multimodal search"] = GridArm(ours, names, wide, y, search)
    return arms


def cases_of(options):
    for features, batch in product(options.grid_features, options.grid_batches):
        yield Case(features, options.grid_n, batch, options.grid_epochs, options.device)


def run(options, save):
    """Return a row per case; `save` is called with all rows after each."""
    if find_multimodal_search() is None:
        print("sklearn_mmfuse.model_selection.MultimodalSearchCV is missing: arm skipped")
    rows = []
    for case in cases_of(options):
        rows.append(run_case(case, options))
        save(rows)
    return rows


def run_case(case, options):
    arms = {k: arm for k, arm in make_arms(case.make()).items() if k in options.grid_arms}
    warm = make_arms(case.with_(epochs=1).make())
    for name in arms:  # starts joblib's processes, which import and then wait
        warm[name].fit(RATES[:2], DECAYS[:1], options.n_jobs)
    some, fastest = candidates(options.stock_candidates), []
    peak = measure.sgemm(case.device, options.n_jobs)
    entries = {name: entry(arm, some, options.n_jobs) for name, arm in arms.items()}
    entries[SGEMM] = lambda repeat: lambda: fastest.append(peak())
    times, results = measure.race(entries, options.grid_repeats, case.device)
    row = describe(case, arms, times, fastest, len(some))
    for name, arm in row["arms"].items():
        arm["best_score"] = float(np.max(results[name].cv_results_["mean_test_score"]))
    return row


def candidates(n):
    """Return so many candidates, spread over the grid."""
    every = list(product(RATES, DECAYS))
    return [every[i] for i in np.unique(np.linspace(0, N_CANDIDATES - 1, n).round().astype(int))]


def entry(arm, some, n_jobs):
    if is_scaled(arm, len(some)):
        return lambda repeat: lambda: arm.fit_some(some, n_jobs)
    return lambda repeat: lambda: arm.fit(RATES, DECAYS, n_jobs)


def is_scaled(arm, n_some):
    return arm.scaled and n_some < N_CANDIDATES


def describe(case, arms, times, fastest, n_some):
    """Return what is to be said of a case; only the products of training count as needed."""
    measured = {k: n_some if is_scaled(arm, n_some) else N_CANDIDATES for k, arm in arms.items()}
    scaled = {k: np.multiply(times[k], N_CANDIDATES / measured[k]) for k in arms}
    training_rows = case.n * (N_FOLDS - 1)  # of all folds together
    flops = N_CANDIDATES * training_rows * case.epochs * case.flops_per_row
    peaks = [measure.gflops(second) for second in fastest]
    floors = [flops / (peak * 1e9) for peak in peaks]
    row = {
        "features": list(case.features),
        "n": case.n,
        "batch": case.batch,
        "epochs": case.epochs,
        "fits": N_CANDIDATES * N_FOLDS,
        "gflop": flops / 1e9,
        "sgemm_gflops": measure.summary(peaks),
        "floor_seconds": measure.summary(floors),
        "arms": {},
    }
    for name in arms:
        row["arms"][name] = {
            "times": [float(second) for second in scaled[name]],
            "seconds": measure.summary(scaled[name]),
            "measured_fits": measured[name] * N_FOLDS,
            "ratio": measure.ratio(scaled[name], scaled["ours"]),
        }
        if "mlp" not in name:
            row["arms"][name]["share_of_peak"] = measure.ratio(floors, scaled[name])
    return row
