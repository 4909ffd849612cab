"""Base losses, and the objective that adds penalties to them."""

from sklearn_mmfuse.losses._base_losses import (
    AbsoluteError,
    BaseLoss,
    BinaryCrossEntropy,
    CrossEntropy,
    MultilabelCrossEntropy,
    SquaredError,
)
from sklearn_mmfuse.losses._block_norm import block_relevances, shrink_blocks
from sklearn_mmfuse.losses._dependency import (
    DEPENDENCIES,
    DependencyGain,
    dependency_bound,
    shuffled_term,
)
from sklearn_mmfuse.losses._objective import Objective, Penalty
from sklearn_mmfuse.losses._penalties import SMURFPenalty, SoftHGRPenalty, weighted_covariance

__all__ = [
    "DEPENDENCIES",
    "AbsoluteError",
    "BaseLoss",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "DependencyGain",
    "MultilabelCrossEntropy",
    "Objective",
    "Penalty",
    "SMURFPenalty",
    "SoftHGRPenalty",
    "SquaredError",
    "block_relevances",
    "dependency_bound",
    "shrink_blocks",
    "shuffled_term",
    "weighted_covariance",
]
