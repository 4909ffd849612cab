"""The one contract: terms and bias add up to the prediction, in every method and mode."""

import numpy as np
import pytest
import torch

from sklearn_mmfuse import (
    Decomposition,
    MROClassifier,
    MRORegressor,
    MultimodalData,
    estimators,
)
from sklearn_mmfuse._terms import interaction_terms

from ._data import make_blocks, make_target

MODES = ["mro", "smro", "joint", "single"]


def fit(kind, n_modalities=2, n_samples=60, **params):
    blocks = make_blocks(n_samples, n_modalities)
    y = make_target(blocks, kind)
    cls = MRORegressor if kind == "regression" else MROClassifier
    params = {"max_epochs": 3, "hidden_layer_sizes": (5,), "tensor_dim": 3} | params
    return cls(random_state=0, **params).fit(blocks, y), blocks, y


def net_prediction(model, blocks):
    """The last supervised stage, straight from the torch net in its own precision."""
    tensors = {n: torch.tensor(b, dtype=torch.float32) for n, b in blocks.items()}
    with torch.no_grad():
        raw = model.module_(tensors).stages[-1][0].double().numpy()
    if raw.shape[1] > 1:
        return raw - raw.mean(axis=1, keepdims=True)
    return raw


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
@pytest.mark.parametrize("optimization", MODES)
@pytest.mark.parametrize("fusion", ["concat", "tensor"])
@pytest.mark.parametrize("n_modalities", [2, 3, 4, 5])
def test_terms_add_up_to_the_raw_prediction(kind, optimization, fusion, n_modalities):
    model, blocks, y = fit(kind, n_modalities, optimization=optimization, fusion=fusion)
    parts = model.decompose(blocks)
    total = parts.values.sum(axis=1) + parts.bias
    raw = net_prediction(model, blocks)
    if kind == "regression":
        np.testing.assert_allclose(total[:, 0], model.predict(blocks), rtol=1e-10)
        np.testing.assert_allclose((total - y.mean()) / y.std(), raw, atol=1e-5)
    else:  # with the factor of log-odds that folds have chosen
        expected = model._target_mean + model._target_scale * raw
        np.testing.assert_allclose(total, expected, atol=1e-5)
        np.testing.assert_allclose(total.squeeze(), model.decision_function(blocks), rtol=1e-10)
        np.testing.assert_allclose(parts.predict(), model.predict_proba(blocks))
    assert len(parts.terms) == (1 if optimization == "single" else 2**n_modalities - 1)


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
def test_contributions_are_centered_over_the_training_rows(kind):
    model, blocks, _ = fit(kind)
    parts = model.decompose(blocks)
    np.testing.assert_allclose(parts.values.mean(axis=0), 0, atol=1e-10)
    if kind == "multiclass":
        np.testing.assert_allclose(parts.values.sum(axis=2), 0, atol=1e-10)


def test_unique_contributions_are_the_unimodal_terms_of_the_training_rows():
    model, blocks, _ = fit("regression", 3)
    frame = model.unique_contributions_
    assert list(frame.columns) == ["text", "audio", "video"]
    parts = model.decompose(blocks)
    np.testing.assert_allclose(frame.to_numpy(), parts.values[:, :3, 0], atol=1e-10)


def test_unique_contributions_of_several_classes_name_output_and_modality():
    model, _, _ = fit("multiclass")
    assert list(model.unique_contributions_.columns) == [
        (output, modality) for output in ("low", "mid", "top") for modality in ("text", "audio")
    ]


@pytest.mark.filterwarnings("ignore:On the .* the model is not reliably better:UserWarning")
def test_relevance_is_the_share_of_mean_absolute_contributions():
    model, blocks, _ = fit("multiclass", 3)
    size = np.abs(model.decompose(blocks).values).mean(axis=(0, 2))
    np.testing.assert_allclose(model.relevance_scores_, size / size.sum())
    assert list(model.relevance_scores_.index) == [str(term) for term in model.terms_]


