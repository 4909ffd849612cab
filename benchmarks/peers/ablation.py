"""What each default of MRO adds: the development sets with one default at a time taken back.

    python -m benchmarks.peers.ablation [--data-home FOLDER] [--jobs 2] [--settings "no waves" ...]

Settings that are not run again stay in `results/ablation.json`.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from joblib import Parallel, delayed

from benchmarks.peers.arms import ours
from benchmarks.peers.compare import problems
from benchmarks.peers.scores import run_fold
from benchmarks.peers.sets import N_FOLDS
from benchmarks.peers.summary import mean_over, summarize
from benchmarks.settings import BEFORE
from benchmarks.speed.report import table
from benchmarks.store import load, save

FILE = "ablation.json"
SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "all as they were": {**BEFORE, "product_rank": 0},
    "product_rank=0": {"product_rank": 0},
    "no waves": {"numerical_embedding": None},
    "no clipping": {"input_scaling": "standard"},
    "constant step size": {"learning_rate_schedule": "constant"},
    "constant, 200 epochs": {"learning_rate_schedule": "constant", "max_epochs": 200},
    "learning_rate=1e-3": {"learning_rate": 1e-3},
    "weight_decay=1e-4": {"weight_decay": 1e-4},
    "weight_decay=1": {"weight_decay": 1.0},
    "dropout=0": {"dropout": 0.0},
    "dropout=0.3": {"dropout": 0.3},
    "early_stopping=True": {"early_stopping": True},
    "early_stopping=False": {"early_stopping": False},
    "hidden_layer_sizes=(128,)": {"hidden_layer_sizes": (128,)},
    "n_members=4": {"n_members": 4},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", default=None)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--settings", nargs="*", choices=list(SETTINGS), default=list(SETTINGS))
    args = parser.parse_args()
    found = problems(args.data_home, None, confirm=False)
    with Parallel(n_jobs=args.jobs) as parallel:
        for setting in args.settings:
            make = partial(ours, "MRO", SETTINGS[setting])
            told = parallel(
                delayed(run_fold)(problem, make, fold, 0, ours=True)
                for problem in found
                for fold in range(N_FOLDS)
            )
            results = load(FILE)
            results[setting] = {
                problem.name: summarize(told[i * N_FOLDS : (i + 1) * N_FOLDS])
                for i, problem in enumerate(found)
            }
            save(FILE, results)
            print(setting, f"{mean_over(results[setting], 'score'):.4f}", flush=True)
    report([problem.name for problem in found])


def report(sets: list[str]) -> None:
    results = load(FILE)
    rows = [["", "mean score", "log loss", "ECE", "s per fit", *sets]]
    for setting in SETTINGS:
        if setting in results:
            own = results[setting]
            means = [mean_over(own, key) for key in ("score", "log_loss", "ece")]
            rows.append(
                [setting, *(f"{m:.4f}" for m in means), f"{mean_over(own, 'seconds'):.2f}"]
                + [f"{own[name]['score']:.4f}" for name in sets]
            )
    table(rows[0], rows[1:])


if __name__ == "__main__":
    main()
