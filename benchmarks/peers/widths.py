"""How wide a hidden layer should be where modalities are wide vectors.

    python -m benchmarks.peers.widths [--data-home FOLDER] [--methods InTense MRO] [--sets ...]

Instagram (the paper's folds), and sets that are made up: two modalities of 512 and 768 noisy
features of 16 factors, of which the target has two linear terms, a wave and a product ("factors",
five draws each), and 900 features of clusters in three blocks (three draws). Three folds, one seed;
everything but the width is the default.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import torch
from sklearn.datasets import make_classification
from sklearn.model_selection import KFold, PredefinedSplit

from benchmarks.peers.arms import OURS, pick
from benchmarks.peers.compare import problems
from benchmarks.peers.sets import Problem
from benchmarks.speed.report import table
from benchmarks.store import load, merge
from sklearn_mmfuse import MultimodalData
from sklearn_mmfuse.model_selection import MultimodalSearchCV

FILE = "peers_widths.json"
WIDTHS = (64, 128, 256)


def factors(seed: int, *, classes: bool, n: int = 1000) -> Problem:
    """Return what two pretrained nets might say of the same samples."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 16))
    image = np.tanh(z[:, :10] @ rng.normal(size=(10, 512)) / np.sqrt(10))
    text = np.tanh(z[:, 6:] @ rng.normal(size=(10, 768)) / np.sqrt(10))
    X = {"image": image, "text": text}
    X = {name: block + 0.5 * rng.normal(size=block.shape) for name, block in X.items()}
    signal = z[:, 0] + z[:, 12] + np.sin(2 * z[:, 7]) + z[:, 1] * z[:, 13]
    y = signal / signal.std() + 0.5 * rng.normal(size=n)
    return Problem("factors", X, np.digitize(y, [-0.6, 0.6]) if classes else y, classes)


def clusters(seed: int) -> Problem:
    X, y = make_classification(
        1200, 900, n_informative=25, n_redundant=200, n_classes=4, class_sep=1.5, random_state=seed
    )
    blocks = np.split(X, 3, axis=1)
    return Problem("clusters", dict(zip("abc", blocks, strict=True)), y, True)


def every_set(home: str | None) -> dict[str, list[Problem]]:
    """Return the draws of every set."""
    return {
        "instagram": problems(home, ["instagram"], confirm=False),
        "factors, numbers": [factors(seed, classes=False) for seed in range(5)],
        "factors, classes": [factors(100 + seed, classes=True) for seed in range(5)],
        "clusters in 900 features": [clusters(seed) for seed in range(3)],
    }


def run(method: str, problem: Problem) -> list[float]:
    """Return the mean score of every width."""
    search = MultimodalSearchCV(
        pick(problem, *OURS[method])(random_state=0),
        {"hidden_layer_sizes": [(width,) for width in WIDTHS]},
        cv=KFold(3) if problem.folds is None else PredefinedSplit(problem.folds),
        scoring=pick(problem, "roc_auc_ovr", "r2"),
        refit=False,
    )
    search.fit(MultimodalData(problem.X), problem.y)
    return [round(float(score), 4) for score in search.cv_results_["mean_test_score"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", default=None)
    parser.add_argument("--methods", nargs="*", choices=list(OURS), default=["InTense", "MRO"])
    parser.add_argument("--sets", nargs="+", default=None)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    sets = every_set(args.data_home)
    for method in args.methods:
        for name, draws in sets.items():
            if draws and (args.sets is None or name in args.sets):
                merge(FILE, {f"{method}/{name}": [run(method, draw) for draw in draws]})
    found = load(FILE)
    rows = [[key, *(f"{mean:.3f}" for mean in np.mean(draws, 0))] for key, draws in found.items()]
    table(["", *map(str, WIDTHS)], rows)


if __name__ == "__main__":
    main()
