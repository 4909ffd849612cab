"""What the displays draw adds up, fits and is labeled."""

import sys

import matplotlib as mpl

mpl.use("Agg")

import itertools
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_mmfuse import Decomposition
from sklearn_mmfuse._terms import Term, interaction_terms
from sklearn_mmfuse.inspection import DecompositionDisplay, RelevanceDisplay
from sklearn_mmfuse.inspection._decomposition_drawing import swarm
from sklearn_mmfuse.inspection._style import short_labels, shorten

LINKS = {"identity": ["y"], "logit": ["yes"], "softmax": ["low", "mid", "high"]}


def make_parts(link="identity", n_modalities=3, max_order=2, n_samples=6, names=None):
    rng = np.random.default_rng(0)
    names = names or [f"m{i}" for i in range(n_modalities)]
    terms = interaction_terms(names, max_order)
    outputs = LINKS[link]
    values = rng.normal(size=(n_samples, len(terms), len(outputs)))
    return Decomposition(values, rng.normal(size=len(outputs)), terms, link, outputs)


@pytest.fixture(autouse=True)
def _figures_closed():
    yield
    plt.close("all")


class FakeModel(BaseEstimator):
    """As much of an estimator as the displays may use."""

    def __init__(self, parts=None):
        self.parts = parts

    def fit(self, X, y=None):
        self.terms_ = self.parts.terms
        size = np.abs(self.parts.values).mean(axis=(0, 2))
        self.relevance_scores_ = pd.Series(size, [str(term) for term in self.terms_])
        return self

    def decompose(self, X):
        self.seen = X
        return self.parts


def y_labels(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def legend_texts(legend):
    return [text.get_text() for text in legend.get_texts()]


def heights(ax):
    """Return the bars' heights, `(n_samples, n_terms)`."""
    return np.array([[bar.get_height() for bar in bars] for bars in ax.containers]).T


# The waterfall -----------------------------------------------------------------------------------


@pytest.mark.parametrize("max_terms", [1, 3, 12])
@pytest.mark.parametrize("link", LINKS)
def test_waterfall_leads_from_the_bias_to_the_prediction(link, max_terms):
    parts = make_parts(link)
    ax = DecompositionDisplay(parts).plot(sample=4, max_terms=max_terms).ax_
    column = int(parts.sum()[4].argmax())
    at = parts.bias[column]
    for bar in ax.patches:
        start, end = bar.get_x(), bar.get_x() + bar.get_width()
        assert start == pytest.approx(at)
        at = end
    assert at == pytest.approx(parts.sum()[4, column])
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [parts.bias[column], at])
    low, high = ax.get_xlim()
    assert all(low < bar.get_x() < high for bar in ax.patches)


def test_waterfall_sorts_terms_by_size_and_writes_signed_values():
    parts = Decomposition(
        [[[0.5], [-2.0], [1.0]]], [10.0], interaction_terms(["a", "b"], 2), "identity", ["y"]
    )
    ax = DecompositionDisplay(parts).plot().ax_  # one sample: a waterfall
    assert y_labels(ax) == ["bias", "b", "a × b", "a", "raw prediction"]
    texts = [text.get_text() for text in ax.texts]
    assert texts == ["10.00", "−2.00", "+1.00", "+0.50", "9.50"]
    assert ax.get_title() == "Sample 0: y = 9.50"


@pytest.mark.parametrize("scale", [0.0, 1e-9, 1e-3, 1e9])
def test_waterfall_of_extreme_contributions(scale):
    parts = make_parts()
    parts = Decomposition(parts.values * scale, parts.bias, parts.terms, parts.link, ["y"])
    display = DecompositionDisplay(parts).plot(sample=0)
    display.figure_.canvas.draw()
    assert all(len(text.get_text()) < 12 for text in display.ax_.texts)


def test_many_terms_are_lumped_but_never_just_one():
    parts = make_parts(n_modalities=10)
    assert len(parts.terms) == 55
    ax = DecompositionDisplay(parts).plot(sample=0, max_terms=12).ax_
    assert y_labels(ax)[-2:] == ["43 other terms", "raw prediction"]
    assert len(ax.patches) == 13
    ax = DecompositionDisplay(parts).plot(sample=0, max_terms=54).ax_
    assert len(ax.patches) == 55
    assert not any("other" in label for label in y_labels(ax))


