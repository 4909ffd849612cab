"""Every fusion on sequences of which only simultaneous events matter (`make_synchronous`).

4,000 training and 1,000 test rows, two events in each of two modalities, 5 to 10 steps: accuracy
and seconds of a fit, three seeds. Neither modality alone nor means over time say anything. Then,
for what falls short, more rows.

    python -m benchmarks.fusions [--seeds 3]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.settings import earlier
from sklearn_mmfuse import FusionClassifier
from sklearn_mmfuse.datasets import make_synchronous

OUT = Path(__file__).parent / "results" / "fusions.json"
COMMON = {"learning_rate": 2e-3, "max_epochs": 100, "early_stopping": True}
NARROW = {"name": "mult", "width": 32, "n_layers": 1}
RUNS = {
    "concat of means": {"fusion": "concat", "encoder": "mean"},
    "late (gru)": {"fusion": "late"},
    "concat (gru)": {"fusion": "concat"},
    "tensor (gru)": {"fusion": "tensor"},
    "low_rank (gru)": {"fusion": "low_rank"},
    "lf_lstm": {"fusion": "lf_lstm"},
    "ef_lstm": {"fusion": "ef_lstm"},
    "mfn": {"fusion": "mfn"},
    "raven": {"fusion": "raven"},
    "mult": {"fusion": "mult"},
}
# What falls short, with four times the rows.
MORE = {
    "lf_lstm": {"fusion": "lf_lstm"},
    "concat (gru)": {"fusion": "concat"},
    "mult": {"fusion": "mult", "encoder": {"audio": NARROW, "text": NARROW}},
}


def evaluate(n_rows, options, seed):
    train = make_synchronous(n_rows, n_steps=10, random_state=seed)
    test = make_synchronous(1000, n_steps=10, random_state=1000 + seed)
    model = earlier(FusionClassifier, random_state=seed, **{**COMMON, **options})
    start = time.perf_counter()
    model.fit(train.data, train.target)
    return {
        "accuracy": model.score(test.data, test.target),
        "seconds": time.perf_counter() - start,
        "epochs": model.n_iter_,
        "relevance": model.relevance_scores_.to_dict(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = json.loads(OUT.read_text()) if OUT.exists() else {}
    jobs = [(name, 4000, options, range(args.seeds)) for name, options in RUNS.items()]
    jobs += [(name, 16_000, options, range(1)) for name, options in MORE.items()]
    for name, n_rows, options, seeds in jobs:
        for seed in seeds:
            key = f"{name}|{n_rows}|{seed}"
            if key not in results:
                results[key] = evaluate(n_rows, options, seed)
                OUT.write_text(json.dumps(results, indent=1))
        runs = [results[f"{name}|{n_rows}|{seed}"] for seed in seeds]
        accuracy = [run["accuracy"] for run in runs]
        together = np.mean([run["relevance"].get("audio × text", 0.0) for run in runs])
        print(
            f"| {name} | {n_rows} | {np.mean(accuracy):.3f} | {min(accuracy):.3f} | "
            f"{np.mean([run['seconds'] for run in runs]):.0f} | {together:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
