"""Training, private: rows in, a trained net and its history out."""

from sklearn_mmfuse._training._batches import Rows
from sklearn_mmfuse._training._fit import (
    TrainingOptions,
    TrainingResult,
    as_predictor,
    fit_network,
    predict_network,
    resolve_device,
    run_network,
)
from sklearn_mmfuse._training._fusion_layer import BlockFeatures, FusionLayer, fit_fusion_layer
from sklearn_mmfuse._training._net import DivergedError
from sklearn_mmfuse._training._split import validation_split

__all__ = [
    "BlockFeatures",
    "DivergedError",
    "FusionLayer",
    "Rows",
    "TrainingOptions",
    "TrainingResult",
    "as_predictor",
    "fit_fusion_layer",
    "fit_network",
    "predict_network",
    "resolve_device",
    "run_network",
    "validation_split",
]
