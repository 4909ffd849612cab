"""RoutingClassifier and RoutingRegressor: contributions, coefficients, labels, bad input."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.datasets import make_multilabel_classification
from sklearn.metrics import f1_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_val_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline

from sklearn_mmfuse import (
    ModalityColumnTransformer,
    MultimodalData,
    RoutingClassifier,
    RoutingRegressor,
)
from sklearn_mmfuse.datasets import make_switching
from sklearn_mmfuse.inspection import modality_effects, separation_error

from ._data import make_blocks, make_groups, make_target

KINDS = ["regression", "binary", "multiclass", "labels"]
QUICK = {"max_epochs": 4, "hidden_layer_sizes": (6,), "concept_dim": 4, "feature_dim": 5}


def make_labels(blocks):
    names = list(blocks)
    one = blocks[names[0]][:, 0] > 0
    return np.column_stack([one, blocks[names[-1]][:, 0] > 0, one]).astype(int)


def fit(kind="multiclass", n_modalities=3, n_samples=60, **params):
    blocks = make_blocks(n_samples, n_modalities)
    y = make_labels(blocks) if kind == "labels" else make_target(blocks, kind)
    cls = RoutingRegressor if kind == "regression" else RoutingClassifier
    model = cls(random_state=0, learning_rate=0.02, **QUICK | params).fit(blocks, y)
    return model, MultimodalData(blocks), y


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("params", [{}, {"routing": False}, {"max_order": 1, "n_routing": 1}])
def test_contributions_are_p_r_o_f_w_centered_and_add_up(kind, params):
    model, X, _ = fit(kind, input_scaling="standard", numerical_embedding=None, **params)
    parts, routed, net = model.decompose(X), model.routing_coefficients(X), model.module_
    raw = model.predict(X) if kind == "regression" else model.decision_function(X)
    np.testing.assert_allclose(parts.sum(), np.reshape(raw, (60, -1)), atol=1e-10)
    # Equation 3 from the coefficients that are reported and the net's own parameters.
    double = {key: value.double() for key, value in net.state_dict().items()}
    scaled = {}
    for i, name in enumerate(net.in_features):
        scale, shift = (double[f"scalings.{i}.{key}"][0] for key in ("scale", "shift"))
        scaled[name] = shift + torch.tensor(X[name]) * scale
    features = net.double().perceptrons(scaled)[0, ..., :-1].detach()
    position = {term: i for i, term in enumerate(net.terms)}
    expected = np.empty_like(parts.values)
    for t, term in enumerate(model.terms_):
        i = position[term]
        votes = (features[i] @ double["vote_weights"][0, i]).unflatten(1, (-1, 4))
        heard = torch.tensor(routed.pr[:, t]) * (votes * double["readout"][0, 0, 0]).sum(2)
        expected[:, t] = (heard @ net.concept_outputs).numpy()
    if kind == "multiclass":
        expected -= expected.mean(axis=2, keepdims=True)
    expected -= expected.mean(axis=0)
    scale = model._target_scale
    np.testing.assert_allclose(parts.values, expected * scale, atol=1e-5 * scale)
    net.float()


@pytest.mark.parametrize("kind", KINDS)
def test_coefficients_are_shaped_named_and_normalized(kind):
    model, X, _ = fit(kind)
    routed = model.routing_coefficients(X)
    concepts = {
        "regression": [f"concept {i}" for i in range(1, 5)],
        "binary": ["no", "yes"],
        "multiclass": ["low", "mid", "top"],
        "labels": ["0", "1", "2"],
    }[kind]
    assert routed.concepts == tuple(concepts)
    assert routed.terms == model.terms_
    assert routed.p.shape == (60, 7)
    assert routed.r.shape == routed.pr.shape == (60, 7, len(concepts))
    np.testing.assert_allclose(routed.r.sum(axis=2), 1, atol=1e-12)
    assert ((routed.p > 0) & (routed.p < 1)).all()
    np.testing.assert_array_equal(routed.pr, routed.p[..., np.newaxis] * routed.r)
    np.testing.assert_allclose(model.routing_coefficients(X[:1]).r[0], routed.r[0], atol=1e-12)


def test_global_routing_is_that_of_the_training_rows():
    model, X, _ = fit()
    table = model.global_routing_
    pd.testing.assert_frame_equal(table, model.routing_coefficients(X).summary())
    assert list(table.columns) == ["mean", "low", "high", "excludes_uniform"]
    terms = table.loc["pr"].index.get_level_values("term").unique()
    assert terms.tolist() == [str(term) for term in model.terms_]
    assert len(table) == 7 + 2 * 7 * 3


def test_persons_widen_the_intervals():
    blocks, person = make_blocks(90), make_groups(90)
    same = {name: block[person * 6] for name, block in blocks.items()}  # six copies of each person
    y = make_target(same, "multiclass")
    model = RoutingClassifier(random_state=0, **QUICK)
    alone = clone(model).fit(same, y).global_routing_
    together = clone(model).fit(same, y, groups=person).global_routing_
    np.testing.assert_array_equal(alone["mean"], together["mean"])
    ratio = (together["high"] - together["low"]) / (alone["high"] - alone["low"])
    # Of 15 persons instead of 90 rows: sqrt(6), and Student's quantile instead of the normal one.
    expected = np.sqrt(90 / 15 * (89 / 90) / (14 / 15)) * 2.144787 / 1.959964
    np.testing.assert_allclose(ratio, expected, rtol=1e-4)


def test_one_person_has_no_interval_and_is_no_error():
    blocks = make_blocks(60)
    y = make_target(blocks, "multiclass")
    model = RoutingClassifier(random_state=0, **QUICK).fit(blocks, y, groups=["p1"] * 60)
    assert model.global_routing_["mean"].notna().all()
    assert model.global_routing_[["low", "high", "excludes_uniform"]].isna().all(axis=None)


def test_the_additive_baseline_is_uniform_in_the_table_as_well():
    model, _, _ = fit(routing=False, n_samples=50)
    assert not model.global_routing_.loc[["r", "pr"]].excludes_uniform.any()


def test_rows_without_weight_do_not_count_in_the_global_table():
    blocks = make_blocks(60)
    y, weight = make_target(blocks, "multiclass"), np.r_[np.ones(50), np.zeros(10)]
    model = RoutingClassifier(random_state=0, early_stopping=False, **QUICK)
    table = clone(model).fit(blocks, y, sample_weight=weight).global_routing_
    fewer = {name: block[:50] for name, block in blocks.items()}
    pd.testing.assert_frame_equal(table, clone(model).fit(fewer, y[:50]).global_routing_)


def test_the_order_of_modalities_does_not_matter():
    model, X, y = fit(dtype="float64")
    other = clone(model).set_params(modalities=list(X)[::-1]).fit(X, y)
    np.testing.assert_allclose(other.decision_function(X), model.decision_function(X), atol=1e-10)
    one, two = model.routing_coefficients(X), other.routing_coefficients(X)
    order = [two.terms.index(term) for term in one.terms]
    np.testing.assert_allclose(two.r[:, order], one.r, atol=1e-10)


def test_pickles_predict_the_same():
    for kind in KINDS:
        model, X, _ = fit(kind)
        again = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
        np.testing.assert_array_equal(
            again.routing_coefficients(X).r, model.routing_coefficients(X).r
        )


def test_other_parameters_do_not_change_a_fitted_model():
    model, X, _ = fit("regression")
    before = model.routing_coefficients(X).r
    model.set_params(n_concepts=2, routing=False, max_order=1)
    np.testing.assert_array_equal(model.routing_coefficients(X).r, before)


def test_an_absent_modality_is_not_routed():
    model, X, y = fit(missing="drop")
    holes = X.assign(text=np.where(np.arange(60)[:, None] < 20, np.nan, X["text"]))
    routed = model.routing_coefficients(holes)
    reads = np.array(["text" in term.modalities for term in routed.terms])
    assert np.isnan(routed.r[:20][:, reads]).all()
    assert np.isnan(routed.p[:20][:, reads]).all()
    assert np.isfinite(routed.r[:20][:, ~reads]).all()
    assert np.isfinite(routed.r[20:]).all()
    left = model.routing_coefficients(X[:20], available=["audio", "video"])
    np.testing.assert_array_equal(left.r, routed.r[:20])
    parts = model.decompose(holes)
    assert not parts.values[:20][:, reads].any()
    np.testing.assert_allclose(parts.sum(), model.decision_function(holes))
    refitted = clone(model).fit(holes, y)
    assert refitted.global_routing_["mean"].notna().all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("max_order", [1, None])
@pytest.mark.parametrize("own", [True, False], ids=["own", "background"])
def test_purified_terms_are_the_effects_of_the_whole_prediction(kind, max_order, own):
    model, X, _ = fit(kind, max_order=max_order)
    rows, background = (X[:6], None) if own else (X[:4], X[5:11])
    pure = model.decompose(rows, purify=True, background=background)
    truth = modality_effects(model, rows, background=background, method="exact")
    np.testing.assert_allclose(pure.sum(), model.decompose(rows).sum(), atol=1e-10)
    assert set(pure.terms) == set(truth.terms)  # with max_order=1, too: routing makes interactions
    for term in truth.terms:
        np.testing.assert_allclose(pure[term], truth[term], atol=1e-9)
    np.testing.assert_allclose(pure.bias, truth.bias, atol=1e-9)


def test_without_routing_single_modalities_do_not_interact():
    model, X, _ = fit("regression", max_order=1, routing=False)
    pure = model.decompose(X[:6], purify=True)
    assert np.abs(pure.values[:, [term.order > 1 for term in pure.terms]]).max() < 1e-10
    assert separation_error(model, X[:6]).error == 0


def test_effects_beyond_the_budget_are_sampled_and_still_add_up():
    model, X, _ = fit("multiclass")
    parts = model.decompose(X[:30], purify=True, max_evaluations=0, n_draws=40)
    np.testing.assert_allclose(parts.sum(), model.decompose(X[:30]).sum(), atol=1e-9)
    assert (parts.standard_errors.max(axis=(0, 2)) > 0).any()
    assert separation_error(model, X[:8]).error > 0


def test_a_switch_is_found():
    toy = make_switching(1500, random_state=0)
    train, test = slice(0, 1200), slice(1200, None)
    model = RoutingClassifier(max_order=1, learning_rate=3e-3, random_state=0)
    model.fit(toy.data[train], toy.target[train])
    X, y = toy.data[test], toy.target[test]
    assert model.score(X, y) > 0.95
    additive = clone(model).set_params(routing=False).fit(toy.data[train], toy.target[train])
    assert additive.score(X, y) < 0.75
    pr = model.routing_coefficients(X).pr[np.arange(len(y)), :, model.predict(X)]
    names = [str(term) for term in model.terms_]
    first, second = (pr[:, names.index(name)] for name in ("first", "second"))
    assert (np.where(first > second, "first", "second") == toy.relevant[test]).mean() > 0.85


def test_regression_learns_products():
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(1200, 2)), "b": rng.normal(size=(1200, 2))}
    y = 3 * X["a"][:, 0] * X["b"][:, 0] + X["a"][:, 1] + 7
    train, test = ({n: x[rows] for n, x in X.items()} for rows in (slice(900), slice(900, None)))
    model = RoutingRegressor(learning_rate=3e-3, random_state=0).fit(train, y[:900])
    assert model.score(test, y[900:]) > 0.9


# Labels ------------------------------------------------------------------------------------------


HALVES = ModalityColumnTransformer(
    [("a", "passthrough", [0, 1]), ("b", "passthrough", slice(2, None))]
)


def make_multilabel(n_samples=200):
    features, y = make_multilabel_classification(
        n_samples, n_features=9, n_classes=4, n_labels=2, random_state=0
    )
    return MultimodalData(a=features[:, :3], b=features[:, 3:6], c=features[:, 6:]), y


def test_labels_follow_scikit_learns_conventions():
    X, y = make_multilabel()
    model = RoutingClassifier(random_state=0, **QUICK).fit(X, y)
    theirs = MultiOutputClassifier(RoutingClassifier(random_state=0, **QUICK)).fit(X, y)
    assert [list(c) for c in model.classes_] == [list(c) for c in theirs.classes_]
    ours, expected = model.predict_proba(X), theirs.predict_proba(X)
    assert [p.shape for p in ours] == [p.shape for p in expected] == [(200, 2)] * 4
    raw = model.decision_function(X)
    for label, probability in enumerate(ours):
        np.testing.assert_allclose(probability.sum(axis=1), 1)
        np.testing.assert_allclose(probability[:, 1], 1 / (1 + np.exp(-raw[:, label])))
    predicted = model.predict(X)
    assert predicted.dtype.kind == "i"
    np.testing.assert_array_equal(predicted, raw > 0)
    assert model.score(X, y) == (predicted == y).all(axis=1).mean()
    assert model.label_names_ == ["0", "1", "2", "3"]
    assert model.decompose(X).link == "sigmoid"


def test_labels_from_a_frame_or_sparse_or_torch():
    X, y = make_multilabel()
    model = RoutingClassifier(random_state=0, **QUICK)
    plain = clone(model).fit(X, y).decision_function(X)
    framed = clone(model).fit(X, pd.DataFrame(y, columns=["joy", "fear", "anger", "awe"]))
    assert framed.label_names_ == ["joy", "fear", "anger", "awe"]
    assert framed.routing_coefficients(X).concepts == ("joy", "fear", "anger", "awe")
    assert framed.decompose(X).outputs == ("joy", "fear", "anger", "awe")
    for other in (
        framed,
        clone(model).fit(X, sp.csr_array(y)),
        clone(model).fit(X, torch.tensor(y)),
    ):
        np.testing.assert_array_equal(other.decision_function(X), plain)
    assert framed.unique_contributions_.columns.get_level_values("output").unique()[0] == "joy"


def test_labels_through_cross_validation_and_search():
    X, y = make_multilabel()
    person = np.arange(200) // 4
    model = RoutingClassifier(random_state=0, **QUICK)
    folds = GroupKFold(3)
    predicted = cross_val_predict(model, X, y, groups=person, cv=folds)
    assert predicted.shape == y.shape
    probabilities = cross_val_predict(model, X, y, groups=person, cv=folds, method="predict_proba")
    raw = cross_val_predict(model, X, y, groups=person, cv=folds, method="decision_function")
    np.testing.assert_array_equal(raw > 0, predicted)
    for label in range(4):
        np.testing.assert_array_equal(probabilities[label][:, 1] > 0.5, predicted[:, label])
    for scoring in ("f1_macro", "roc_auc", "average_precision", "accuracy"):
        scores = cross_val_score(
            model, X, y, groups=person, cv=folds, scoring=scoring, error_score="raise"
        )
        assert np.isfinite(scores).all(), scoring
    search = GridSearchCV(
        make_pipeline(HALVES, model),
        {"routingclassifier__n_routing": [1, 2], "routingclassifier__routing": [True, False]},
        scoring="f1_macro",
        cv=folds,
        error_score="raise",
    )
    search.fit(X.to_numpy(), y, groups=person)
    assert 0 <= search.best_score_ <= 1
    assert f1_score(y, search.predict(X.to_numpy()), average="macro", zero_division=0) >= 0


def test_labels_with_weights_early_stopping_and_class_weight():
    X, y = make_multilabel(600)
    model = RoutingClassifier(random_state=0, **QUICK).fit(X, y, groups=np.arange(600) // 5)
    assert "valid_loss" in model.history_[0]
    y[:, 2] = np.arange(600) % 20 == 0  # rare
    plain = RoutingClassifier(random_state=0, **QUICK).fit(X, y)
    weighted = RoutingClassifier(random_state=0, class_weight="balanced", **QUICK).fit(X, y)
    assert weighted.decision_function(X)[:, 2].mean() > plain.decision_function(X)[:, 2].mean() + 1


def test_a_label_that_never_varies_is_said_and_predicted_as_it_was():
    X, y = make_multilabel()
    y[:, 1], y[:, 3] = 0, 1
    said = r"labels \['1', '3'\] are the same in every training"
    with pytest.warns(UserWarning, match=said) as caught:
        model = RoutingClassifier(random_state=0, **QUICK).fit(X, y)
    assert caught[0].filename == __file__
    assert not model.predict(X)[:, 1].any()
    assert model.predict(X)[:, 3].all()


def test_labels_give_way_to_classes_in_another_fit():
    X, y = make_multilabel()
    model = RoutingClassifier(random_state=0, **QUICK).fit(X, y)
    model.fit(X, y[:, 0])
    assert model.predict(X).shape == (200,)
    assert not hasattr(model, "label_names_")
    assert model.routing_coefficients(X).concepts == ("0", "1")


# Bad input ---------------------------------------------------------------------------------------

X, Y = make_blocks(30), np.arange(30) % 3
NEVER = np.zeros((30, 2), dtype=int)
BAD = {
    "no rounds": ({"n_routing": 0}, Y, r"n_routing=0 leaves no round.*routing=False"),
    "negative": ({"n_routing": -1}, Y, "'n_routing' parameter"),
    "temperature": ({"temperature": 0}, Y, "'temperature' parameter"),
    "one class": ({}, np.zeros(30), "needs samples of at least 2 classes.*1 class"),
    "no label varies": ({}, NEVER, r"with and without a label, but each of \['0', '1'\]"),
    "several classes": (
        {},
        np.column_stack([Y, Y]),
        r"takes classes \(n,\), or labels .* Fit one model per column",
    ),
    "names of labels": ({}, [["a"], ["a", "b"]] * 15, "MultiLabelBinarizer"),
    "sets of labels": ({}, [{"a"}, {"b"}] * 15, "MultiLabelBinarizer"),
    "words": ({}, np.array([["yes", "no"]] * 30), "labels .* that are 0 or 1"),
    "weights of classes": (
        {"class_weight": {0: 1, 1: 2}},
        np.eye(30, 2, dtype=int),
        "'balanced' or a list with a dict for each",
    ),
    "weights of labels": ({"class_weight": [{0: 1}]}, Y, "a list only where y has several labels"),
    "numbers": ({}, Y + 0.5, "continuous"),
    "order": ({"max_order": 3}, Y, "max_order=3 asks for interactions of 3 modalities"),
    "rows": (
        {},
        np.ones((29, 2), dtype=int) - np.eye(29, 2, dtype=int),
        "30 samples, but y has 29",
    ),
}


@pytest.mark.parametrize(("params", "y", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_before_anything_is_fitted(params, y, message):
    model = RoutingClassifier(max_epochs=1, **params)
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)
    assert not hasattr(model, "module_")
    assert not hasattr(model, "global_routing_")


def test_a_regression_needs_two_concepts():
    with pytest.raises(ValueError, match=r"'n_concepts' parameter .* range \[2, inf\)"):
        RoutingRegressor(n_concepts=1).fit(X, Y)
    with pytest.raises(ValueError, match=r"one number per sample.* got 2 columns"):
        RoutingRegressor().fit(X, np.ones((30, 2)))


def test_one_sparse_column_is_classes_and_no_rounds_need_no_number():
    model = RoutingClassifier(random_state=0, routing=False, n_routing=0, **QUICK)
    sparse = clone(model).fit(X, sp.csr_array((Y == 1).astype(int)[:, np.newaxis]))
    np.testing.assert_array_equal(sparse.classes_, [0, 1])


def test_a_sequence_without_a_step_is_an_absent_modality():
    rng = np.random.default_rng(0)
    speech = rng.normal(size=(40, 6, 3))
    speech[:5] = np.nan
    blocks = {"speech": speech, "text": rng.normal(size=(40, 2))}
    y = np.arange(40) % 2
    model = RoutingClassifier(encoder="mult", random_state=0, **QUICK).fit(blocks, y)
    routed = model.routing_coefficients(blocks)
    assert np.isnan(routed.r[:5, [0, 2]]).all()
    assert np.isfinite(routed.r[:5, 1]).all()
    with pytest.raises(ValueError, match="absent from all 40 training rows"):
        clone(model).fit(blocks | {"speech": np.full((40, 6, 3), np.nan)}, y)


def test_nothing_warns_where_nothing_is_wrong():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in KINDS:
            fit(kind)
