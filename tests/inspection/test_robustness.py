"""Scores for every set of modalities that may be left."""

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import accuracy_score, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mmfuse import ModalityColumnTransformer, MROClassifier, SMURFRegressor
from sklearn_mmfuse.datasets import make_redundant
from sklearn_mmfuse.inspection import RobustnessDisplay, modality_robustness

TOY = make_redundant(300, random_state=0)


@pytest.fixture(scope="module")
def model():
    return SMURFRegressor(hidden_layer_sizes=(), learning_rate=0.02, random_state=0).fit(
        TOY.data, TOY.target
    )


@pytest.fixture(autouse=True)
def _figures_closed():
    yield
    plt.close("all")


def test_every_set_is_scored_with_what_it_has(model):
    table = modality_robustness(model, TOY.data, TOY.target)
    assert len(table) == 7
    assert table.loc["A + B + C", "loss"] == 0
    expected = r2_score(TOY.target, model.predict(TOY.data, available=["A", "C"]))
    assert table.loc["A + C", "score"] == pytest.approx(expected)
    assert table.loc["A + C", "n_modalities"] == 2
    assert (table["loss"].iloc[1:] > 0).all()
    some = modality_robustness(
        model, TOY.data, TOY.target, sets=["B", ["A", "C"]], scoring="neg_mean_absolute_error"
    )
    assert some.index.tolist() == ["B", "A + C"]
    assert model.decompose(TOY.data).absent is None  # the model itself is as before


def test_a_pipeline_and_a_classifier():
    X, y = TOY.data.to_numpy(), TOY.target > 0
    columns = ModalityColumnTransformer(
        [("a", StandardScaler(), slice(0, 3)), ("b", StandardScaler(), slice(3, 9))]
    )
    pipe = make_pipeline(columns, MROClassifier(max_epochs=10, random_state=0)).fit(X, y)
    table = modality_robustness(pipe, X, y, scoring="roc_auc")
    assert table.index.tolist() == ["a + b", "a", "b"]
    accuracy = modality_robustness(pipe, X, y, sets=[["a"]])
    found = pipe[-1].predict(pipe[0].transform(X), available=["a"])
    assert accuracy["score"].iloc[0] == pytest.approx(accuracy_score(y, found))


def test_rows_that_have_none_of_a_set_are_predicted_by_the_bias(model):
    data = {name: TOY.data[name].copy() for name in "ABC"}
    data["A"][:100] = np.nan
    table = modality_robustness(model, data, TOY.target, sets=["A"])  # without a warning
    only_a = {"A": data["A"][100:]}
    predicted = np.concatenate(
        [np.full(100, model.decompose(only_a).bias[0]), model.predict(only_a)]
    )
    assert table.loc["A", "score"] == pytest.approx(r2_score(TOY.target, predicted))


def test_bars_are_sorted_by_size_and_score(model):
    display = RobustnessDisplay.from_estimator(model, TOY.data, TOY.target, scoring="r2")
    widths = [bar.get_width() for bar in display.ax_.patches]
    table = display.scores.sort_values(["n_modalities", "score"], ascending=False)
    np.testing.assert_allclose(widths, table["score"])
    assert display.ax_.get_xlabel() == "r2 with these modalities alone"
    _, ax = plt.subplots()
    assert RobustnessDisplay(display.scores).plot(ax=ax).ax_ is ax


def test_bad_input_gets_one_clear_sentence(model):
    with pytest.raises(TypeError, match="Ridge cannot predict without a modality"):
        modality_robustness(Ridge(), TOY.data, TOY.target)
    for sets in ([["D"]], [[]]):
        with pytest.raises(ValueError, match=r"sets must hold non-empty sets out of \['A', 'B'"):
            modality_robustness(model, TOY.data, TOY.target, sets=sets)
    with pytest.raises(ValueError, match="scores must be a DataFrame"):
        RobustnessDisplay(pd.DataFrame()).plot()
