"""Interpretable multimodal fusion as scikit-learn estimators."""

from sklearn_mmfuse import datasets, inspection, model_selection, preprocessing
from sklearn_mmfuse._data import MultimodalData
from sklearn_mmfuse._decomposition import Decomposition
from sklearn_mmfuse._routing_coefficients import RoutingCoefficients
from sklearn_mmfuse.estimators import (
    FusionClassifier,
    FusionRegressor,
    InTenseClassifier,
    InTenseRegressor,
    MROClassifier,
    MRORegressor,
    MutualDependencyClassifier,
    MutualDependencyRegressor,
    RoutingClassifier,
    RoutingRegressor,
    SMURFClassifier,
    SMURFRegressor,
)
from sklearn_mmfuse.preprocessing import ModalityColumnTransformer

__all__ = [
    "Decomposition",
    "FusionClassifier",
    "FusionRegressor",
    "InTenseClassifier",
    "InTenseRegressor",
    "MROClassifier",
    "MRORegressor",
    "ModalityColumnTransformer",
    "MultimodalData",
    "MutualDependencyClassifier",
    "MutualDependencyRegressor",
    "RoutingClassifier",
    "RoutingCoefficients",
    "RoutingRegressor",
    "SMURFClassifier",
    "SMURFRegressor",
    "datasets",
    "inspection",
    "model_selection",
    "preprocessing",
]

__version__ = "0.1.0"
