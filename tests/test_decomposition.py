"""The decomposition adds up, whatever is done to it."""

import sys
from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sklearn_mmfuse import Decomposition
from sklearn_mmfuse._terms import Term, interaction_terms

TERMS = interaction_terms(["text", "audio"], 2)
finite = st.floats(-1e3, 1e3)


@st.composite
def decompositions(draw):
    n, outputs = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    values = draw(arrays(np.float64, (n, 3, outputs), elements=finite))
    bias = draw(arrays(np.float64, outputs, elements=finite))
    return Decomposition(values, bias, TERMS, "identity", [f"c{i}" for i in range(outputs)])


@settings(max_examples=50, deadline=None)
@given(decompositions())
def test_every_view_adds_up_to_the_raw_prediction(parts):
    total = parts.sum()
    np.testing.assert_allclose(sum(parts.by_order().values()) + parts.bias, total, atol=1e-9)
    np.testing.assert_allclose(parts.center().sum(), total, atol=1e-9)
    frame = parts.to_frame()
    if len(parts.outputs) == 1:
        np.testing.assert_allclose(frame.sum(axis=1), total[:, 0], atol=1e-9)
    else:
        by_output = frame.T.groupby(level="output", sort=False).sum().T
        np.testing.assert_allclose(by_output, total, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(decompositions())
def test_centering_is_idempotent_and_leaves_zero_means(parts):
    centered = parts.center()
    np.testing.assert_allclose(centered.values.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(centered.center().values, centered.values, atol=1e-9)


def test_weighted_centering_ignores_rows_without_weight():
    parts = Decomposition([[[1.0]], [[3.0]], [[100.0]]], [0.0], [Term(["a"])], "identity", ["y"])
    np.testing.assert_allclose(parts.center([1, 1, 0]).values[:, 0, 0], [-1, 1, 98])


def test_orders_group_their_terms():
    values = np.arange(6.0).reshape(2, 3, 1)
    parts = Decomposition(values, [0.0], TERMS, "identity", ["y"])
    by_order = parts.by_order()
    np.testing.assert_array_equal(by_order[1], values[:, :2].sum(axis=1))
    np.testing.assert_array_equal(by_order[2], values[:, 2])


def test_predictions_are_on_the_reported_scale():
    parts = Decomposition(np.zeros((4, 3, 1)), [np.log(3.0)], TERMS, "logit", ["yes"])
    np.testing.assert_allclose(parts.predict(), [[0.25, 0.75]] * 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((4, 2, 1)), [0.0], TERMS, "identity", ["y"]), "needs values of shape"),
        ((np.zeros((4, 3, 1)), [0.0, 0.0], TERMS, "identity", ["y"]), "needs values of shape"),
        ((np.zeros((4, 3, 1)), [0.0], TERMS, "probit", ["y"]), "link must be one of"),
    ],
)
def test_what_does_not_fit_together_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Decomposition(*arguments)


def test_terms_do_not_depend_on_the_order_of_naming():
    assert Term(["b", "a"]) == Term(["a", "b"])
    assert str(Term(["b", "a"], "redundant")) == "a × b (redundant)"
    with pytest.raises(ValueError, match="each once"):
        Term(["a", "a"])


# Picking parts of it -----------------------------------------------------------------------------


def make_parts(n=6, outputs=("y",), link="identity", seed=0, **more):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, len(TERMS), len(outputs)))
    return Decomposition(values, rng.normal(size=len(outputs)), TERMS, link, outputs, **more)


def test_a_term_is_found_by_any_of_its_names():
    parts = make_parts()
    expected = parts.values[:, 2]
    for key in ("audio × text", "text × audio", ("text", "audio"), Term(["text", "audio"])):
        np.testing.assert_array_equal(parts[key], expected)
    np.testing.assert_array_equal(parts["audio"], parts.values[:, 1])
    unique = Decomposition([[[1.0]]], [0.0], [Term(["a"], "unique")], "identity", ["y"])
    np.testing.assert_array_equal(unique["a (unique)"], [[1.0]])
    with pytest.raises(KeyError, match="no term 'video', only text, audio, audio × text"):
        parts["video"]