def test_waterfall_explains_the_predicted_class_or_the_one_named():
    parts = make_parts("softmax")
    for row, column in enumerate(parts.sum().argmax(axis=1)):
        ax = DecompositionDisplay(parts).plot(sample=row).ax_
        assert ax.get_xlabel() == f"logit of {parts.outputs[column]}"
        plt.close(ax.figure)
    ax = DecompositionDisplay(parts).plot(sample=0, output="mid").ax_
    assert ax.get_xlabel() == "logit of mid"
    assert ax.get_title() == f"Sample 0: P(mid) = {parts.predict()[0, 1]:.2f}"
    assert ax.lines[0].get_xdata()[-1] == pytest.approx(parts.sum()[0, 1])


def test_the_scale_is_named():
    ax = DecompositionDisplay(make_parts("identity")).plot(sample=1).ax_
    assert ax.get_xlabel() == "contribution to y"
    parts = make_parts("logit")
    ax = DecompositionDisplay(parts).plot(sample=1).ax_
    assert ax.get_xlabel() == "log-odds of yes"
    assert ax.get_title() == f"Sample 1: P(yes) = {parts.predict()[1, 1]:.2f}"
    assert DecompositionDisplay(parts).plot().ax_.get_ylabel() == "log-odds of yes"


def test_a_class_may_be_given_as_the_number_that_it_is():
    parts = make_parts("softmax")
    parts = Decomposition(parts.values, parts.bias, parts.terms, "softmax", [0, 1, 2])
    ax = DecompositionDisplay(parts).plot(sample=0, output=2).ax_
    assert ax.get_xlabel() == "logit of 2"


# The bars ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_terms", [2, 12])
@pytest.mark.parametrize("link", LINKS)
def test_bars_add_up_to_the_sorted_predictions(link, max_terms):
    parts = make_parts(link)
    ax = DecompositionDisplay(parts).plot(output=LINKS[link][-1], max_terms=max_terms).ax_
    expected = np.sort(parts.sum()[:, -1])
    np.testing.assert_allclose(heights(ax).sum(axis=1) + parts.bias[-1], expected)
    drawn = next(line for line in ax.lines if line.get_label() == "raw prediction")
    np.testing.assert_allclose(drawn.get_ydata(), expected)
    rows = [int(label.get_text()) for label in ax.get_xticklabels()]
    np.testing.assert_array_equal(rows, np.argsort(parts.sum()[:, -1]))


def test_stacked_bars_do_not_overlap():
    ax = DecompositionDisplay(make_parts()).plot().ax_
    for sample in zip(*ax.containers, strict=True):
        ends = [sorted((bar.get_y(), bar.get_y() + bar.get_height())) for bar in sample]
        ends.sort()
        for (_, end), (start, _) in itertools.pairwise(ends):
            assert start == pytest.approx(end)


def test_of_many_samples_an_even_choice_is_shown():
    parts = make_parts(n_samples=301)
    display = DecompositionDisplay.from_decomposition(parts, max_samples=7)
    assert display.ax_.get_xlabel() == "7 of 301 samples, by prediction"
    shown = heights(display.ax_).sum(axis=1) + parts.bias[0]
    np.testing.assert_allclose(shown, np.sort(parts.sum()[:, 0])[::50])
    display.plot(max_samples=100)
    assert not len(display.ax_.get_xticks())  # no room for row labels


def test_bars_name_every_term_distinctly():
    display = DecompositionDisplay(make_parts(n_modalities=10)).plot()
    texts = legend_texts(display.ax_.get_legend())
    assert texts[-1] == "43 other terms"
    assert len(set(texts)) == len(texts) == 2 + 12 + 1  # the bias and the prediction come first
    looks = {(bars[0].get_facecolor(), bars[0].get_hatch()) for bars in display.ax_.containers}
    assert len(looks) == 13


# Relevance ---------------------------------------------------------------------------------------


def test_relevance_of_a_decomposition_is_the_mean_absolute_centered_contribution():
    parts = make_parts()
    display = RelevanceDisplay.from_decomposition(parts)
    size = pd.Series(np.abs(parts.center().values).mean(axis=0)[:, 0], map(str, parts.terms))
    size = size.sort_values(ascending=False)
    assert y_labels(display.ax_) == list(size.index)
    np.testing.assert_allclose([bar.get_width() for bar in display.ax_.patches], size)
    assert display.ax_.get_xlabel() == "mean |contribution to y|"
    assert display.ax_.yaxis_inverted()


