"""Reliability of probabilities, and what `class_weight` does, on the noisy development sets.

    python -m benchmarks.peers.calibration [--data-home FOLDER] [--jobs 2]

Predictions for the test rows of all five folds together. A reliability diagram shows, of rows whose
most likely class has such a probability, how many are of that class; the expected calibration error
is its mean distance from the diagonal.
"""

from __future__ import annotations

import argparse
import warnings
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss

from benchmarks.peers.arms import OURS, inputs, ours
from benchmarks.peers.compare import ARMS, problems
from benchmarks.peers.scores import calibration_error, fit
from benchmarks.peers.sets import N_FOLDS, Problem
from benchmarks.speed.report import table
from benchmarks.store import RESULTS, merge

SETS = ["instagram", "clusters", "persons"]
MODELS = {
    **{name: ARMS[name] for name in ("linear", "forest", "MLP", "MRO", "MRO, 4 nets")},
    "MRO, balanced": partial(ours, "MRO", {"class_weight": "balanced"}),
}
COLORS = ["#999999", "#E69F00", "#56B4E9", "#0072B2", "#009E73"]


def predict_fold(problem: Problem, name: str, fold: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the test rows of a fold and their probabilities."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    train, test = list(problem.splits(0))[fold]
    is_ours = name.split(",")[0] in OURS
    X = inputs(problem, as_modalities=is_ours)
    model = fit(MODELS[name](problem, 0), problem, X, train, ours=is_ours)
    return test, model.predict_proba(X[test])


def predict(problem: Problem, name: str, jobs: int) -> np.ndarray:
    """Return probabilities for all rows, each by a model that has not seen it."""
    folds = Parallel(n_jobs=jobs)(
        delayed(predict_fold)(problem, name, fold) for fold in range(N_FOLDS)
    )
    found = np.empty((len(problem.y), folds[0][1].shape[1]))
    for test, probabilities in folds:
        found[test] = probabilities
    return found


def tell(y: np.ndarray, found: np.ndarray) -> dict[str, float]:
    labels = found.argmax(axis=1)
    return {
        "accuracy": float(accuracy_score(y, labels)),
        "balanced_accuracy": float(balanced_accuracy_score(y, labels)),
        "log_loss": float(log_loss(y, found, labels=np.arange(found.shape[1]))),
        "ece": calibration_error(y, found),
    }


def draw(curves: dict[str, dict[str, np.ndarray]], targets: dict[str, np.ndarray]) -> None:
    figure, axes = plt.subplots(1, len(curves), figsize=(11, 3.8), layout="constrained")
    for ax, (name, models) in zip(axes, curves.items(), strict=True):
        ax.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":")
        for (model, found), color in zip(models.items(), COLORS, strict=True):
            right = found.argmax(axis=1) == targets[name]
            share, sure = calibration_curve(right, found.max(axis=1), n_bins=8, strategy="quantile")
            ax.plot(sure, share, marker="o", markersize=3, color=color, label=model)
        ax.set(title=name, xlabel="probability of the most likely class")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("share that is of it")
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(RESULTS / "calibration.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", default=None)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    found = {problem.name: problem for problem in problems(args.data_home, SETS, confirm=False)}
    told: dict[str, dict[str, dict[str, float]]] = {name: {} for name in found}
    curves: dict[str, dict[str, np.ndarray]] = {name: {} for name in found}
    for name, problem in found.items():
        for model in MODELS:
            probabilities = predict(problem, model, args.jobs)
            told[name][model] = tell(problem.y, probabilities)
            if model != "MRO, balanced":
                curves[name][model] = probabilities
    merge("calibration.json", told)
    draw(curves, {name: problem.y for name, problem in found.items()})
    keys = ["accuracy", "balanced_accuracy", "log_loss", "ece"]
    rows = [
        [name, model, *(f"{one[key]:.3f}" for key in keys)]
        for name, models in told.items()
        for model, one in models.items()
    ]
    table(["set", "model", "accuracy", "balanced accuracy", "log loss", "ECE"], rows)


if __name__ == "__main__":
    main()