@pytest.mark.parametrize("rows", [slice(1, 4), [0, 5], np.arange(6) > 2, 3, -1])
def test_rows_are_sliced_with_all_that_belongs_to_them(rows):
    errors = np.random.default_rng(1).uniform(size=(6, 3, 1))
    bias = np.arange(6.0).reshape(6, 1)
    whole = Decomposition(make_parts().values, bias, TERMS, "identity", ["y"], errors)
    part = whole[rows]
    index = np.atleast_1d(np.arange(6)[rows])
    np.testing.assert_array_equal(part.sum(), whole.sum()[index])
    np.testing.assert_array_equal(part.standard_errors, errors[index])
    np.testing.assert_array_equal(part.bias, bias[index])


def test_terms_are_kept_or_left_out():
    parts = make_parts()
    np.testing.assert_allclose(
        parts.drop("audio × text").sum(), parts.sum() - parts["audio × text"]
    )
    kept = parts.select(["text", ("audio", "text")])
    assert [str(term) for term in kept.terms] == ["text", "audio × text"]
    np.testing.assert_array_equal(parts.drop(("audio", "text")).values, parts.values[:, :2])
    np.testing.assert_array_equal(parts.drop(["audio", "text"]).values, parts.values[:, 2:])
    assert parts.interactions() == [Term(["audio", "text"])]


def test_folds_are_put_together_although_their_biases_differ():
    one, two = make_parts(4, seed=1), make_parts(3, seed=2)
    whole = Decomposition.concat([one, two])
    np.testing.assert_array_equal(whole.sum(), np.concatenate([one.sum(), two.sum()]))
    assert whole.bias.shape == (7, 1)
    np.testing.assert_array_equal(whole.to_frame().sum(axis=1), whole.sum()[:, 0])
    np.testing.assert_allclose(whole.center().sum(), whole.sum(), atol=1e-12)
    same = Decomposition.concat([one, one[:2]])
    assert same.bias.shape == (1,)
    assert len(Decomposition.concat([whole, whole])) == 14
    with pytest.raises(ValueError, match="other terms, outputs, link or method"):
        Decomposition.concat([one, make_parts(outputs=["a", "b"])])
    with pytest.raises(ValueError, match="nothing to concatenate"):
        Decomposition.concat([])


# Summing it up -----------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(decompositions())
def test_modalities_share_their_interactions_equally(parts):
    by_modality = parts.by_modality()
    assert [str(term) for term in by_modality.terms] == ["text", "audio"]
    np.testing.assert_allclose(by_modality.sum(), parts.sum(), atol=1e-9)
    half = parts["audio × text"] / 2
    np.testing.assert_allclose(by_modality["text"], parts["text"] + half, atol=1e-9)
    np.testing.assert_allclose(
        parts.by_modality("shapley").values, by_modality.values, atol=1e-9
    )  # without a link function


@pytest.mark.parametrize(("link", "outputs"), [("logit", ["yes"]), ("softmax", ["a", "b", "c"])])
def test_shapley_values_add_up_to_the_probabilities(link, outputs):
    terms = interaction_terms(["a", "b", "c"], 3)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 7, len(outputs)))
    parts = Decomposition(values, rng.normal(size=len(outputs)), terms, link, outputs)
    shapley = parts.by_modality("shapley")
    np.testing.assert_allclose(shapley.sum(), parts.predict()[:, -len(outputs) :], atol=1e-12)
    assert shapley.link == "identity"

    # The definition: the mean gain of a modality over all orders of arrival.
    def worth(present):
        kept = [term for term in terms if set(term.modalities) <= set(present)]
        return parts.select(kept).predict()[:, -len(outputs) :]

    orders = list(permutations("abc"))
    gain = sum(worth(o[: o.index("b") + 1]) - worth(o[: o.index("b")]) for o in orders) / 6
    np.testing.assert_allclose(shapley["b"], gain, atol=1e-12)


