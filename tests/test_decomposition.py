"""The decomposition adds up, whatever is done to it."""

import numpy as np
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
