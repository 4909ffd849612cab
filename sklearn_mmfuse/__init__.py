"""Interpretable multimodal fusion as scikit-learn estimators."""

from sklearn_mmfuse._data import MultimodalData
from sklearn_mmfuse._decomposition import Decomposition
from sklearn_mmfuse._routing_coefficients import RoutingCoefficients
from sklearn_mmfuse.estimators import (
    InTenseClassifier,
    InTenseRegressor,
    MROClassifier,
    MRORegressor,
    RoutingClassifier,
    RoutingRegressor,
    SMURFClassifier,
    SMURFRegressor,
)
from sklearn_mmfuse.preprocessing import ModalityColumnTransformer

__all__ = [
    "Decomposition",
    "InTenseClassifier",
    "InTenseRegressor",
    "MROClassifier",
    "MRORegressor",
    "ModalityColumnTransformer",
    "MultimodalData",
    "RoutingClassifier",
    "RoutingCoefficients",
    "RoutingRegressor",
    "SMURFClassifier",
    "SMURFRegressor",
]

__version__ = "0.1.0"
