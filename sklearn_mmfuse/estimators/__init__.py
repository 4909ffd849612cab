"""Estimators; `__all__` is the registry that the common tests and the documentation go through."""

from sklearn_mmfuse.estimators._fusion import FusionClassifier, FusionRegressor
from sklearn_mmfuse.estimators._intense import InTenseClassifier, InTenseRegressor
from sklearn_mmfuse.estimators._mro import MROClassifier, MRORegressor
from sklearn_mmfuse.estimators._mutual_dependency import (
    MutualDependencyClassifier,
    MutualDependencyRegressor,
)
from sklearn_mmfuse.estimators._routing import RoutingClassifier, RoutingRegressor
from sklearn_mmfuse.estimators._smurf import SMURFClassifier, SMURFRegressor

__all__ = [
    "FusionClassifier",
    "FusionRegressor",
    "InTenseClassifier",
    "InTenseRegressor",
    "MROClassifier",
    "MRORegressor",
    "MutualDependencyClassifier",
    "MutualDependencyRegressor",
    "RoutingClassifier",
    "RoutingRegressor",
    "SMURFClassifier",
    "SMURFRegressor",
]
