"""Training, private: rows in, a trained net and its history out."""

from sklearn_mmfuse._training._batches import Rows
from sklearn_mmfuse._training._fit import (
    TrainingOptions,
    TrainingResult,
    fit_network,
    predict_network,
    resolve_device,
)
from sklearn_mmfuse._training._net import DivergedError
from sklearn_mmfuse._training._split import validation_split

__all__ = [
    "DivergedError",
    "Rows",
    "TrainingOptions",
    "TrainingResult",
    "fit_network",
    "predict_network",
    "resolve_device",
    "validation_split",
]