def test_relevance_is_colored_by_order():
    relevance = pd.Series({"a": 0.5, "a × b": 0.3, "b": 0.2, "a × b × c": 0.1})
    display = RelevanceDisplay(relevance).plot()
    colors = [bar.get_facecolor() for bar in display.ax_.patches]
    assert colors[0] == colors[2]
    assert len(set(colors)) == 3
    (legend,) = display.figure_.legends
    assert legend_texts(legend) == ["unimodal", "two modalities", "three modalities"]


def test_the_order_is_that_of_the_term_where_it_is_known():
    terms = [Term(["a"], "redundant", ["b", "c"]), Term(["c"])]
    parts = Decomposition(np.arange(8.0).reshape(4, 2, 1), [0.0], terms, "identity", ["y"])
    model = FakeModel(parts).fit(None)
    search = SimpleNamespace(best_estimator_=model)
    for display in (
        RelevanceDisplay.from_decomposition(parts),
        RelevanceDisplay.from_estimator(model),
        RelevanceDisplay.from_estimator(search),
    ):
        assert legend_texts(display.figure_.legends[0]) == ["unimodal"]


def test_relevance_has_a_panel_per_output():
    parts = make_parts("softmax")
    display = RelevanceDisplay.from_decomposition(parts)
    assert [ax.get_title() for ax in display.ax_] == ["low", "mid", "high"]
    expected = np.abs(parts.center().values).mean(axis=0)
    for panel, ax in enumerate(display.ax_):
        widths = [bar.get_width() for bar in ax.patches]
        np.testing.assert_allclose(np.sort(widths), np.sort(expected[:, panel]))
    one = RelevanceDisplay.from_decomposition(parts, output="mid")
    assert one.ax_.get_title() == "mid"
    np.testing.assert_allclose(
        [bar.get_width() for bar in one.ax_.patches], np.sort(expected[:, 1])[::-1]
    )


def test_relevance_lumps_what_is_small():
    parts = make_parts(n_modalities=10)
    display = RelevanceDisplay.from_decomposition(parts, max_terms=10)
    assert y_labels(display.ax_)[-1] == "45 other terms, summed"
    assert sum(bar.get_width() for bar in display.ax_.patches) == pytest.approx(
        display.relevance.sum()
    )


def test_intervals_are_drawn_on_their_bars():
    relevance = pd.Series({"a": 0.1, "b": 0.5, "a × b": 0.3})
    interval = np.array([[0.0, 0.2], [0.4, 0.9], [np.nan, np.nan]])
    ax = RelevanceDisplay(relevance, interval=interval).plot().ax_
    drawn = {
        int(segment[0, 1]): tuple(segment[:, 0])
        for collection in ax.collections
        for segment in collection.get_segments()
    }
    assert drawn == {0: pytest.approx((0.4, 0.9)), 2: pytest.approx((0.0, 0.2))}


# Both --------------------------------------------------------------------------------------------


def test_displays_of_an_estimator_and_of_a_pipeline():
    parts = make_parts()
    model = FakeModel(parts).fit(None)
    display = DecompositionDisplay.from_estimator(model, "X", sample=2)
    assert display.decomposition is parts
    assert model.seen == "X"
    pipe = make_pipeline(FunctionTransformer(str.lower), FakeModel(parts))
    pipe.fit("X")
    DecompositionDisplay.from_estimator(pipe, "X")
    assert pipe[-1].seen == "x"
    assert RelevanceDisplay.from_estimator(pipe).ax_.get_xlabel() == "relevance"
    with pytest.raises(TypeError, match="FunctionTransformer has no relevance scores; draw the ef"):
        RelevanceDisplay.from_estimator(FunctionTransformer().fit("X"))


# The beeswarm ------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_terms", [2, 12])
def test_every_dot_is_at_its_contribution(max_terms):
    parts = make_parts(n_samples=30)
    ax = DecompositionDisplay(parts).plot(kind="beeswarm", max_terms=max_terms).ax_
    order = np.argsort(-np.abs(parts.values[:, :, 0]).mean(axis=0), kind="stable")
    raw = parts.sum()[:, 0]
    for row, dots in enumerate(ax.collections[:2]):
        x, y = dots.get_offsets().T
        np.testing.assert_allclose(x, parts.values[np.argsort(raw), order[row], 0])
        np.testing.assert_array_equal(dots.get_array(), np.sort(raw))
        assert (np.abs(y - row) < 0.5).all()
    if max_terms == 2:
        assert y_labels(ax)[-1] == "4 other terms"
        rest = parts.values[np.argsort(raw)][:, order[2:], 0].sum(axis=1)
        np.testing.assert_allclose(ax.collections[2].get_offsets()[:, 0], rest)
    assert ax.figure.axes[1].get_ylabel() == "raw prediction"


