"""The matrix of effects: what is in its cells, and what it says where there is nothing."""

import matplotlib as mpl

mpl.use("Agg")

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mmfuse import Decomposition, ModalityColumnTransformer, MRORegressor
from sklearn_mmfuse._terms import Term, interaction_terms
from sklearn_mmfuse.inspection import EffectsDisplay


@pytest.fixture(autouse=True)
def _figures_closed():
    yield
    plt.close("all")


def make_parts(names=("a", "b", "c"), max_order=3, outputs=("y",), link="identity"):
    terms = interaction_terms(list(names), max_order)
    values = np.random.default_rng(0).normal(size=(50, len(terms), len(outputs)))
    return Decomposition(values, np.zeros(len(outputs)), terms, link, outputs)


def cells(ax):
    """Numbers by (row, column)."""
    found = {}
    for text in ax.texts:
        column, row = text.get_position()
        found[int(row), int(column)] = text.get_text()
    return found


def test_the_diagonal_is_unimodal_and_the_rest_pairs():
    parts = make_parts()
    display = EffectsDisplay.from_decomposition(parts)
    size = {str(t): np.abs(parts[t] - parts[t].mean()).mean() for t in parts.terms}
    assert display.strength.loc["b", "b"] == pytest.approx(size["b"])
    assert display.strength.loc["c", "a"] == pytest.approx(size["a × c"])
    np.testing.assert_array_equal(display.strength, display.strength.T)
    found = cells(display.ax_)
    assert set(found) == {(i, j) for i in range(3) for j in range(i + 1)}  # below the diagonal
    assert found[2, 0] == f"{size['a × c']:.3f}"
    assert (
        display.ax_.get_title(loc="left") == f"three and more modalities: {size['a × b × c']:.2g}"
    )
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == ["a", "b", "c"]


def test_pairs_without_a_term_are_hatched_not_zero():
    display = EffectsDisplay.from_decomposition(make_parts(max_order=1))
    assert np.isnan(display.strength.loc["a", "b"])
    assert display.higher is None
    assert set(cells(display.ax_)) == {(0, 0), (1, 1), (2, 2)}
    assert len(display.ax_.patches) == 3


def test_terms_of_several_kinds_and_missing_unimodal_terms():
    terms = [Term(["a"], "unique"), Term(["a", "b"], "redundant"), Term(["a", "b"], "unique")]
    parts = Decomposition(
        [[[1.0], [2.0], [4.0]], [[-1.0], [-2.0], [-4.0]]], [0.0], terms, "identity", ["y"]
    )
    strength = EffectsDisplay.from_decomposition(parts).strength
    assert strength.loc["a", "a"] == 1
    assert strength.loc["b", "b"] == 0
    assert strength.loc["a", "b"] == 6


def test_one_class_or_the_mean_of_all():
    parts = make_parts(outputs=["low", "mid", "high"], link="softmax")
    everything = EffectsDisplay.from_decomposition(parts)
    one = EffectsDisplay.from_decomposition(parts, output="mid")
    assert everything.label == "mean |contribution to logit|"
    assert one.label == "mean |contribution to logit of mid|"
    values = np.abs(parts.center().values).mean(axis=0)
    assert one.strength.loc["a", "a"] == pytest.approx(values[0, 1])
    assert everything.strength.loc["a", "a"] == pytest.approx(values[0].mean())
    with pytest.raises(ValueError, match=r"output must be one of \['low', 'mid', 'high'\]"):
        EffectsDisplay.from_decomposition(parts, output="top")


