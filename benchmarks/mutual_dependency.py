"""Mutual-dependency maximization: does the penalty help? MDM paper, Tables 1 and 2, Figure 2.

With and without each penalty, the same seeds: accuracy on test rows, and robustness, the ratio of
the accuracy without a modality to that with all, averaged over modalities. p values of the rank-sum
test, which the paper uses (Wilcoxon Mann Whitney, 10 runs), and of the signed-rank test, since runs
are paired. "picked" takes, seed by seed, the weight whose validation accuracy is highest, zero
included.

1. Redundant modalities: three noisy views of the same five factors, 400 training rows.
2. Instagram intent: the five folds of the MRO paper, each with two seeds.

    python -m benchmarks.mutual_dependency [--data-home FOLDER] [--parts 1 2]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from scipy.stats import mannwhitneyu, wilcoxon
from sklearn.metrics import accuracy_score
from sklearn.model_selection import PredefinedSplit

from benchmarks.settings import earlier
from sklearn_mmfuse import FusionClassifier, MultimodalData, MutualDependencyClassifier
from sklearn_mmfuse.datasets import fetch_instagram_intent, paper_folds

OUT = Path(__file__).parent / "results" / "mutual_dependency.json"
PENALTIES = [None, "wasserstein", "kl", "f"]
LAMBDAS = [0.1, 1.0]
FUSIONS = {"redundant": ["late"], "instagram": ["late"]}
N_SEEDS = 10
# What instagram_intent.py found to suit all its models.
INSTAGRAM = {
    "input_scaling": "clip",
    "max_epochs": 100,
    "n_iter_no_change": 15,
    "dropout": 0.5,
    "weight_decay": 0.1,
}


def make_views(n_samples, seed, *, n_features=15, noise=1.5):
    """Return three noisy views of five factors, and a label that depends on these."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(n_samples, 5))
    label = factors[:, 0] + factors[:, 1] * factors[:, 2] > 0
    mixing = np.random.default_rng(0).normal(size=(3, 5, n_features)) / np.sqrt(5)
    return MultimodalData(
        {
            name: factors @ matrix + noise * rng.normal(size=(n_samples, n_features))
            for name, matrix in zip(["audio", "text", "video"], mixing, strict=True)
        }
    ), label.astype(int)


def redundant_runs():
    for seed in range(N_SEEDS):
        X, y = make_views(2500, 100 + seed)
        rows = np.arange(2500)
        yield seed, X, y, (rows[:400], rows[400:500], rows[500:])


def instagram_runs(data_home):
    posts = fetch_instagram_intent(data_home=data_home)
    for seed in range(2):
        for fold, rows in enumerate(paper_folds(posts.fold)):
            yield 10 * seed + fold, posts.data, np.asarray(posts.target), rows


def evaluate(X, y, rows, fusion, penalty, reg_lambda, seed, options):
    train, validation, test = rows
    known = np.concatenate([train, validation])
    watched = PredefinedSplit(np.where(np.isin(known, validation), 0, -1))
    options = {"missing": "drop", "validation_fraction": watched, "random_state": seed, **options}
    if penalty is None:
        model = earlier(FusionClassifier, fusion=fusion, **options)
    else:
        model = earlier(
            MutualDependencyClassifier,
            fusion=fusion,
            dependency=penalty,
            reg_lambda=reg_lambda,
            **options,
        )
    model.fit(X[known], y[known])
    accuracy = accuracy_score(y[test], model.predict(X[test]))
    without = {
        name: accuracy_score(
            y[test], model.predict(X[test], available=[other for other in X if other != name])
        )
        for name in X
    }
    return {
        "accuracy": accuracy,
        "ratio": float(np.mean([score / accuracy for score in without.values()])),
        "without": without,
        "validation_accuracy": accuracy_score(y[validation], model.predict(X[validation])),
        "valid_dependency": model.history_[model.best_epoch_ - 1].get("valid_dependency"),
        "epochs": model.n_iter_,
    }


def run(name, runs, options):
    results, runs = json.loads(OUT.read_text()) if OUT.exists() else {}, list(runs)
    candidates = [(None, 0.0), *((p, weight) for p in PENALTIES[1:] for weight in LAMBDAS)]
    for fusion in FUSIONS[name]:
        for seed, X, y, rows in runs:
            for penalty, weight in candidates:
                key = f"{name}|{fusion}|{penalty}|{weight}|{seed}"
                if key not in results:
                    results[key] = evaluate(X, y, rows, fusion, penalty, weight, seed, options)
                    OUT.write_text(json.dumps(results, indent=1))
            print(name, fusion, seed, flush=True)
    return results


def scores(results, name, fusion, penalty, reg_lambda):
    chosen = {
        int(key.split("|")[4]): result
        for key, result in results.items()
        if key.split("|")[:4] == [name, fusion, str(penalty), str(reg_lambda)]
    }
    return [chosen[seed] for seed in sorted(chosen)]


def picked(results, name, fusion, penalty):
    """Return, for each seed, the run of the weight with the highest validation accuracy."""
    candidates = [scores(results, name, fusion, None, 0.0)]
    candidates += [scores(results, name, fusion, penalty, weight) for weight in LAMBDAS]
    runs = zip(*candidates, strict=True)
    return [max(several, key=lambda run: run["validation_accuracy"]) for several in runs]


def compare(with_penalty, without, key):
    one, other = (np.array([run[key] for run in runs]) for runs in (with_penalty, without))
    paired = 1.0 if np.array_equal(one, other) else wilcoxon(one, other).pvalue
    return one.mean(), one.mean() - other.mean(), mannwhitneyu(one, other).pvalue, paired


def report(results, name):
    for fusion in FUSIONS[name]:
        plain = scores(results, name, fusion, None, 0.0)
        accuracy, ratio = (np.mean([run[key] for run in plain]) for key in ("accuracy", "ratio"))
        print(f"\n{name}, {fusion}, {len(plain)} runs: accuracy {accuracy:.4f}, ratio {ratio:.4f}")
        print(
            "| penalty | weight | accuracy | change | p | paired p | ratio | change | p | paired |"
        )
        for penalty in PENALTIES[1:]:
            for weight in [*LAMBDAS, "picked"]:
                runs = (
                    picked(results, name, fusion, penalty)
                    if weight == "picked"
                    else scores(results, name, fusion, penalty, weight)
                )
                cells = [
                    f"{value:.4f} | {change:+.4f} | {p:.3f} | {paired:.3f}"
                    for value, change, p, paired in (
                        compare(runs, plain, key) for key in ("accuracy", "ratio")
                    )
                ]
                print(f"| {penalty} | {weight} | {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", default=None)
    parser.add_argument("--parts", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    torch.set_num_threads(1)
    if 1 in args.parts:
        report(run("redundant", redundant_runs(), {"early_stopping": True}), "redundant")
    if 2 in args.parts:
        options = {"early_stopping": True, **INSTAGRAM}
        report(run("instagram", instagram_runs(args.data_home), options), "instagram")


if __name__ == "__main__":
    main()
