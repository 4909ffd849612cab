"""What a score owes to modalities and to terms."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mmfuse import ModalityColumnTransformer, MROClassifier, MRORegressor, MultimodalData
from sklearn_mmfuse.inspection import modality_importance
from tests.estimators._data import UNREGULARIZED

RNG = np.random.default_rng(0)
N = 300
X = MultimodalData({name: RNG.normal(size=(N, 1)) for name in ("text", "audio", "video")})
T, A, V = (X[name][:, 0] for name in X)
Y = 2 * T + T * A
ARRAY = X.to_numpy()
COLUMNS = {"text": [0], "audio": [1], "video": [2]}


@pytest.fixture(scope="module")
def model():
    return MRORegressor(
        fusion="tensor", learning_rate=0.02, max_epochs=100, max_order=2, random_state=0
    ).fit(X, Y)


def test_shuffling_a_modality_costs_what_it_brings(model):
    table = modality_importance(model, X, Y, random_state=0)
    assert table.index.tolist() == ["text", "audio", "video"]
    assert table["importance"].idxmax() == "text"
    assert abs(table.loc["video", "importance"]) < 0.02
    # A linear model: shuffling x costs 2 w^2 var(x) / var(y) of R^2.
    y = 2 * T + A
    linear = LinearRegression().fit(ARRAY, y)
    found = modality_importance(
        linear, ARRAY, y, modalities=COLUMNS, n_repeats=100, random_state=0
    )["importance"]
    expected = 2 * np.array([4 * T.var(), A.var(), 0]) / y.var()
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_sets_are_shuffled_together(model):
    table = modality_importance(model, X, Y, max_order=2, random_state=0)
    assert table.index.tolist()[3:] == ["text + audio", "text + video", "audio + video"]
    # Rows of one set stay together, so all of them shuffled is chance, not noise.
    asked = modality_importance(model, X, Y, sets=["text", ["text", "audio"]], random_state=0)
    assert asked.index.tolist() == ["text", "text + audio"]
    pd.testing.assert_frame_equal(asked, table.loc[["text", "text + audio"]])
    prediction = model.predict(X)
    together = modality_importance(
        model, X, Y, sets=[list(X)], n_repeats=1, random_state=np.random.RandomState(3)
    )
    order = np.random.RandomState(3).permutation(N)
    expected = r2_score(Y, prediction) - r2_score(Y, prediction[order])
    assert together["importance"].iloc[0] == pytest.approx(expected)


def test_leaving_terms_out(model):
    table = modality_importance(model, X, Y, kind="ablation")
    assert table.index.tolist() == [*(str(t) for t in model.terms_), "all interactions"]
    parts = model.decompose(X)
    without = parts.sum() - parts["audio × text"]
    expected = r2_score(Y, parts.sum()) - r2_score(Y, without)
    assert table.loc["audio × text", "importance"] == pytest.approx(expected)
    assert table.loc["audio × text", "change"] == pytest.approx(
        np.abs(parts["audio × text"]).mean()
    )
    asked = modality_importance(
        model, X, Y, kind="ablation", sets=["text", ["text", "audio × text"]]
    )
    assert asked.index.tolist() == ["text", "text + audio × text"]
    assert asked["importance"].iloc[1] > asked["importance"].iloc[0]
    assert model.decompose(X).terms == parts.terms  # the model itself keeps its terms


def test_any_scorer_of_a_classifier_and_a_pipeline():
    columns = ModalityColumnTransformer([(n, StandardScaler(), c) for n, c in COLUMNS.items()])
    pipe = make_pipeline(
        columns, MROClassifier(max_epochs=20, learning_rate=1e-3, random_state=0, **UNREGULARIZED)
    )
    pipe.fit(ARRAY, Y > 0)
    for scoring in ("neg_log_loss", "roc_auc", None):
        for kind in ("permutation", "ablation"):
            table = modality_importance(
                pipe, ARRAY, Y > 0, kind=kind, scoring=scoring, n_repeats=2, random_state=0
            )
            assert table["importance"].iloc[:3].idxmax() == "text"
    weighted = modality_importance(
        pipe, ARRAY, Y > 0, sample_weight=np.r_[1, np.zeros(N - 1)], n_repeats=1, random_state=0
    )
    assert set(weighted["importance"].round(6)) <= {-1.0, 0.0, 1.0}  # one row counts


def test_bad_input_gets_one_clear_sentence(model):
    linear = LinearRegression().fit(ARRAY, Y)
    for options, kind, message in [
        ({"kind": "shuffle"}, ValueError, "kind must be one of"),
        ({"sets": [["pose"]]}, ValueError, r"sets names \['pose'\], but the modalities are"),
        ({"max_order": 4}, ValueError, "between 1 and 3; got 4"),
        ({"n_repeats": 0}, ValueError, "n_repeats must be a positive integer"),
        ({"kind": "ablation", "sets": ["pose"]}, KeyError, "There is no term 'pose'"),
    ]:
        with pytest.raises(kind, match=message):
            modality_importance(model, X, Y, **options)
    with pytest.raises(TypeError, match="LinearRegression has no terms to leave out"):
        modality_importance(linear, ARRAY, Y, kind="ablation")
    with pytest.raises(ValueError, match="does not name its modalities"):
        modality_importance(linear, ARRAY, Y)


def test_rows_may_lack_a_modality(model):
    gaps = X["audio"].copy()
    gaps[:100] = np.nan
    some = MultimodalData(text=X["text"], audio=gaps, video=X["video"])
    table = modality_importance(model, some, Y, n_repeats=50, random_state=0)
    assert table["importance"].idxmax() == "text"
    # Shuffling hands the gap to others: what is left of A tells of one row in three or so less.
    whole = modality_importance(model, X, Y, n_repeats=50, random_state=0)
    assert 0 < table.loc["audio", "importance"] < whole.loc["audio", "importance"]
    strict = MRORegressor(missing="error", max_epochs=1, random_state=0).fit(X, Y)
    with pytest.raises(ValueError, match=r"'audio' in 100 of 300 rows, which lack it as a whole"):
        modality_importance(strict, some, Y)
