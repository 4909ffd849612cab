"""Purified terms by the structure of the net, beside every combination through the whole model.

"Naive" is what the definition says: predict all N^3 combinations of three modalities (in batches)
and average. It is timed on slabs of N^2 combinations, interleaved with ours, and multiplied by N;
its numbers are compared in full where N is small, and on some rows where it is not.

    python -m benchmarks.purification
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.settings import earlier
from sklearn_mmfuse import MRORegressor, MultimodalData
from sklearn_mmfuse.inspection import modality_effects

WIDTHS = {"acoustic": 25, "text": 25, "vision": 25}
REPEATS = 3


def make_rows(n, seed=0):
    rng = np.random.default_rng(seed)
    return MultimodalData({name: rng.normal(size=(n, width)) for name, width in WIDTHS.items()})


def make_model(X, **params):
    y = X["text"][:, 0] * X["vision"][:, 0] + X["acoustic"][:, 0] * X["text"][:, 1]
    return earlier(MRORegressor, max_epochs=20, random_state=0, **params).fit(X, y)


def seconds(model, X):
    start = time.perf_counter()
    model.decompose(X, purify=True)
    return time.perf_counter() - start


def slab(model, X, i):
    """Predict row i of the first modality with every combination of the other two."""
    n = len(X)
    j, k = (index.ravel() for index in np.indices((n, n)))
    first, second, third = WIDTHS
    rows = {
        first: np.repeat(X[first][[i]], n * n, axis=0),
        second: X[second][j],
        third: X[third][k],
    }
    return model.decompose(rows).sum()[:, 0]


def compare(model, X):
    """Return median seconds of ours and of the naive way, and the largest difference."""
    ours, naive, difference = [], [], 0.0
    for repeat in range(REPEATS):
        ours.append(seconds(model, X))
        start = time.perf_counter()
        mean = slab(model, X, repeat).mean()  # E f(x_acoustic, ., .)
        naive.append(len(X) * (time.perf_counter() - start))
        pure = model.decompose(X, purify=True)
        found = pure["acoustic"][repeat, 0] + pure.bias[0]
        difference = max(difference, abs(found - mean) / model.predict(X).std())
    return float(np.median(ours)), float(np.median(naive)), float(difference)


def in_full(model, X):
    pure = model.decompose(X, purify=True)
    truth = modality_effects(model, X, method="exact")
    return max(float(np.abs(pure[t] - truth[t]).max()) for t in truth.terms)


def main():
    torch.set_num_threads(2)
    results = {}
    print(f"{'fusion':<8}{'N':>7}{'ours, s':>10}{'naive, s':>12}{'ratio':>10}{'difference':>13}")
    for fusion, n in (("concat", 500), ("tensor", 500), ("tensor", 5000)):
        X = make_rows(n)
        model = make_model(X[:500], fusion=fusion)
        full = in_full(model, X[:40])
        if n <= 500:
            ours, naive, difference = compare(model, X)
            shown = f"{naive:>12.0f}{naive / ours:>9.0f}x{max(full, difference):>13.1e}"
        else:
            times = [seconds(model, X) for _ in range(REPEATS)]
            ours = float(np.median(times))
            naive, shown = None, f"{'':>12}{'':>10}{full:>13.1e}"
        print(f"{fusion:<8}{n:>7}{ours:>10.3f}{shown}", flush=True)
        results[f"{fusion}/{n}"] = {"ours": ours, "naive": naive, "difference_n40": full}
    out = Path(__file__).parent / "results" / "purification.json"
    out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
