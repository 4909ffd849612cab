"""scikit-learn's own estimator checks, all of them."""

import os

import pytest
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_param_validation,
    parametrize_with_checks,
)

from sklearn_mmfuse import (
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
    estimators,
)

QUICK = {"max_epochs": 20, "learning_rate": 0.01, "random_state": 0}
# A row that is repeated draws a dropout mask for each of its copies, one that weighs two draws one.
EXACT = {"dtype": "float64", "dropout": 0.0}
SMALL = {**QUICK, "concept_dim": 8, "feature_dim": 8}
CRITIC = {"n_critic_steps": 1, "critic_hidden_layer_sizes": (8,)}
# What reads a single modality has nothing to share: the checks' arrays are divided into two.
HALVES = {
    "modalities": {"first": slice(0, 1), "rest": slice(1, None)},
    **QUICK,
    "missing": "error",  # a NaN in the first column would be an absent modality
}
INSTANCES = [
    MROClassifier(**EXACT, **QUICK),
    MRORegressor(**EXACT, **QUICK),
    MROClassifier(**QUICK),
    MRORegressor(**QUICK),
    MROClassifier(optimization="smro", fusion="tensor", **EXACT, **QUICK),
    MRORegressor(optimization="joint", share_encoders=True, **EXACT, **QUICK),
    InTenseClassifier(n_bootstrap=10, **EXACT, **QUICK),
    InTenseRegressor(n_bootstrap=10, **EXACT, **QUICK),
    InTenseClassifier(p=2.0, n_bootstrap=0, **QUICK),
    RoutingClassifier(**EXACT, **SMALL),
    RoutingRegressor(n_concepts=2, **EXACT, **SMALL),
    RoutingClassifier(routing=False, **SMALL),
    FusionClassifier(**EXACT, **QUICK),
    FusionRegressor(fusion="low_rank", tensor_dim=2, rank=2, **EXACT, **QUICK),
    MutualDependencyClassifier(**EXACT, **HALVES, **CRITIC),
    MutualDependencyRegressor(dependency="kl", **EXACT, **HALVES, **CRITIC),
    SMURFClassifier(**EXACT, **HALVES),
    SMURFRegressor(**EXACT, **HALVES),
    SMURFClassifier(max_order=2, **HALVES),
]
ROUNDING = {
    "check_sample_weight_equivalence_on_dense_data": (
        "compares two fits to 1e-7 of each other, and float32 rounds at 6e-8 in every step"
    )
}
DRAWN = {
    "check_sample_weight_equivalence_on_dense_data": (
        "the critic draws rows and shuffles at random, which a repeated row makes other ones"
    )
}

pytestmark = [
    pytest.mark.draws_globally,
    # The checks pass arrays without names.
    pytest.mark.filterwarnings("ignore:.*found no modalities in X:UserWarning"),
    pytest.mark.filterwarnings("ignore:The modalities .* are constant:UserWarning"),
]


def test_every_estimator_is_checked():
    assert {type(instance).__name__ for instance in INSTANCES} == set(estimators.__all__)


def test_no_check_is_skipped_for_want_of_the_array_api():
    assert os.environ["SCIPY_ARRAY_API"] == "1"


@parametrize_with_checks(
    INSTANCES,
    expected_failed_checks=lambda e: {
        **(ROUNDING if e.dtype == "float32" else {}),
        **(DRAWN if hasattr(e, "n_critic_steps") else {}),
    },
)
def test_scikit_learn_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", INSTANCES[:2], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize(
    "check", [check_dataframe_column_names_consistency, check_param_validation]
)
def test_checks_outside_the_official_list(estimator, check):
    check(type(estimator).__name__, estimator)
