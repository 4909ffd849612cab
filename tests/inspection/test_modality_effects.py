"""Effects of modalities on any predictor, from data in any form."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from sklearn_mmfuse import ModalityColumnTransformer, MRORegressor, MultimodalData
from sklearn_mmfuse.inspection import emap, modality_effects

RNG = np.random.default_rng(0)
N = 12
TEXT, AUDIO = RNG.normal(size=(N, 2)), RNG.normal(size=(N, 1))
X = {"text": TEXT, "audio": AUDIO}
ARRAY = np.hstack([TEXT, AUDIO])
COLUMNS = {"text": [0, 1], "audio": [2]}
Y = TEXT[:, 0] * AUDIO[:, 0] + TEXT[:, 1]


def prefixed():
    return pd.DataFrame(ARRAY, columns=["text__0", "text__1", "audio__0"])


def product(X):
    return X["text"][:, 0] * X["audio"][:, 0]


def test_a_callable_gets_the_form_that_was_passed():
    for data in (X, MultimodalData(X)):
        kinds = set()

        def f(some, kinds=kinds):
            kinds.add(type(some))
            return product(some)

        effects = modality_effects(f, data)
        assert kinds == {type(data)}
        t, a = (x - x.mean() for x in (TEXT[:, 0], AUDIO[:, 0]))
        np.testing.assert_allclose(effects["text × audio"][:, 0], t * a, atol=1e-12)
        np.testing.assert_allclose(effects["text"][:, 0], t * AUDIO.mean(), atol=1e-12)
        np.testing.assert_allclose(effects.sum()[:, 0], product(data), atol=1e-12)
        assert [str(term) for term in effects.terms] == ["text", "audio", "audio × text"]


@pytest.mark.parametrize("background", [False, True])
def test_every_form_of_the_data_gives_the_same_effects(background):
    forest = RandomForestRegressor(5, random_state=0).fit(ARRAY, Y)
    names = ["text__0", "text__1", "audio__0"]

    def read(frame):
        return forest.predict(np.asarray(frame))

    two_levels = pd.DataFrame(
        ARRAY, columns=pd.MultiIndex.from_tuples([n.split("__") for n in names])
    )
    # Columns of one modality need not be neighbors.
    mixed = prefixed()[["text__1", "audio__0", "text__0"]]
    cells = pd.DataFrame({"text": list(TEXT), "audio": list(AUDIO)})
    candidates = {
        "dict": (lambda d: read(np.hstack([d["text"], d["audio"]])), X, None),
        "array": (forest, ARRAY, COLUMNS),
        "frame": (read, prefixed(), None),
        "frame with selectors": (read, prefixed(), {"text": slice(0, 2), "audio": ["audio__0"]}),
        "two levels": (read, two_levels, None),
        "mixed": (lambda f: read(f[names]), mixed, None),
        "polars": (read, pl.DataFrame(dict(zip(names, ARRAY.T, strict=True))), None),
        "cells": (
            lambda f: read(np.hstack([np.stack(f["text"]), np.stack(f["audio"])])),
            cells,
            None,
        ),
    }
    found = {}
    for name, (predictor, data, modalities) in candidates.items():
        rows, behind = data, None
        if background:
            rows, behind = (
                {k: v[part] for k, v in data.items()} if isinstance(data, dict) else data[part]
                for part in (slice(0, 5), slice(5, None))
            )
        effects = modality_effects(predictor, rows, background=behind, modalities=modalities)
        found[name] = np.concatenate([effects["text"], effects["audio"], effects["audio × text"]])
    for values in found.values():
        np.testing.assert_allclose(values, found["dict"], atol=1e-12)


def test_a_frame_of_raw_columns_goes_through_a_pipeline():
    frame = pd.DataFrame(
        {"answer": ["good day", "bad day"] * 6, "pitch": AUDIO[:, 0], "energy": TEXT[:, 0]}
    )
    frame.loc[3, "pitch"] = np.nan  # which the pipeline imputes
    columns = ColumnTransformer(
        [
            ("words", CountVectorizer(), "answer"),
            ("voice", SimpleImputer(), ["pitch", "energy"]),
        ]
    )
    pipe = make_pipeline(columns, LogisticRegression()).fit(frame, Y > 0)
    effects = modality_effects(
        pipe, frame, modalities={"text": ["answer"], "audio": ["pitch", "energy"]}
    )
    np.testing.assert_allclose(effects.sum()[:, 0], pipe.decision_function(frame), atol=1e-10)
    np.testing.assert_allclose(effects["text × audio"], 0, atol=1e-10)  # log-odds are additive
    assert effects.outputs == ("True",)


def test_what_is_explained_of_a_classifier():
    target = np.digitize(Y, [-0.5, 0.5])
    data = {"modalities": COLUMNS}
    forest = RandomForestClassifier(5, random_state=0).fit(ARRAY, target)
    effects = modality_effects(forest, ARRAY, **data)
    assert effects.outputs == ("0", "1", "2")
    np.testing.assert_allclose(effects.sum(), forest.predict_proba(ARRAY), atol=1e-12)
    logistic = LogisticRegression().fit(ARRAY, target)
    effects = modality_effects(logistic, ARRAY, response_method="predict_proba", **data)
    np.testing.assert_allclose(effects.sum(), logistic.predict_proba(ARRAY), atol=1e-12)
    svm = LinearSVC().fit(ARRAY, Y > 0)
    effects = modality_effects(svm, ARRAY, **data)
    np.testing.assert_allclose(effects.sum()[:, 0], svm.decision_function(ARRAY), atol=1e-12)


def test_the_modalities_of_a_pipeline_that_ends_with_ours_are_those_of_its_last_step():
    columns = ModalityColumnTransformer(
        [("t", StandardScaler(), [0, 1]), ("a", StandardScaler(), [2])]
    )
    pipe = make_pipeline(columns, MRORegressor(max_epochs=2, random_state=0)).fit(ARRAY, Y)
    effects = modality_effects(pipe, ARRAY[:5], background=ARRAY)
    assert [str(term) for term in effects.terms] == ["t", "a", "a × t"]
    np.testing.assert_allclose(effects.sum()[:, 0], pipe.predict(ARRAY[:5]), atol=1e-10)
    mixed = make_pipeline(FunctionTransformer(), Ridge()).fit(ARRAY, Y)
    effects = modality_effects(mixed, ARRAY, modalities=COLUMNS)
    np.testing.assert_allclose(effects["text × audio"], 0, atol=1e-12)


def test_an_ablation_has_the_modalities_that_it_was_fitted_on():
    model = MRORegressor(modalities=["text", "audio"], max_epochs=2, random_state=0)
    data = MultimodalData(X).assign(video=RNG.normal(size=(N, 3)))
    effects = modality_effects(model.fit(data, Y), data)
    assert [str(term) for term in effects.terms] == ["text", "audio", "audio × text"]


def test_emap_is_the_closest_additive_prediction():
    rows = MultimodalData(X)
    additive = emap(product, rows)
    assert [term.order for term in additive.terms] == [1, 1]
    # Least squares on all combinations, with a dummy for every row of each modality.
    i, j = (index.ravel() for index in np.indices((N, N)))
    dummies = np.hstack([np.eye(N)[i], np.eye(N)[j]])
    fit = LinearRegression().fit(dummies, TEXT[i, 0] * AUDIO[j, 0])
    expected = fit.predict(np.hstack([np.eye(N), np.eye(N)]))
    np.testing.assert_allclose(additive.sum()[:, 0], expected, atol=1e-10)


def test_sampled_effects_have_standard_errors_and_intervals():
    exact = modality_effects(product, X)
    assert exact.standard_errors is None
    drawn = modality_effects(
        product, X, method="sampled", n_draws=400, confidence=0.9, random_state=0
    )
    again = modality_effects(
        product, X, method="sampled", n_draws=400, confidence=0.9, random_state=0
    )
    np.testing.assert_array_equal(drawn.values, again.values)
    np.testing.assert_allclose(drawn.sum(), exact.sum(), atol=1e-12)
    assert np.ptp(drawn.interval(), axis=-1).max() < np.ptp(drawn.interval(0.99), axis=-1).max()
    assert np.abs(drawn.values - exact.values).max() < 5 * drawn.standard_errors.max()
    # "auto" is exact within the budget, and samples above it.
    assert modality_effects(product, X, max_evaluations=10**4).standard_errors is None
    few = modality_effects(product, X, max_evaluations=100, n_draws=5, random_state=0)
    assert few.standard_errors is not None
    # ... unless draws would cost more than all combinations.
    assert modality_effects(product, X, max_evaluations=100).standard_errors is None


BAD = {
    "one modality": (product, {"text": TEXT}, {}, ValueError, "one modality, 'text'"),
    "nameless array": (Ridge().fit(ARRAY, Y), ARRAY, {}, ValueError, "does not name its modal"),
    "forgotten column": (
        Ridge().fit(ARRAY, Y),
        ARRAY,
        {"modalities": {"text": [0], "audio": [2]}},
        ValueError,
        "1 of the 3 columns of X belong to no modality",
    ),
    "other background": (
        product,
        X,
        {"background": {"text": TEXT, "video": TEXT}},
        ValueError,
        r"background has the modalities \['text', 'video'\], but X has \['text', 'audio'\]",
    ),
    "background of another kind": (product, X, {"background": ARRAY}, TypeError, "the form of X"),
    "background of another width": (
        Ridge().fit(ARRAY, Y),
        ARRAY,
        {"modalities": COLUMNS, "background": ARRAY[:, :2]},
        ValueError,
        "background must have the columns of X",
    ),
    "budget": (
        product,
        X,
        {"method": "exact", "max_evaluations": 100},
        ValueError,
        r"needs 300 predictions \(12 rows, 12 background rows, 2 modalities\), more than "
        r"max_evaluations=100. Use method='sampled', a smaller background",
    ),
    "wrong length": (lambda X: np.ones(3), X, {}, ValueError, r"shape \(3,\) for 144 rows"),
    "texts": (lambda X: ["a"] * len(X["text"]), X, {}, ValueError, "numbers of shape"),
    "outputs change": (
        lambda X: np.ones((len(X["text"]), 1 + (len(X["text"]) == N))),
        X,
        {},
        ValueError,
        "returned 2 outputs, but 1 before",
    ),
    "NaN": (lambda X: np.full(len(X["text"]), np.nan), X, {}, ValueError, "returned NaN"),
    "no predictor": (object(), X, {}, TypeError, "object has no predict; pass a fitted"),
    "method": (product, X, {"method": "quick"}, ValueError, "method must be one of"),
    "max_order": (product, X, {"max_order": 3}, ValueError, "between 1 and 2"),
    "confidence": (product, X, {"confidence": 95}, ValueError, "between 0 and 1; got 95"),
    "draws": (product, X, {"n_draws": 1}, ValueError, "n_draws must be"),
    "selectors": (product, X, {"modalities": COLUMNS}, ValueError, "names its modalities itself"),
}
BAD |= {
    "a column twice": (
        Ridge().fit(ARRAY, Y),
        ARRAY,
        {"modalities": {"text": [0, 0], "audio": [2]}},
        ValueError,
        "names a column twice",
    ),
    "response": (
        Ridge().fit(ARRAY, Y),
        ARRAY,
        {"modalities": COLUMNS, "response_method": "score"},
        ValueError,
        "response_method must be one of",
    ),
    "no rows": (product, {"text": TEXT[:0], "audio": AUDIO[:0]}, {}, ValueError, "one row each"),
    "many modalities": (
        product,
        {f"m{i}": AUDIO for i in range(11)},
        {},
        ValueError,
        "2047 sets; say how large",
    ),
    "other columns": (
        lambda frame: frame.sum(axis=1),
        prefixed(),
        {"background": prefixed().add_suffix("x")},
        ValueError,
        "background must have the columns of X",
    ),
    "two kinds of frames": (
        lambda frame: frame.sum(axis=1),
        prefixed(),
        {"background": pl.DataFrame(prefixed())},
        ValueError,
        "got DataFrame of shape",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_clear_sentence(case):
    predictor, data, options, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        modality_effects(predictor, data, **options)


def test_nan_is_refused_where_the_predictor_is_ours():
    model = MRORegressor(max_epochs=2, random_state=0).fit(X, Y)
    broken = X | {"text": np.full((N, 2), np.nan)}
    with pytest.raises(ValueError, match="contains NaN: modality 'text'"):
        modality_effects(model, broken)
    with pytest.raises(ValueError, match="lacks the modalities"):
        modality_effects(model, X, background={"text": TEXT})


def test_what_no_scikit_learn_estimator_predicts_is_explained_as_well():
    class Booster:
        def predict(self, X):
            return X[:, 0] * X[:, 2]

    effects = modality_effects(Booster(), ARRAY, modalities=COLUMNS)
    np.testing.assert_allclose(effects.sum()[:, 0], ARRAY[:, 0] * ARRAY[:, 2], atol=1e-12)


def test_columns_of_a_one_vs_one_decision_are_not_named_after_classes():
    target = np.digitize(Y, [-0.5, 0.5])
    svm = SVC(decision_function_shape="ovo", random_state=0).fit(ARRAY, target)
    assert modality_effects(svm, ARRAY, modalities=COLUMNS).outputs == ("y0", "y1", "y2")


def test_tensors_reach_the_predictor_as_tensors():
    tensor = torch.tensor(ARRAY, requires_grad=True)
    effects = modality_effects(
        lambda X: torch.relu(X).sum(1).bfloat16(), tensor, background=tensor, modalities=COLUMNS
    )
    expected = modality_effects(lambda X: np.maximum(X, 0).sum(1), ARRAY, modalities=COLUMNS)
    np.testing.assert_allclose(effects.sum(), expected.sum(), atol=0.02)


def test_backgrounds_keep_categories_and_find_columns_by_name():
    frame = pd.DataFrame({"text__a": pd.Categorical(["u", "v"]), "audio__b": [1.0, 2.0]})
    behind = pd.DataFrame({"audio__b": [3.0, 4.0], "text__a": pd.Categorical(["v", "w"])})
    seen = set()

    def f(some):
        seen.update(some["text__a"].cat.categories)
        return some["text__a"].cat.codes * some["audio__b"]

    modality_effects(f, frame, background=behind)
    assert seen == {"u", "v", "w"}
    numbers = pl.DataFrame({"text__a": [1.0, 2.0], "audio__b": [1.0, 2.0]})
    others = pl.DataFrame({"audio__b": [3, 4], "text__a": [5, 6]})
    effects = modality_effects(lambda some: some["text__a"].to_numpy(), numbers, background=others)
    np.testing.assert_allclose(effects.bias, 5.5)


def test_a_search_is_looked_at_through_its_best_estimator():
    model = MRORegressor(max_epochs=2, random_state=0)
    search = GridSearchCV(model, {"fusion": ["concat"]}, cv=2).fit(MultimodalData(X), Y)
    found = modality_effects(search, MultimodalData(X))
    expected = modality_effects(search.best_estimator_, MultimodalData(X))
    np.testing.assert_allclose(found.values, expected.values)
