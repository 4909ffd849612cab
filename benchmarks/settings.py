"""What figures were made with that precede the present defaults."""

from __future__ import annotations

from typing import Any

from sklearn_mmfuse import (
    InTenseClassifier,
    InTenseRegressor,
    MROClassifier,
    MRORegressor,
    RoutingClassifier,
    RoutingRegressor,
)

__all__ = ["BEFORE", "earlier"]

BEFORE: dict[str, Any] = {
    "learning_rate": 1e-3,
    "learning_rate_schedule": "constant",
    "weight_decay": 1e-4,
    "dropout": 0.0,
    "numerical_embedding": None,
    "max_epochs": 200,
    "input_scaling": "standard",
}
OWN: dict[type, dict[str, Any]] = {
    InTenseClassifier: {"interaction_weight": 1.0},
    InTenseRegressor: {"interaction_weight": 1.0},
    MROClassifier: {"product_rank": 0},
    MRORegressor: {"product_rank": 0},
    RoutingClassifier: {"temperature": 4.0},
    RoutingRegressor: {"temperature": 4.0},
}


def earlier(estimator: type, **params: Any) -> Any:
    """Return an estimator whose defaults are the earlier ones."""
    return estimator(**{**BEFORE, **OWN.get(estimator, {}), **params})
