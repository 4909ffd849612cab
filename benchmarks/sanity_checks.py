"""The sanity checks of the MRO paper (section 7, Figure 3): which mode separates the orders.

Unimodal: y = x_T + x_V + x_A. Bimodal: y = x_T x_V + x_T x_A + x_V x_A. Separation error: mean
|UC(y_bi + y_tri)| + |BI(y_tri)| (eqs 1-2), in standard deviations of the training target; 0 is
perfect. Expectations are taken over the true marginals, N(0, 1), in full, on a grid of 60 quantiles
per modality: over 60 drawn rows, the true x_T x_V itself would have a unimodal part of 0.2.

Unimodal nets that fit the training rows of the bimodal check fit chance: "floor" is the separation
error of the least-squares additive *linear* fit to the same rows, which shrinks with 1 / sqrt(n).

    python benchmarks/sanity_checks.py [--seeds 3]
"""

from __future__ import annotations

import argparse
import json
from itertools import product
from pathlib import Path

import numpy as np
import torch
from scipy.stats import norm

from sklearn_mmfuse import MRORegressor

NAMES = ("acoustic", "text", "vision")
N_TRAIN, N_ROWS, N_GRID = 1200, 400, 60
MODES = ("joint", "smro", "mro")


def make_data(check, seed):
    """Return training (three batches of 400), validation and test rows, one feature each."""
    rng = np.random.default_rng(seed)
    a, t, v = rng.normal(size=(3, N_TRAIN + 2 * N_ROWS))
    y = a + t + v if check == "unimodal" else t * v + t * a + v * a
    X = {"acoustic": a[:, None], "text": t[:, None], "vision": v[:, None]}
    bounds = (slice(N_TRAIN), slice(N_TRAIN, N_TRAIN + N_ROWS), slice(N_TRAIN + N_ROWS, None))
    return [({name: x[part] for name, x in X.items()}, y[part]) for part in bounds]


def floor(check, seed):
    """Return the separation error of what a linear additive fit mistakes for a unimodal effect."""
    (X, y), *_ = make_data(check, seed)
    x = np.column_stack([X[name] for name in NAMES])
    truth = np.ones(3) if check == "unimodal" else np.zeros(3)
    slopes = np.linalg.lstsq(np.column_stack([x, np.ones(len(y))]), y, rcond=None)[0][:3]
    chance = sum((slopes - truth)[i] * all_combinations()[name] for i, name in enumerate(NAMES))
    return float(np.abs(chance).mean() / y.std())


def all_combinations():
    """Return N^3 rows: every acoustic with every text with every vision."""
    quantiles = norm.ppf((np.arange(N_GRID) + 0.5) / N_GRID)
    grid = np.meshgrid(*[quantiles] * 3, indexing="ij")
    return {name: values.reshape(-1, 1) for name, values in zip(NAMES, grid, strict=True)}


def unimodal_part(f):
    """UC of a table over all combinations (eq. 1)."""
    one = [f.mean(axis=tuple({0, 1, 2} - {axis}), keepdims=True) for axis in range(3)]
    return sum(one) - 2 * f.mean()


def bimodal_part(f):
    """BI of a table over all combinations (eq. 2)."""
    return sum((f - unimodal_part(f)).mean(axis=axis, keepdims=True) for axis in range(3))


def separation_error(model, scale):
    parts = model.decompose(all_combinations())
    by_order = {
        order: value.reshape(N_GRID, N_GRID, N_GRID) for order, value in parts.by_order().items()
    }
    unimodal = np.abs(unimodal_part(by_order[2] + by_order[3]))
    return float((unimodal + np.abs(bimodal_part(by_order[3]))).mean() / scale)


def run(check, mode, fusion, seed):
    (X, y), (X_val, y_val), (X_test, y_test) = make_data(check, seed)
    both = {name: np.concatenate([X[name], X_val[name]]) for name in NAMES}
    rows = np.arange(N_TRAIN + N_ROWS)
    model = MRORegressor(
        optimization=mode,
        fusion=fusion,
        activation="tanh",
        hidden_layer_sizes=(32,),
        learning_rate=3e-3,
        weight_decay=0.01,
        max_epochs=600,
        n_iter_no_change=100,
        early_stopping=True,
        validation_fraction=[(rows[:N_TRAIN], rows[N_TRAIN:])],
        random_state=seed,
    ).fit(both, np.concatenate([y, y_val]))
    r = np.corrcoef(model.predict(X_test), y_test)[0, 1]
    return float(r), separation_error(model, y.std())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    n_seeds = parser.parse_args().seeds
    torch.set_num_threads(1)
    results = {}
    header = f"{'check':<10}{'fusion':<8}{'mode':<7}{'lowest test r':>14}"
    print(f"{header}{'separation error (mean, min-max)':>36}{'floor':>8}")
    for check, fusion, mode in product(("unimodal", "bimodal"), ("concat", "tensor"), MODES):
        scores = np.array([run(check, mode, fusion, seed) for seed in range(n_seeds)])
        r, error = scores.T
        key = f"{check}/{fusion}/{mode}"
        results[key] = {"r": r.tolist(), "separation_error": error.tolist()}
        spread = f"{error.mean():.4f} ({error.min():.4f}-{error.max():.4f})"
        chance = np.mean([floor(check, seed) for seed in range(n_seeds)])
        row = f"{check:<10}{fusion:<8}{mode:<7}{r.min():>14.4f}{spread:>36}{chance:>8.4f}"
        print(row, flush=True)
    out = Path(__file__).parent / "results" / "sanity_checks.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