def absent_parts(n_samples=30):
    parts = make_parts(n_samples=n_samples)
    absent = np.random.default_rng(1).random(parts.values.shape[:2]) < 0.3
    absent[0] = [True, False, True, False, True, True]
    values = np.where(absent[:, :, np.newaxis], 0.0, parts.values)
    return Decomposition(
        values, parts.biases, parts.terms, parts.link, parts.outputs, absent=absent
    )


def test_what_is_absent_has_no_dot():
    parts = absent_parts()
    ax = DecompositionDisplay(parts).plot(kind="beeswarm").ax_
    order = np.argsort(-np.abs(parts.values[:, :, 0]).mean(axis=0), kind="stable")
    for term, dots in zip(order, ax.collections, strict=False):
        x = np.ma.compressed(np.ma.masked_invalid(dots.get_offsets()[:, 0]))
        there = parts.values[~parts.absent[:, term], term, 0]
        np.testing.assert_allclose(np.sort(x), np.sort(there))


def test_what_is_absent_is_not_written_as_zero():
    parts = absent_parts()
    ax = DecompositionDisplay(parts).plot(sample=0).ax_
    texts = [text.get_text() for text in ax.texts]
    assert texts.count("absent") == 4
    assert y_labels(ax)[1:3] == [
        str(parts.terms[i]) for i in np.argsort(-np.abs(parts.values[0, :, 0]))[:2]
    ]
    lumped = DecompositionDisplay(parts).plot(sample=0, max_terms=2).ax_
    assert [text.get_text() for text in lumped.texts][3] == "absent"
    some = DecompositionDisplay(parts).plot(sample=0, max_terms=1).ax_  # one of them is there
    assert "absent" not in [text.get_text() for text in some.texts]


def test_dots_stack_instead_of_covering_each_other():
    heights = swarm(np.array([0.1, 0.1, 5.0, 0.12, 0.11]), diameter=0.5, step=0.1)
    np.testing.assert_allclose(heights, [0, 0.1, 0, 0.2, -0.1])
    assert swarm(np.zeros(0), 1.0, 0.1).shape == (0,)
    x = np.random.default_rng(0).normal(size=300)
    y = swarm(x, diameter=0.1, step=0.1)
    distance = np.hypot(np.subtract.outer(x, x), np.subtract.outer(y, y))
    assert distance[np.triu_indices(300, 1)].min() > 0.0999


@pytest.mark.parametrize("n_samples", [30, 150])
def test_dots_on_paper_do_not_overlap_while_there_is_room(n_samples):
    ax = DecompositionDisplay(make_parts(n_samples=n_samples)).plot(kind="beeswarm").ax_
    ax.figure.canvas.draw()
    for dots in ax.collections[:-1]:
        points = ax.transData.transform(dots.get_offsets()) / ax.figure.dpi * 72
        distance = np.hypot(*(points[:, np.newaxis] - points).transpose(2, 0, 1))
        nearest = distance[np.triu_indices(n_samples, 1)].min()
        assert nearest > 0.75 * np.sqrt(dots.get_sizes()[0])  # the colorbar takes some width


def test_of_many_samples_some_dots_are_drawn():
    parts = make_parts(n_samples=1000)
    display = DecompositionDisplay.from_decomposition(parts, kind="beeswarm")
    assert len(display.ax_.collections[0].get_offsets()) == 400
    assert display.figure_.axes[1].get_ylabel() == "raw prediction, 400 of 1000 samples"
    few = DecompositionDisplay(parts).plot(kind="beeswarm", max_samples=7)
    assert len(few.ax_.collections[0].get_offsets()) == 7
    with pytest.raises(ValueError, match='kind="beeswarm" draws many'):
        display.plot(kind="beeswarm", sample=1)


# Standard errors and several models --------------------------------------------------------------


def test_a_waterfall_shows_the_intervals_there_are():
    exact = make_parts()
    parts = Decomposition(
        exact.values, exact.bias, exact.terms, "identity", ["y"], np.full((6, 6, 1), 0.5)
    )
    ax = DecompositionDisplay(parts).plot(sample=1, max_terms=3).ax_
    bars = ax.containers[-1].lines[2][0].get_segments()
    widths = [segment[1, 0] - segment[0, 0] for segment in bars]
    np.testing.assert_allclose(widths, [2 * 1.96 * 0.5] * 3 + [0], rtol=1e-4)  # none of the rest
    ends = [bar.get_x() + bar.get_width() for bar in ax.patches]
    np.testing.assert_allclose([segment.mean(axis=0)[0] for segment in bars], ends)
    low, high = ax.get_xlim()
    assert all(low < x < high for segment in bars for x in segment[:, 0])


