"""One fit on one fold: how well, how sure, how long."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import torch
from sklearn.metrics import accuracy_score, log_loss, r2_score, roc_auc_score

from benchmarks.peers.arms import Make, inputs
from benchmarks.peers.sets import Problem


def calibration_error(y: np.ndarray, probabilities: np.ndarray, n_bins: int = 10) -> float:
    """Return the expected calibration error of the most likely class, bins of equal width."""
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == y
    of_bin = np.minimum((sure * n_bins).astype(int), n_bins - 1)
    gaps = np.bincount(of_bin, weights=right - sure, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(y))


def roc_auc(y: np.ndarray, scores: np.ndarray) -> float:
    """Return the ROC AUC, macro one-vs-rest with several classes."""
    if scores.ndim == 1 or scores.shape[1] == 2:
        return float(roc_auc_score(y, scores if scores.ndim == 1 else scores[:, 1]))
    each = [roc_auc_score(y == k, scores[:, k]) for k in range(scores.shape[1])]
    return float(np.mean(each))


def score(model: Any, X: Any, y: np.ndarray, *, is_classification: bool) -> dict[str, float]:
    """Return what is told of a fitted model; `score` is ROC AUC, or R2."""
    if not is_classification:
        return {"score": float(r2_score(y, model.predict(X)))}
    told = {"accuracy": float(accuracy_score(y, model.predict(X)))}
    if not hasattr(model, "predict_proba"):
        return {"score": roc_auc(y, model.decision_function(X)), **told}
    probabilities = np.asarray(model.predict_proba(X), dtype=float)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return {
        "score": roc_auc(y, probabilities),
        **told,
        "log_loss": float(log_loss(y, probabilities, labels=np.arange(probabilities.shape[1]))),
        "ece": calibration_error(y, probabilities),
    }


def fit(model: Any, problem: Problem, X: Any, rows: np.ndarray, *, ours: bool) -> Any:
    """Fit to these rows; ours hear whose they are, so that early stopping keeps persons apart."""
    more = {"groups": problem.groups[rows]} if ours and problem.groups is not None else {}
    return model.fit(X[rows], problem.y[rows], **more)


def run_fold(problem: Problem, make: Make, fold: int, seed: int, *, ours: bool) -> dict[str, float]:
    """Fit on one fold and score on the rest; the time is that of the fit alone."""
    torch.set_num_threads(1)
    train, test = list(problem.splits(seed))[fold]
    X, model = inputs(problem, as_modalities=ours), make(problem, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        fit(model, problem, X, train, ours=ours)
        seconds = time.perf_counter() - start
        told = score(model, X[test], problem.y[test], is_classification=problem.is_classification)
    return {**told, "seconds": seconds}
