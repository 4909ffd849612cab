"""Base losses, and the objective that adds penalties to them."""

from sklearn_mmfuse.losses._base_losses import (
    AbsoluteError,
    BaseLoss,
    BinaryCrossEntropy,
    CrossEntropy,
    SquaredError,
)
from sklearn_mmfuse.losses._objective import Objective, Penalty

__all__ = [
    "AbsoluteError",
    "BaseLoss",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Objective",
    "Penalty",
    "SquaredError",
]