def test_shapley_values_of_many_modalities_are_refused():
    terms = interaction_terms([f"m{i}" for i in range(13)], 1)
    parts = Decomposition(np.zeros((1, 13, 1)), [0.0], terms, "logit", ["yes"])
    with pytest.raises(ValueError, match=r"8192.*Use rule='equal'"):
        parts.by_modality("shapley")
    with pytest.raises(ValueError, match="rule must be"):
        parts.by_modality("fair")


def test_shares_are_those_of_the_variance():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5000, 3, 1)) * [[1.0], [2.0], [3.0]]
    parts = Decomposition(values, [4.0], TERMS, "identity", ["y"])
    shares = parts.shares(n_bootstrap=200)
    assert shares["share"].sum() == pytest.approx(1)
    np.testing.assert_allclose(shares["share"], np.array([1, 4, 9]) / 14, atol=0.02)
    assert (shares["low"] < shares["share"]).all()
    assert (shares["share"] < shares["high"]).all()
    assert shares.index.tolist() == ["text", "audio", "audio × text"]
    pd.testing.assert_frame_equal(shares, parts.shares(n_bootstrap=200))
    assert list(parts.shares(n_bootstrap=0).columns) == ["share"]


def test_shares_of_every_output_and_of_whole_persons():
    parts = make_parts(40, ["a", "b"], "softmax")
    shares = parts.shares(n_bootstrap=50)
    assert shares.index.names == ["output", "term"]
    np.testing.assert_allclose(shares["share"].groupby("output").sum(), 1)
    # Rows of one person are alike: drawing persons makes wider intervals.
    person = np.repeat(np.arange(10), 4)
    alike = parts[np.repeat(np.arange(10), 4)]
    width = {
        name: np.subtract(*alike.shares(groups=groups)[["high", "low"]].to_numpy().T).mean()
        for name, groups in (("rows", None), ("persons", person))
    }
    assert width["persons"] > 1.5 * width["rows"]
    with pytest.raises(ValueError, match="at least 2 samples"):
        parts[[0]].shares()


def test_the_change_without_terms_is_that_of_the_probabilities():
    parts = make_parts(5, ["a", "b", "c"], "softmax")
    without = parts.select(["text", "audio"]).predict()
    expected = np.abs(parts.predict() - without).sum(axis=1)
    np.testing.assert_allclose(parts.change_without(), expected)
    np.testing.assert_allclose(parts.change_without("audio × text"), expected)
    number = make_parts(5)
    np.testing.assert_allclose(number.change_without("text"), np.abs(number["text"][:, 0]))


def test_intervals_need_standard_errors():
    errors = np.full((6, 3, 1), 2.0)
    parts = make_parts(standard_errors=errors, confidence=0.9)
    low, high = np.moveaxis(parts.interval(), -1, 0)
    np.testing.assert_allclose(high - parts.values, 1.6449 * 2, rtol=1e-4)
    np.testing.assert_allclose(parts.values - low, 1.6449 * 2, rtol=1e-4)
    assert np.ptp(parts.interval(0.5), axis=-1).max() < np.ptp(parts.interval(), axis=-1).min()
    np.testing.assert_array_equal(parts.select("text").standard_errors, errors[:, :1])
    with pytest.raises(ValueError, match="are exact"):
        make_parts().interval()
    with pytest.raises(ValueError, match="standard_errors must have the shape"):
        make_parts(standard_errors=errors[:2])


# Handing it on -----------------------------------------------------------------------------------


