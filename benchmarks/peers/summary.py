"""What is told of results over folds and sets: means, ranks."""

from __future__ import annotations

import numpy as np

Results = dict[str, dict[str, dict[str, float]]]  # arm, set, what


def summarize(folds: list[dict[str, float]]) -> dict[str, float]:
    """Return means over folds, and the standard deviation of the score."""
    told = {key: float(np.mean([fold[key] for fold in folds])) for key in folds[0]}
    told["sd"] = float(np.std([fold["score"] for fold in folds]))
    return {key: round(value, 5) for key, value in told.items()}


def ranks(results: Results, arms: list[str], sets: list[str]) -> dict[str, dict[str, float]]:
    """Return each arm's rank on each set, 1 the best, ties (to 4 digits) sharing a mean rank."""
    ranked: dict[str, dict[str, float]] = {arm: {} for arm in arms}
    for name in sets:
        scores = {
            arm: round(results[arm][name]["score"], 4)
            for arm in arms
            if name in results.get(arm, {})
        }
        for arm, own in scores.items():
            better = sum(other > own for other in scores.values())
            equal = sum(other == own for other in scores.values())
            ranked[arm][name] = better + (equal + 1) / 2
    return ranked


def mean_over(results: dict[str, dict[str, float]], key: str) -> float:
    values = [told[key] for told in results.values() if key in told]
    return float(np.mean(values)) if values else float("nan")
