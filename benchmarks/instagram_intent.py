"""Instagram intent, the five folds of the MRO paper: macro one-vs-rest ROC AUC beside its Table 3.

File i is test fold i and file (i + 1) mod 5 the validation fold of fold i. Early stopping and the
choice of hyper-parameters look at the validation fold alone, for every fold on its own.

    python benchmarks/instagram_intent.py [--data-home FOLDER] [--jobs 2] [--seeds 1]
                                          [--methods mro smro joint single routing gam]

Results of methods that are not run again stay in the file.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from settings import earlier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import ParameterGrid, PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mmfuse import MROClassifier, RoutingClassifier
from sklearn_mmfuse.datasets import fetch_instagram_intent, paper_folds

PAPER = {
    "mro": 0.891,
    "smro": 0.888,
    "joint": 0.891,
    "single": 0.876,
    "routing": 0.731,
    "routing, temperature=1": 0.731,
    "gam": float("nan"),
}
GRID = {
    "fusion": ["concat", "tensor"],
    "dropout": [0.3, 0.5],
    "weight_decay": [1e-2, 1e-1],
    "hidden_layer_sizes": [(64,), (128,)],
}
ROUTING_GRID = {
    "n_routing": [1, 2],
    "temperature": [1.0, 4.0, 16.0],
    "dropout": [0.3, 0.5],
    "hidden_layer_sizes": [(64,), (128,)],
    "weight_decay": [1e-1],
}
GRIDS = {
    "routing": ROUTING_GRID,
    "routing, temperature=1": {**ROUTING_GRID, "temperature": [1.0]},
    "gam": {**ROUTING_GRID, "n_routing": [1], "temperature": [1.0]},
}
COMMON = {
    "input_scaling": "clip",
    "max_epochs": 100,
    "n_iter_no_change": 15,
    "learning_rate": 1e-3,
    "batch_size": 128,
    "early_stopping": True,
}


def auc(y, probabilities):
    return roc_auc_score(y, probabilities, multi_class="ovr", average="macro")


def make_model(method, **params):
    if method.startswith("routing") or method == "gam":
        return earlier(RoutingClassifier, routing=method != "gam", **params)
    return earlier(MROClassifier, optimization=method, **params)


def evaluate(data, target, fold, method, params, seed):
    """Fit one candidate on one fold; return its validation and test scores."""
    torch.set_num_threads(1)
    train, validation, test = fold
    rows = np.concatenate([train, validation])
    watched = PredefinedSplit(np.where(np.isin(rows, validation), 0, -1))
    model = make_model(
        method,
        validation_fraction=watched,
        random_state=seed,
        **COMMON,
        **params,
    )
    start = time.perf_counter()
    model.fit(data[rows], target[rows])
    seconds = time.perf_counter() - start
    probabilities = model.predict_proba(data[test])
    return {
        "validation_auc": auc(target[validation], model.predict_proba(data[validation])),
        "test_auc": auc(target[test], probabilities),
        "test_accuracy": accuracy_score(target[test], model.classes_[probabilities.argmax(1)]),
        "seconds": seconds,
    }


def logistic_regression(data, target, folds):
    scores = []
    for train, validation, test in folds:
        rows = np.concatenate([train, validation])
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=2000))
        X = data.to_numpy()
        probabilities = model.fit(X[rows], target[rows]).predict_proba(X[test])
        accuracy = accuracy_score(target[test], model.classes_[probabilities.argmax(1)])
        scores.append((auc(target[test], probabilities), accuracy))
    return np.mean(scores, axis=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", default=None)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--methods", nargs="+", choices=list(PAPER), default=list(PAPER))
    options = parser.parse_args()
    posts = fetch_instagram_intent(data_home=options.data_home)
    target = np.asarray(posts.target)
    folds = list(paper_folds(posts.fold))
    auc_lr, accuracy_lr = logistic_regression(posts.data, target, folds)
    print(f"{'method':<22}{'test AUC':>9}{'s.d.':>7}{'accuracy':>10}{'paper':>7}{'s/fit':>7}")
    out = Path(__file__).parent / "results" / "instagram_intent.json"
    results = json.loads(out.read_text()) if out.exists() else {}
    results["logistic regression"] = {"auc": auc_lr, "accuracy": accuracy_lr}
    for method in options.methods:
        grid = list(ParameterGrid(GRIDS.get(method, GRID)))
        tasks = [
            (fold, params, s) for s in range(options.seeds) for fold in folds for params in grid
        ]
        scores = Parallel(n_jobs=options.jobs)(
            delayed(evaluate)(posts.data, target, fold, method, params, seed)
            for fold, params, seed in tasks
        )
        table = np.array(scores).reshape(options.seeds * len(folds), len(grid))
        chosen = [max(row, key=lambda score: score["validation_auc"]) for row in table]
        picks = [grid[int(np.argmax([s["validation_auc"] for s in row]))] for row in table]
        aucs = [score["test_auc"] for score in chosen]
        accuracy = np.mean([score["test_accuracy"] for score in chosen])
        seconds = np.median([score["seconds"] for score in scores])
        results[method] = {
            "auc": np.mean(aucs),
            "auc_per_fold": aucs,
            "accuracy": accuracy,
            "paper": PAPER[method],
            "seconds_per_fit": seconds,
            "picked": picks,
        }
        print(
            f"{method:<22}{np.mean(aucs):>9.3f}{np.std(aucs):>7.3f}{accuracy:>10.3f}"
            f"{PAPER[method]:>7.3f}{seconds:>7.1f}",
            flush=True,
        )
    print(f"{'logistic regression':<22}{auc_lr:>9.3f}{'':>7}{accuracy_lr:>10.3f}")
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(results, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