def test_rows_of_several_models_start_at_their_own_bias():
    one, two = make_parts(), make_parts()
    two = Decomposition(two.values, two.bias + 5, two.terms, two.link, two.outputs)
    both = Decomposition.concat([one, two])
    ax = DecompositionDisplay(both).plot(sample=7).ax_
    assert ax.lines[0].get_xdata()[0] == pytest.approx(two.bias[0])
    display = DecompositionDisplay(both).plot()
    raw = both.sum()[:, 0]
    order = np.argsort(raw, kind="stable")
    bias = [segment[0, 1] for segment in display.ax_.collections[0].get_segments()]
    np.testing.assert_allclose(bias, both.bias[order, 0])
    tops = heights(display.ax_).sum(axis=1) + bias
    np.testing.assert_allclose(tops, raw[order])


def test_relevance_has_bootstrap_intervals_over_rows_or_persons():
    parts = make_parts(n_samples=40)
    alike = parts[np.repeat(np.arange(10), 4)]
    by_row = RelevanceDisplay.from_decomposition(alike)
    size = np.abs(alike.center().values).mean(axis=0)
    assert (by_row.interval[..., 0] < size).all()
    assert (size < by_row.interval[..., 1]).all()
    groups = np.repeat(np.arange(10), 4)
    by_person = RelevanceDisplay.from_decomposition(alike, groups=groups)
    assert (
        np.ptp(by_person.interval, axis=-1).mean() > 1.5 * np.ptp(by_row.interval, axis=-1).mean()
    )
    again = RelevanceDisplay.from_decomposition(alike)
    np.testing.assert_array_equal(by_row.interval, again.interval)
    assert RelevanceDisplay.from_decomposition(parts, interval=None).interval is None
    assert RelevanceDisplay.from_decomposition(parts[[0]]).interval is None
    with pytest.raises(ValueError, match="interval must be 'bootstrap', None or an array"):
        RelevanceDisplay.from_decomposition(parts, interval="normal")


def test_bootstrap_intervals_of_skewed_contributions_cover_the_truth():
    hits = []
    for seed in range(100):
        rare = (np.random.default_rng(seed).random(200) < 0.1).astype(float)
        parts = Decomposition(rare[:, None, None], [0.0], [Term(["a"])], "identity", ["y"])
        display = RelevanceDisplay.from_decomposition(parts, n_bootstrap=200, random_state=seed)
        low, high = display.interval[0, 0]
        hits.append(low <= 2 * 0.1 * 0.9 <= high)
        plt.close(display.figure_)
    assert np.mean(hits) > 0.85  # 0.63 around a fixed mean
    with pytest.raises(ValueError, match="n_bootstrap must be an integer of at least 1; got 0"):
        RelevanceDisplay.from_decomposition(parts, n_bootstrap=0)


def test_given_axes_are_drawn_on():
    parts = make_parts("softmax")
    figure, axes = plt.subplots(2, 3)
    display = DecompositionDisplay(parts)
    assert display.plot(sample=0, ax=axes[0, 0]) is display
    assert display.ax_ is axes[0, 0]
    assert display.figure_ is figure
    display.plot(output="low", ax=axes[0, 1])
    relevance = RelevanceDisplay.from_decomposition(parts, ax=axes[1])
    assert list(relevance.ax_) == list(axes[1])
    assert relevance.plot(output="high", ax=axes[0, 2]).ax_ is axes[0, 2]
    assert plt.get_fignums() == [figure.number]


def test_nothing_is_drawn_before_plot():
    DecompositionDisplay(make_parts())
    RelevanceDisplay(pd.Series({"a": 1.0}))
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    ("link", "params", "message"),
    [
        ("softmax", {"sample": 0, "output": "none"}, r"output must be one of \['low', .*'none'"),
        ("identity", {"output": "z"}, r"output must be one of \['y'\]; got 'z'"),
        ("softmax", {}, r"has 3 outputs; choose one by output=, one of \['low'"),
        ("identity", {"sample": 6}, "sample must be between 0 and 5; got 6"),
        ("identity", {"sample": -1}, "sample must be between 0 and 5; got -1"),
        ("identity", {"kind": "pie"}, "kind must be one of .* got 'pie'"),
        ("identity", {"kind": "waterfall"}, "one of the 6 samples: say which by sample="),
        ("identity", {"kind": "bars", "sample": 1}, 'kind="bars" draws many'),
        ("identity", {"max_terms": 0}, "max_terms must be an integer of at least 1; got 0"),
        ("identity", {"max_samples": 2.5}, "max_samples must be an integer .* got 2.5"),
    ],
)
def test_what_cannot_be_drawn_is_refused(link, params, message):
    with pytest.raises(ValueError, match=message):
        DecompositionDisplay(make_parts(link)).plot(**params)
    assert not plt.get_fignums()


