"""RoutingDisplay: the right numbers in the right cells, marks that are true, labels that fit."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline

from sklearn_mmfuse import (
    ModalityColumnTransformer,
    MROClassifier,
    MultimodalData,
    RoutingClassifier,
    RoutingCoefficients,
    RoutingRegressor,
)
from sklearn_mmfuse._terms import interaction_terms
from sklearn_mmfuse.inspection import RoutingDisplay
from sklearn_mmfuse.inspection._routing_display import _digits

QUICK = {"max_epochs": 3, "random_state": 0, "hidden_layer_sizes": (5,), "concept_dim": 4}


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def make_routed(n=60, names=("a", "t"), concepts=("sad", "happy"), seed=0):
    rng = np.random.default_rng(seed)
    terms = interaction_terms(list(names), 2)
    r = rng.dirichlet(np.r_[8, np.ones(len(concepts) - 1)], size=(n, len(terms)))
    return RoutingCoefficients(rng.uniform(size=(n, len(terms))), r, terms, concepts)


def cells(ax):
    return {tuple(int(x) for x in t.get_position()[::-1]): t.get_text() for t in ax.texts}


def make_data(n=60):
    rng = np.random.default_rng(0)
    X = MultimodalData(a=rng.normal(size=(n, 2)), b=rng.normal(size=(n, 3)))
    return X, X["a"][:, 0] + X["b"][:, 0]


@pytest.mark.parametrize("quantity", ["r", "pr"])
def test_the_global_picture_is_the_summary(quantity):
    routed, person = make_routed(), np.arange(60) // 4
    display = RoutingDisplay.from_coefficients(routed, quantity=quantity, groups=person)
    table = routed.summary(groups=person).loc[quantity]
    found = cells(display.ax_)
    assert len(found) == 6
    for row, term in enumerate(routed.terms):
        for column, concept in enumerate(routed.concepts):
            mean, low, high, excludes = table.loc[str(term), concept]
            text = found[row, column]
            assert text.startswith(f"{mean:.2f}")
            assert text.endswith(f"{low:.2f} to {high:.2f}")
            uniform = (routed.p[:, row].mean() if quantity == "pr" else 1.0) / 2
            assert ("▲" in text) == (excludes and mean > uniform)
            assert ("▽" in text) == (excludes and mean < uniform)
    expected = "1 / 2" if quantity == "r" else "mean p / J"
    assert expected in display.ax_.get_title(loc="left")
    assert "over groups" in display.ax_.get_title(loc="left")


def test_activations_are_compared_with_nothing():
    display = RoutingDisplay.from_coefficients(make_routed(), quantity="p")
    assert set(cells(display.ax_)) == {(0, 0), (1, 0), (2, 0)}
    assert not any(mark in text for text in cells(display.ax_).values() for mark in "▲▽")
    assert display.ax_.get_title(loc="left") == ""


def test_the_local_picture_shows_the_concept_of_each_sample():
    routed = make_routed()
    concepts = np.array(["sad", "happy"] * 30)
    display = RoutingDisplay.from_coefficients(
        routed, concepts=concepts, kind="local", samples=[5, 8]
    )
    for column, (sample, concept) in enumerate(((5, 1), (8, 0))):
        for row in range(3):
            expected = f"{routed.pr[sample, row, concept]:.2f}"
            assert cells(display.ax_)[row, column] == expected
    labels = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert labels == ["5\nhappy", "8\nsad"]
    same = RoutingDisplay(routed).plot(kind="local", concept="happy", quantity="r")
    assert len(cells(same.ax_)) == 8 * 3
    assert cells(same.ax_)[2, 7] == f"{routed.r[7, 2, 1]:.2f}"


def test_the_predicted_class_is_the_default_concept():
    X, y = make_data()
    for target in (y > 0, np.digitize(y, [-1, 1]), np.column_stack([y > 0, y > 1])):
        model = RoutingClassifier(**QUICK).fit(X, np.asarray(target, dtype=int))
        display = RoutingDisplay.from_estimator(model, X, kind="local")
        raw = model.decision_function(X)
        chosen = (raw > 0).astype(int) if raw.ndim == 1 else raw.argmax(axis=1)
        names = np.array(model.routing_coefficients(X).concepts)[chosen]
        assert display.concepts.tolist() == names.tolist()


def test_pipelines_and_absent_modalities():
    X, y = make_data()
    pipe = make_pipeline(
        ModalityColumnTransformer([("a", "passthrough", [0, 1]), ("b", "passthrough", [2, 3, 4])]),
        RoutingClassifier(**QUICK),
    )
    data = X.to_numpy()
    display = RoutingDisplay.from_estimator(pipe.fit(data, y > 0), data)
    assert len(cells(display.ax_)) == 6
    model = RoutingClassifier(missing="drop", **QUICK).fit(X, y > 0)
    local = RoutingDisplay.from_estimator(model, {"a": X["a"]}, kind="local", samples=[0, 1])
    assert set(cells(local.ax_)) == {(0, 0), (0, 1)}
    assert len(local.ax_.patches) == 4  # hatched


@pytest.mark.parametrize("n_modalities", [2, 5])
@pytest.mark.parametrize("kind", ["global", "local"])
def test_no_label_is_clipped(kind, n_modalities):
    names = [f"questionnaire_of_wave_{i}" for i in range(n_modalities)]
    concepts = [f"an emotion with a long name {i}" for i in range(7)]
    routed = make_routed(names=names, concepts=concepts)
    display = RoutingDisplay(routed, concepts=np.array(concepts)[np.arange(60) % 7]).plot(kind=kind)
    display.figure_.canvas.draw()
    renderer, figure = display.figure_.canvas.get_renderer(), display.figure_.bbox
    labels = [*display.ax_.get_xticklabels(), *display.ax_.get_yticklabels()]
    for label in labels:
        box = label.get_window_extent(renderer)
        assert box.x0 >= figure.x0 - 1
        assert box.y0 >= figure.y0 - 1
        assert box.x1 <= figure.x1 + 1


def test_samples_may_be_a_mask_or_one_and_concepts_numbers():
    routed = make_routed(concepts=("0", "1"))
    mask = np.arange(60) > 57
    display = RoutingDisplay(routed, concepts=np.ones(60)).plot(kind="local", samples=mask)
    assert cells(display.ax_)[0, 1] == f"{routed.pr[59, 0, 1]:.2f}"
    assert len(cells(RoutingDisplay(routed).plot(kind="local", samples=3, concept=0).ax_)) == 3


def test_weights_of_samples_and_levels_are_those_of_the_table():
    routed, weight = make_routed(), np.arange(60.0)
    display = RoutingDisplay(routed).plot(sample_weight=weight, confidence=0.995)
    mean = routed.summary(sample_weight=weight).loc[("r", "a", "sad"), "mean"]
    assert cells(display.ax_)[0, 0].startswith(f"{mean:.2f}")
    assert "99.5% intervals" in display.ax_.get_title(loc="left")
    nothing = RoutingCoefficients(routed.p * np.nan, routed.r * np.nan, routed.terms, ["0", "1"])
    assert not cells(RoutingDisplay(nothing).plot().ax_)


def test_given_axes_are_drawn_on():
    _, ax = plt.subplots()
    assert RoutingDisplay.from_coefficients(make_routed(), ax=ax).ax_ is ax


def test_what_cannot_be_drawn_is_refused():
    routed = make_routed()
    for params, message in (
        ({"kind": "bars"}, r"kind must be one of \['global', 'local'\]; got 'bars'"),
        ({"quantity": "q"}, "quantity must be one of"),
        ({"kind": "local"}, r"Say which concept to draw, by concept=, one of \['sad', 'happy'\]"),
        ({"kind": "local", "concept": "bored"}, "one of .*; got 'bored'"),
        ({"kind": "local", "concept": "sad", "samples": [60]}, "rows between 0 and 59"),
        ({"groups": ["a"] * 59}, "each of the 60 samples"),
        ({"kind": "local", "concept": "sad", "samples": [1.5]}, "rows between 0 and 59"),
        ({"kind": "local", "concept": "sad", "samples": []}, "rows between 0 and 59"),
        ({"samples": [1], "concept": "sad"}, "kind='global' does not look at samples and concept"),
        ({"kind": "local", "groups": [1]}, "kind='local' does not look at groups"),
    ):
        with pytest.raises(ValueError, match=message):
            RoutingDisplay(routed).plot(**params)
    with pytest.raises(ValueError, match=r"each of the 60 samples; got shape \(2,\)"):
        RoutingDisplay(routed, concepts=["sad", "happy"]).plot(kind="local")
    with pytest.raises(ValueError, match="no samples"):
        RoutingDisplay(routed[[]]).plot()
    X, y = make_data()
    with pytest.raises(TypeError, match="MROClassifier routes nothing"):
        RoutingDisplay.from_estimator(MROClassifier(max_epochs=1).fit(X, y > 0), X)
    with pytest.raises(ValueError, match="Say which concept"):
        RoutingDisplay.from_estimator(RoutingRegressor(**QUICK).fit(X, y), X, kind="local")


@pytest.mark.parametrize(
    ("widths", "digits"), [([0.5, 0.3], 2), ([0.004, 0.003], 3), ([1e-9], 4), ([0.0], 2)]
)
def test_as_many_decimals_as_tell_the_ends_of_intervals_apart(widths, digits):
    assert _digits(pd.Series(widths)) == digits
    assert _digits(pd.Series([np.nan])) == 2
