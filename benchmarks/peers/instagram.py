"""Instagram intent: defaults, and settings chosen without a look at the test fold.

    python -m benchmarks.peers.instagram [--data-home FOLDER] [--methods MRO ...] [--choose-nets N]
        [--seeds N]

The MRO paper's folds. Of the four folds beside the test fold, `MultimodalSearchCV` trains on three
and chooses by the ROC AUC on the fourth; what it chose is then trained on all four (of which
early stopping holds back a tenth). `--choose-nets 4` chooses among averages of four nets instead.
`--seeds 3` does all of it from three seeds; means and deviations are over folds and seeds.
Results of methods that are not run again stay in the file.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import PredefinedSplit

from benchmarks.peers.arms import OURS
from benchmarks.peers.scores import score
from benchmarks.peers.summary import summarize
from benchmarks.speed.report import table
from benchmarks.store import load, save
from sklearn_mmfuse.datasets import fetch_instagram_intent, paper_folds
from sklearn_mmfuse.model_selection import MultimodalSearchCV

FILE = "instagram.json"
COMMON = {"weight_decay": ["auto", 3.0], "dropout": [0.1, 0.5]}
WIDTHS = {"hidden_layer_sizes": [(64,), (128,)]}
GRIDS: dict[str, dict[str, list[Any]]] = {
    "MRO": COMMON | WIDTHS,
    "SMURF": COMMON | WIDTHS | {"reg_lambda": [0.1, 0.5]},
    "InTense": {
        "dropout": [0.1, 0.5],
        "hidden_layer_sizes": [(64,), (256,)],
        "learning_rate": [3e-4, 3e-3],
        "max_order": [1, 2],
    },
    "Routing": {**COMMON, "dropout": [0.1, 0.3, 0.5], "temperature": [4.0, 16.0]},
}
N_MEMBERS = 4


def fit(method: str, X: Any, y: np.ndarray, seed: int, **params: Any) -> Any:
    return OURS[method][0](random_state=seed, **params).fit(X, y)


def choose(
    method: str, X: Any, y: np.ndarray, validation: np.ndarray, n_members: int, seed: int
) -> dict[str, Any]:
    """Return the parameters that are best on the validation rows, for averages of so many nets."""
    search = MultimodalSearchCV(
        OURS[method][0](random_state=seed, n_members=n_members),
        GRIDS[method],
        cv=PredefinedSplit(np.where(validation, 0, -1)),
        scoring="roc_auc_ovr",
        refit=False,
    )
    return search.fit(X, y).best_params_


def arms_of(chosen: dict[str, Any], n_chosen: int) -> dict[str, dict[str, Any]]:
    if n_chosen > 1:
        return {f"chosen as {n_chosen} nets": {**chosen, "n_members": n_chosen}}
    return {
        "defaults": {},
        f"defaults, {N_MEMBERS} nets": {"n_members": N_MEMBERS},
        "chosen": chosen,
        f"chosen, {N_MEMBERS} nets": {**chosen, "n_members": N_MEMBERS},
    }


def run(method: str, posts: Any, n_chosen: int, seed: int) -> dict[str, list[dict[str, Any]]]:
    told: dict[str, list[dict[str, Any]]] = {}
    for train, validation, test in paper_folds(posts.fold):
        rows = np.concatenate([train, validation])
        X, y = posts.data[rows], posts.target[rows]
        start = time.perf_counter()
        chosen = choose(method, X, y, np.isin(rows, validation), n_chosen, seed)
        seconds = time.perf_counter() - start
        print(method, chosen, f"{seconds:.0f} s", flush=True)
        for arm, params in arms_of(chosen, n_chosen).items():
            start = time.perf_counter()
            model = fit(method, X, y, seed, **params)
            taken = time.perf_counter() - start + (seconds if arm.startswith("chosen") else 0)
            result = score(model, posts.data[test], posts.target[test], is_classification=True)
            told.setdefault(arm, []).append({**result, "seconds": taken})
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", default=None)
    parser.add_argument("--methods", nargs="*", choices=list(GRIDS), default=list(GRIDS))
    parser.add_argument("--choose-nets", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    posts = fetch_instagram_intent(data_home=args.data_home, download_if_missing=False)
    for method in args.methods:
        found: dict[str, list[dict[str, Any]]] = {}
        for seed in range(args.seeds):
            for arm, folds in run(method, posts, args.choose_nets, seed).items():
                found.setdefault(arm, []).extend(folds)
        results = load(FILE)
        results.setdefault(method, {}).update(
            {arm: {**summarize(folds), "n_seeds": args.seeds} for arm, folds in found.items()}
        )
        save(FILE, results)
    rows = [["method", "settings", "ROC AUC", "s.d. over folds and seeds", "accuracy", "ECE", "s"]]
    for method, arms in load(FILE).items():
        for arm, told in arms.items():
            means = [f"{told[key]:.3f}" for key in ("score", "sd", "accuracy", "ece")]
            rows.append([method, arm, *means, f"{told['seconds']:.1f}"])
    table(rows[0], rows[1:])


if __name__ == "__main__":
    main()