def test_from_an_estimator_it_is_purified():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 4)), rng.normal(size=40)
    columns = ModalityColumnTransformer(
        [("a", StandardScaler(), [0, 1]), ("b", StandardScaler(), [2, 3])]
    )
    model = MRORegressor(optimization="joint", max_epochs=5, random_state=0)
    pipe = make_pipeline(columns, model).fit(X, y)
    display = EffectsDisplay.from_estimator(pipe, X)
    pure = pipe[-1].decompose(pipe[0].transform(X), purify=True).center()
    assert display.strength.loc["a", "b"] == pytest.approx(np.abs(pure["a × b"]).mean())
    plain = EffectsDisplay.from_estimator(pipe, X, purify=False)
    assert plain.strength.loc["a", "b"] != pytest.approx(display.strength.loc["a", "b"])
    other = EffectsDisplay.from_estimator(pipe, X[:5], background=X)
    assert other.strength.shape == (2, 2)
    with pytest.raises(TypeError, match="Ridge has no decompose method; pass what modality_effe"):
        EffectsDisplay.from_estimator(Ridge(), X)


def test_given_axes_are_drawn_on_and_everything_fits():
    _, ax = plt.subplots()
    names = [f"a_modality_with_a_rather_long_name_{i}" for i in range(10)]
    display = EffectsDisplay.from_decomposition(make_parts(names, 2), ax=ax)
    assert display.ax_ is ax
    figure = EffectsDisplay(display.strength, label="strength").plot().figure_
    figure.canvas.draw()
    box = figure.get_tightbbox()
    assert box.width <= figure.get_figwidth() * 1.01
    assert box.height <= figure.get_figheight() * 1.01


def test_numbers_stand_out_from_their_cells():
    strength = pd.DataFrame([[0.01, 0.3], [0.3, 1.0]], ["a", "b"], ["a", "b"])
    ax = EffectsDisplay(strength).plot().ax_
    assert [text.get_color() for text in ax.texts] == ["black", "black", "white"]


@pytest.mark.parametrize("n_modalities", [2, 5, 10])
def test_no_label_is_clipped_or_overlaps(n_modalities):
    names = [f"physiology_{i}_recorded_in_session_{i}_$raw$" for i in range(n_modalities)]
    display = EffectsDisplay.from_decomposition(make_parts(names, min(3, n_modalities)))
    display.figure_.canvas.draw()
    figure, renderer = display.figure_.bbox, display.figure_.canvas.get_renderer()
    for ax in display.figure_.axes:
        box = ax.get_tightbbox(renderer)
        assert box.x0 >= figure.x0 - 1
        assert box.x1 <= figure.x1 + 1
        assert box.y0 >= figure.y0 - 1
        assert box.y1 <= figure.y1 + 1
    boxes = [label.get_window_extent(renderer) for label in display.ax_.get_yticklabels()]
    assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert len(set(labels)) == n_modalities


def test_larger_sets_are_summed_before_their_size_is_taken():
    terms = [Term(["a"]), Term(["a", "b", "c"]), Term(["a", "b", "d"])]
    parts = Decomposition(
        [[[1.0], [2.0], [-1.5]], [[-1.0], [-2.0], [1.5]]], [0.0], terms, "identity", ["y"]
    )
    assert EffectsDisplay.from_decomposition(parts).higher == pytest.approx(0.5)


def test_a_single_sample_is_taken_as_it_is():
    parts = make_parts()[:1]
    strength = EffectsDisplay.from_decomposition(parts).strength
    assert strength.loc["a", "b"] == pytest.approx(np.abs(parts["a × b"]).item())


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="has no samples to average"):
        EffectsDisplay.from_decomposition(make_parts()[:0])
    with pytest.raises(ValueError, match="strength must be a DataFrame with the modalities"):
        EffectsDisplay(pd.DataFrame(np.eye(2), index=["a", "b"])).plot()
    names = ["a", "b"]
    for values in ([[1.0, 2.0], [0.0, 1.0]], [[1.0, -2.0], [-2.0, 1.0]]):
        with pytest.raises(ValueError, match="must be symmetric and not negative"):
            EffectsDisplay(pd.DataFrame(values, names, names)).plot()
    zero = pd.DataFrame(np.zeros((2, 2)), index=["a", "b"], columns=["a", "b"])
    assert cells(EffectsDisplay(zero).plot().ax_)[0, 0] == "0.00"
