"""Defaults against defaults: ours, and what a user would pick instead, on the development sets.

    python -m benchmarks.peers [--data-home FOLDER] [--jobs 2] [--arms linear MRO ...]
                               [--sets wine ...] [--confirm]

Five folds, persons apart where there are persons. The score is ROC AUC (macro one-vs-rest) or R2.
`--confirm` runs the sets that no default was chosen on. EBM needs `interpret-core`, RealMLP and
TabM need `pytabkit`, MKL `scikit-multimodallearn`; arms whose package is not installed are left
out. Results of arms that are not run again stay in the file.
"""

from __future__ import annotations

import argparse
from functools import partial

from joblib import Parallel, delayed

from benchmarks.peers.compare import ARMS, OURS_ARMS, problems, run_all
from benchmarks.peers.scores import run_fold
from benchmarks.peers.sets import N_FOLDS, Problem
from benchmarks.peers.summary import summarize


def run(problem: Problem, arm: str, seeds: int, jobs: int) -> dict[str, float]:
    folds = [(fold, seed) for seed in range(seeds) for fold in range(N_FOLDS)]
    told = Parallel(n_jobs=jobs)(
        delayed(run_fold)(problem, ARMS[arm], fold, seed, ours=arm in OURS_ARMS)
        for fold, seed in folds
    )
    return summarize(told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", default=None)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--arms", nargs="*", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--sets", nargs="+", default=None)
    parser.add_argument("--confirm", action="store_true")
    args = parser.parse_args()
    file = "peers_confirmation.json" if args.confirm else "peers.json"
    found = problems(args.data_home, args.sets, confirm=args.confirm)
    run_all(args.arms, found, partial(run, seeds=args.seeds, jobs=args.jobs), file)


if __name__ == "__main__":
    main()
