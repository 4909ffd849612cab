"""Intervals of what a score owes to modalities, over rows and over persons."""

from dataclasses import replace

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mmfuse import MROClassifier, SMURFRegressor
from sklearn_mmfuse._intervals import bootstrap_weights
from sklearn_mmfuse.inspection import RobustnessDisplay, modality_importance, modality_robustness
from sklearn_mmfuse.inspection._scores import Replicates, Scores

RNG = np.random.default_rng(0)
N = 120
X = RNG.normal(size=(N, 3))
Y = 2 * X[:, 0] + X[:, 1] + RNG.normal(size=N)
COLUMNS = {"text": [0], "audio": [1], "video": [2]}
PERSON = np.arange(N) // 4
BOOTSTRAP = Replicates(n_bootstrap=50, confidence=0.9, groups=None, random_state=0)


class Counting(LogisticRegression):
    """Counts how often it predicts."""

    n_predicted = 0

    def predict(self, X):
        type(self).n_predicted += 1
        return super().predict(X)


@pytest.mark.parametrize("name", ["accuracy", "roc_auc", "neg_log_loss", "r2"])
@pytest.mark.parametrize("groups", [None, PERSON])
def test_a_replicate_is_the_score_of_rows_drawn_again(name, groups):
    regression = name == "r2"
    y = Y if regression else Y > 0
    model = (LinearRegression() if regression else LogisticRegression()).fit(X, y)
    scores = Scores(model, name, y, None, replace(BOOTSTRAP, groups=groups))
    found = scores(model, X)
    scorer = get_scorer(name)
    assert found[0] == pytest.approx(scorer(model, X, y))
    n_units = N if groups is None else len(set(PERSON))
    weights = bootstrap_weights(N, 50, groups=groups, random_state=0)
    per_row = N / n_units  # rows of each that is drawn
    for replicate, weight in zip(found[1:], weights, strict=True):
        counts = np.rint(weight * N).astype(int)
        assert counts.sum() == n_units * per_row
        rows = np.repeat(np.arange(N), counts)
        assert replicate == pytest.approx(scorer(model, X[rows], y[rows]))
    low, high = scores.interval(found)
    np.testing.assert_allclose([low, high], np.quantile(found[1:], [0.05, 0.95]))


def test_a_model_predicts_once_however_many_replicates_there_are():
    model = Counting().fit(X, Y > 0)
    table = modality_importance(
        model, X, Y > 0, modalities=COLUMNS, n_repeats=2, n_bootstrap=30, random_state=0
    )
    assert Counting.n_predicted == 1 + 3 * 2
    assert table.columns.tolist() == ["importance", "std", "low", "high"]


def test_intervals_change_nothing_else_and_hold_the_importance():
    model = LinearRegression().fit(X, Y)
    options = {"modalities": COLUMNS, "n_repeats": 5, "random_state": 3}
    plain = modality_importance(model, X, Y, **options)
    table = modality_importance(model, X, Y, n_bootstrap=200, **options)
    pd.testing.assert_frame_equal(table[["importance", "std"]], plain)
    assert (table["low"] < table["importance"]).all()
    assert (table["importance"] < table["high"]).all()
    assert table.loc["text", "low"] > 0
    assert table.loc["video", "low"] < 0.02
    wide = modality_importance(model, X, Y, n_bootstrap=200, confidence=0.99, **options)
    assert (wide["high"] - wide["low"] > table["high"] - table["low"]).all()


def test_rows_of_a_person_are_drawn_together():
    """Five copies of a row tell no more than one."""
    copies = np.repeat(np.arange(N), 5)
    model = LinearRegression().fit(X, Y)

    def width(rows, **options):
        scores = Scores(model, "r2", Y[rows], None, replace(BOOTSTRAP, n_bootstrap=400, **options))
        low, high = scores.interval(scores(model, X[rows]))
        return high - low

    once = width(np.arange(N))
    assert width(copies, groups=copies) == pytest.approx(once)
    assert width(copies) == pytest.approx(once / np.sqrt(5), rel=0.2)


def test_weights_of_the_score_and_of_a_replicate_multiply():
    weight = RNG.random(N)
    model = LinearRegression().fit(X, Y)
    found = Scores(model, None, Y, weight, BOOTSTRAP)(model, X)
    assert found[0] == pytest.approx(model.score(X, Y, sample_weight=weight))
    first = bootstrap_weights(N, 50, random_state=0)[0]
    assert found[1] == pytest.approx(model.score(X, Y, sample_weight=weight * first))