def test_targets_in_different_units_are_never_mixed():
    parts = make_parts("softmax")
    parts = Decomposition(parts.values, parts.bias, parts.terms, "identity", ["a", "b", "c"])
    with pytest.raises(ValueError, match="has 3 outputs; choose one"):
        DecompositionDisplay(parts).plot(sample=0)


@pytest.mark.parametrize("display", [DecompositionDisplay, RelevanceDisplay])
def test_no_samples(display):
    with pytest.raises(ValueError, match="has no samples"):
        display.from_decomposition(make_parts(n_samples=0))


@pytest.mark.parametrize(
    ("init", "plot", "message"),
    [
        ({}, {"output": "none"}, "output must be one of"),
        ({}, {"max_terms": -1}, "max_terms must be"),
        ({"interval": np.zeros((2, 2))}, {}, "each of 3 terms and 1 outputs.*\\(2, 2\\)"),
        ({"interval": [[1.0, 0.0]] * 3}, {}, "a lower and an upper end"),
        ({"orders": [1]}, {}, "one number per term"),
    ],
)
def test_relevance_that_cannot_be_drawn_is_refused(init, plot, message):
    relevance = pd.Series({"a": 0.1, "b": 0.5, "a × b": 0.3})
    with pytest.raises(ValueError, match=message):
        RelevanceDisplay(relevance, **init).plot(**plot)
    assert not plt.get_fignums()


def test_relevance_needs_a_table_and_an_axes_per_output():
    with pytest.raises(ValueError, match=r"must be a Series or a DataFrame.*got list"):
        RelevanceDisplay([0.1, 0.2]).plot()
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match="3 outputs, a panel for each; got 1 axes"):
        RelevanceDisplay.from_decomposition(make_parts("softmax"), ax=ax)


def test_what_has_no_decomposition_is_refused():
    with pytest.raises(TypeError, match="FunctionTransformer has no decompose method"):
        DecompositionDisplay.from_estimator(FunctionTransformer(), None)


@pytest.mark.parametrize("draw", ["decomposition", "relevance"])
def test_without_matplotlib_the_extra_is_named(monkeypatch, draw):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    displays = {"decomposition": DecompositionDisplay, "relevance": RelevanceDisplay}
    with pytest.raises(ImportError, match=r'pip install "sklearn-mmfuse\[plot\]"'):
        displays[draw].from_decomposition(make_parts())


def test_long_names_are_shortened_and_stay_distinct():
    assert shorten("text", 10) == "text"
    assert shorten("abcdefghij", 5) == "ab…ij"
    labels = [f"{'x' * 30}{i:02d}{'y' * 30}" for i in range(20)]
    assert len(set(short_labels(labels))) == 20
    assert max(map(len, short_labels(["a" * 50 + " × " + "b" * 50]))) <= 38
    assert short_labels(["$a$", "_b"]) == [r"\$a\$", " _b"]


@pytest.mark.parametrize("n_modalities", [2, 10])
def test_no_label_is_clipped_or_overlaps(n_modalities):
    names = [f"physiology_{i}_recorded_in_session_{i}_$raw$" for i in range(n_modalities)]
    parts = make_parts(n_modalities=n_modalities, names=names)
    for display in (
        DecompositionDisplay(parts).plot(sample=0),
        DecompositionDisplay(parts).plot(),
        RelevanceDisplay.from_decomposition(parts),
    ):
        display.figure_.canvas.draw()
        figure = display.figure_.bbox
        renderer = display.figure_.canvas.get_renderer()
        tight = display.ax_.get_tightbbox(renderer)
        assert tight.x0 >= figure.x0
        assert tight.x1 <= figure.x1
        for labels in (display.ax_.get_yticklabels(), display.ax_.get_xticklabels()):
            boxes = [label.get_window_extent(renderer) for label in labels]
            assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
