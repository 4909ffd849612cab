"""Training, private: rows in, a trained net and its history out."""

from sklearn_mmfuse._training._batches import batch_bounds
from sklearn_mmfuse._training._critic import CriticOptions, score_network
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
from sklearn_mmfuse._training._members import (
    Member,
    Team,
    factors_of,
    fit_members,
    load_members,
    member_state,
)
from sklearn_mmfuse._training._net import DivergedError
from sklearn_mmfuse._training._rows import Rows
from sklearn_mmfuse._training._schedule import SCHEDULES
from sklearn_mmfuse._training._sending import room_on
from sklearn_mmfuse._training._split import (
    cross_validation_splits,
    holds_every_class,
    validation_split,
)
from sklearn_mmfuse._training._threads import at_most
from sklearn_mmfuse._training._total_correlation import CriticResult, run_critic

__all__ = [
    "SCHEDULES",
    "BlockFeatures",
    "CriticOptions",
    "CriticResult",
    "DivergedError",
    "FusionLayer",
    "Member",
    "Rows",
    "Team",
    "TrainingOptions",
    "TrainingResult",
    "as_predictor",
    "at_most",
    "batch_bounds",
    "cross_validation_splits",
    "factors_of",
    "fit_fusion_layer",
    "fit_members",
    "fit_network",
    "holds_every_class",
    "load_members",
    "member_state",
    "predict_network",
    "resolve_device",
    "room_on",
    "run_critic",
    "run_network",
    "score_network",
    "validation_split",
]