@pytest.mark.parametrize("method", ["MRO", "SMURF", "Routing", "MutualDependency", "Fusion"])
@pytest.mark.parametrize("kind", ["Regressor", "Classifier"])
@pytest.mark.filterwarnings("ignore:The modalities .* are constant:UserWarning")
def test_nothing_is_relevant_where_nothing_varies(method, kind):
    X = {"a": np.ones((40, 2)), "b": np.full((40, 1), 3.0)}
    y = np.random.default_rng(0).normal(size=40)
    model = getattr(estimators, method + kind)(max_epochs=2, random_state=0)
    model.fit(X, y if kind == "Regressor" else y > 0)
    assert (model.relevance_scores_ == 0.0).all()


def test_relevance_finds_what_carries_the_prediction():
    blocks = make_blocks(600, 3)
    additive = 3 * blocks["text"][:, 0] + blocks["video"][:, 0]
    product = blocks["text"][:, 0] * blocks["audio"][:, 0]
    params = {"max_order": 2, "learning_rate": 0.01, "random_state": 0, "fusion": "tensor"}
    scores = MRORegressor(**params).fit(blocks, additive).relevance_scores_
    assert scores.nlargest(2).index.tolist() == ["text", "video"]
    assert scores["text"] > 0.6
    scores = MRORegressor(**params).fit(blocks, product).relevance_scores_
    assert scores.idxmax() == "audio × text"
    assert scores["audio × text"] > 0.5


def test_max_order_limits_the_terms():
    model, _, _ = fit("binary", 4, max_order=2)
    assert model.terms_ == interaction_terms(["text", "audio", "video", "ecg"], 2)


def test_single_has_one_term_and_no_unique_contributions():
    model, _, _ = fit("binary", 3, optimization="single")
    assert [str(term) for term in model.terms_] == ["audio × text × video"]
    assert model.unique_contributions_.shape == (60, 0)


@pytest.mark.parametrize("fusion", ["concat", "tensor"])
@pytest.mark.parametrize("optimization", MODES)
def test_the_order_of_modalities_does_not_matter(fusion, optimization):
    blocks = make_blocks(60, 3)
    y = make_target(blocks, "binary")
    model = MROClassifier(
        fusion=fusion, optimization=optimization, max_epochs=3, dropout=0.2, random_state=0
    )
    first = model.fit(blocks, y).decompose(blocks)
    backwards = {name: blocks[name] for name in reversed(list(blocks))}
    second = model.fit(backwards, y).decompose(backwards)
    for term in first.terms:
        np.testing.assert_array_equal(
            first.values[:, first.terms.index(term)], second.values[:, second.terms.index(term)]
        )


def test_predictions_do_not_depend_on_the_rows_beside_them():
    model, blocks, _ = fit("multiclass", 3)
    X = MultimodalData(blocks)
    one_by_one = np.concatenate([model.predict_proba(X[[i]]) for i in range(len(X))])
    np.testing.assert_allclose(one_by_one, model.predict_proba(X), rtol=1e-10)


def test_decompose_returns_the_public_class():
    model, blocks, _ = fit("binary")
    parts = model.decompose(blocks)
    assert isinstance(parts, Decomposition)
    assert parts.outputs == ("yes",)
    assert parts.link == "logit"


def test_staged_training_leaves_the_unimodal_net_untouched_by_higher_orders():
    # With whole-data batches the unimodal terms of order-1 and order-2 models are the same net.
    blocks = make_blocks(60)
    y = make_target(blocks, "regression")
    # Masks are drawn for all units at once, so without dropout.
    params = {"max_epochs": 20, "max_grad_norm": None, "dropout": 0.0}
    params |= {"random_state": 0, "dtype": "float64"}
    net = {}
    for max_order in (1, 2):
        model = MRORegressor(max_order=max_order, **params).fit(blocks, y)
        net[max_order] = model.unique_contributions_.to_numpy()
    np.testing.assert_allclose(net[1], net[2], rtol=1e-9, atol=1e-9)