def test_the_repr_is_short_and_the_html_safe():
    terms = interaction_terms([f"m{i}" for i in range(6)], 2)
    parts = Decomposition(np.zeros((3, 21, 1)), [0.0], terms, "identity", ["y"])
    assert repr(parts) == (
        "<Decomposition of 3 samples: m0, m1, m2, m3, m4, m5, m0 × m1, ... (21 terms)>"
    )
    assert "and 1 smaller terms" in parts._repr_html_()
    sly = Decomposition([[[1.0]]], [0.0], [Term(["<b>"])], "identity", ["y"])
    assert "<b>" not in sly._repr_html_()
    assert "&lt;b&gt;" in sly._repr_html_()
    assert parts[:0]._repr_html_().startswith("<p>")


@pytest.mark.parametrize("outputs", [["y"], ["a", "b"]])
def test_shap_gets_terms_as_features(monkeypatch, outputs):
    class Explanation:
        def __init__(self, **fields):
            self.__dict__ |= fields

    monkeypatch.setitem(sys.modules, "shap", SimpleNamespace(Explanation=Explanation))
    parts = make_parts(outputs=outputs)
    told = parts.to_shap()
    total = told.values.sum(axis=1) + told.base_values
    np.testing.assert_allclose(total, parts.sum()[:, 0] if len(outputs) == 1 else parts.sum())
    assert told.feature_names == ["text", "audio", "audio × text"]
    assert told.output_names == (None if len(outputs) == 1 else outputs)


def test_without_shap_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "shap", None)
    with pytest.raises(ImportError, match="pip install shap"):
        make_parts().to_shap()


def test_degenerate_shares_are_nan_and_not_rubbish():
    few = make_parts(3)
    shares = few.shares(n_bootstrap=50)
    assert np.isfinite(shares["share"]).all()
    v = np.random.default_rng(0).normal(size=20)
    cancel = np.stack([v, 0.1 - v], axis=1)[:, :, np.newaxis]
    parts = Decomposition(cancel, [0.0], TERMS[:2], "identity", ["y"])
    assert parts.shares(n_bootstrap=0)["share"].isna().all()


def test_exact_rows_beside_sampled_ones_have_errors_of_zero():
    sampled = make_parts(standard_errors=np.ones((6, 3, 1)))
    both = Decomposition.concat([make_parts(), sampled])
    assert not both.standard_errors[:6].any()
    assert both.standard_errors[6:].all()
    with pytest.raises(ValueError, match="confidence must be between 0 and 1; got 95"):
        both.interval(95)
    with pytest.raises(ValueError, match="no terms to divide"):
        both.select([]).by_modality()
    assert both != both[:]


def test_a_modality_is_absent_where_no_term_speaks_of_it():
    values, terms = make_parts().values, TERMS
    reads = np.array([["audio" in term.modalities for term in terms]])
    absent = np.zeros(values.shape[:2], dtype=bool)
    absent[:2] = reads
    parts = Decomposition(
        values * ~absent[:, :, np.newaxis], [1.0], terms, "identity", ["y"], absent=absent
    )
    frame = parts.by_modality().to_frame()
    assert frame["audio"].isna().tolist() == [True, True] + [False] * (len(values) - 2)
    assert frame["text"].notna().all()
    np.testing.assert_allclose(frame.sum(axis=1), parts.sum()[:, 0])


def test_centering_leaves_absent_contributions_at_zero():
    absent = np.zeros((6, 3), dtype=bool)
    absent[:2, [0, 2]] = True
    values = make_parts().values * ~absent[:, :, np.newaxis]
    parts = Decomposition(values, [1.0], TERMS, "identity", ["y"], absent=absent)
    for weights in (None, np.arange(6.0)):
        centered = parts.center(weights)
        np.testing.assert_allclose(centered.sum(), parts.sum(), atol=1e-12)
        assert not centered.values[absent].any()
        np.testing.assert_allclose(centered.to_frame().sum(axis=1), parts.sum()[:, 0], atol=1e-12)
        for i in range(3):
            rows = ~absent[:, i]
            own = None if weights is None else weights[rows]
            mean = np.average(centered.values[rows, i, 0], weights=own)
            assert mean == pytest.approx(0, abs=1e-12)