def test_terms_and_sets_that_are_left():
    model = SMURFRegressor(max_epochs=20, early_stopping=False, random_state=0)
    data = {name: X[:, columns] for name, columns in COLUMNS.items()}
    model.fit(data, Y)
    options = {"n_bootstrap": 100, "groups": PERSON, "random_state": 0}
    terms = modality_importance(model, data, Y, kind="ablation", **options)
    assert terms.columns.tolist() == ["importance", "change", "low", "high"]
    sets = modality_robustness(model, data, Y, **options)
    assert sets.columns.tolist() == ["n_modalities", "score", "loss", "low", "high"]
    assert (sets.iloc[0, -3:] == 0).all()
    one = sets.loc["audio + video"]
    assert 0 < one["low"] < one["loss"] < one["high"]
    plain = modality_robustness(model, data, Y)
    pd.testing.assert_frame_equal(sets[plain.columns.tolist()], plain)


def test_whiskers_are_those_of_the_loss():
    table = pd.DataFrame(
        {"n_modalities": [2, 1], "score": [0.9, 0.6], "loss": [0.0, 0.3]}
        | {"low": [0.0, 0.25], "high": [0.0, 0.4]},
        index=["a + b", "a"],
    )
    ax = RobustnessDisplay(table).plot().ax_
    (whiskers,) = ax.containers[-1].lines[2]
    (one,) = whiskers.get_segments()  # none of the whole, which loses nothing
    np.testing.assert_allclose(one[:, 0], [0.5, 0.65])
    assert "whiskers: of the distance to the line" in ax.get_xlabel()
    model = MROClassifier(max_epochs=2, early_stopping=False, random_state=0)
    data = {name: X[:, columns] for name, columns in COLUMNS.items()}
    drawn = RobustnessDisplay.from_estimator(
        model.fit(data, Y > 0), data, Y > 0, n_bootstrap=20, groups=PERSON, random_state=0
    )
    assert {"low", "high"} <= set(drawn.scores)
    plt.close("all")


def test_own_scores_of_pipelines_and_searches():
    pipe = make_pipeline(StandardScaler(), LogisticRegression())
    search = GridSearchCV(clone(pipe), {"logisticregression__C": [1.0]}).fit(X, Y > 0)
    tables = [
        modality_importance(
            model, X, Y > 0, modalities=COLUMNS, n_repeats=2, n_bootstrap=20, random_state=0
        )
        for model in (pipe.fit(X, Y > 0), search)
    ]
    pd.testing.assert_frame_equal(*tables)


def test_a_replicate_without_a_class_does_not_count():
    y = np.zeros(N, dtype=bool)
    y[:2] = True
    model = LogisticRegression().fit(X, Y > 0)
    scores = Scores(model, "roc_auc", y, None, BOOTSTRAP)
    found = scores(model, X)
    assert np.isnan(found).any()
    assert np.isfinite(scores.interval(found)).all()
    assert np.isnan(scores.interval(np.array([1.0, np.nan]))).all()


class OwnScore(ClassifierMixin, BaseEstimator):
    """Scores as no other does."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def score(self, X, y, sample_weight=None):
        return 0.0


def test_bad_input_gets_one_clear_sentence():
    linear, own = LinearRegression().fit(X, Y), OwnScore().fit(X, Y > 0)
    for model, options, message in [
        (linear, {"groups": PERSON}, "groups are what intervals are taken over; ask for some"),
        (linear, {"scoring": ["r2"]}, r"scoring must be a single metric; got \['r2'\]"),
        (linear, {"n_bootstrap": -1}, "n_bootstrap must be an integer from 0 on; got -1"),
        (linear, {"n_bootstrap": 9, "confidence": 95}, "confidence must be between 0 and 1"),
        (linear, {"n_bootstrap": 9, "groups": [1]}, "one entry for each of the 120 samples"),
        (linear, {"n_bootstrap": 9, "groups": np.ones(N)}, "groups holds a single group"),
        (linear, {"n_bootstrap": 9, "scoring": "neg_max_error"}, "does not take sample_weight"),
        (linear, {"n_bootstrap": 9, "scoring": lambda m, X, y: 0.0}, "does not take sample_weigh"),
        (own, {"n_bootstrap": 9}, "OwnScore scores in a way of its own; intervals need scoring="),
    ]:
        with pytest.raises(ValueError, match=message):
            modality_importance(model, X, Y, modalities=COLUMNS, **options)
