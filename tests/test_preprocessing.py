"""Frames and modalities in, modalities out, inside scikit-learn's pipelines and searches."""

import pickle

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.compose import make_column_selector
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_mmfuse import ModalityColumnTransformer, MROClassifier, MultimodalData
from sklearn_mmfuse._validation import check_modalities
from sklearn_mmfuse.preprocessing import FlattenModalities, PerTimestep, WherePresent

N = 24
rng = np.random.default_rng(0)
WORDS = np.array(["good", "bad", "fine", "poor", "great"])
REVIEWS = [" ".join(rng.choice(WORDS, 4)) for _ in range(N)]
GEO = rng.normal(size=(N, 3))
CLIPS = [rng.normal(size=(1 + i % 4, 2)) for i in range(N)]
Y = np.arange(N) % 2
STEPS = np.concatenate(CLIPS)
SPEAKER = np.arange(N) // 3

FRAME = pd.DataFrame(GEO, columns=["geo_a", "geo_b", "geo_c"], index=np.arange(N)[::-1] + 100)
FRAME["review"] = REVIEWS
FRAME["place"] = ["Rome", "Oslo", "Lima"] * (N // 3)
FRAME["clip"] = pd.Series(CLIPS, index=FRAME.index)
DATA = MultimodalData(review=REVIEWS, geo=GEO, clip=CLIPS)


class Early(ClassifierMixin, BaseEstimator):
    """Means over time, side by side, into a logistic regression."""

    def __init__(self, modalities=None, C=1.0):
        self.modalities = modalities
        self.C = C

    def _flat(self, X, reset):
        blocks = check_modalities(self, X, reset=reset, dtype=np.float64)
        return np.hstack([np.nanmean(b, axis=1) if b.ndim == 3 else b for b in blocks.values()])

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.model_ = LogisticRegression(C=self.C).fit(self._flat(X, reset=True), y)
        return self

    def predict(self, X):
        return self.model_.predict(self._flat(X, reset=False))


def make_transformer(**parameters):
    text = Pipeline([("tfidf", TfidfVectorizer()), ("svd", TruncatedSVD(2, random_state=0))])
    return ModalityColumnTransformer(
        [
            ("text", text, "review"),
            ("geo", StandardScaler(), make_column_selector("^geo")),
            ("audio", PerTimestep(StandardScaler()), "clip"),
        ],
        **parameters,
    )


def make_data_transformer(**parameters):
    """The same, for modalities instead of columns."""
    transformer = make_transformer(**parameters)
    columns = ("review", "geo", "clip")
    steps = zip(transformer.transformers, columns, strict=True)
    return transformer.set_params(transformers=[(k, t, column) for (k, t, _), column in steps])


def assert_same(actual, expected):
    assert isinstance(actual, MultimodalData)
    assert list(actual) == list(expected)
    for name, block in expected.items():
        assert_allclose(actual[name], block)


# ModalityColumnTransformer -----------------------------------------------------------------------


def test_every_transformer_makes_a_modality():
    data = make_transformer().fit_transform(FRAME)
    assert list(data) == ["text", "geo", "audio"]
    assert data["text"].shape == (N, 2)
    assert data["audio"].shape == (N, 4, 2)
    assert_allclose(data["geo"], StandardScaler().fit_transform(GEO))
    assert_same(make_transformer().fit(FRAME).transform(FRAME), data)


def test_blocks_stay_sparse_and_keep_their_type():
    transformer = ModalityColumnTransformer(
        [
            ("text", TfidfVectorizer(dtype=np.float32), "review"),
            ("place", OneHotEncoder(), ["place"]),
            ("geo", "passthrough", ["geo_a", "geo_b"]),
        ],
        sparse_threshold=0,
    )
    data = transformer.fit_transform(FRAME)
    assert sparse.issparse(data["text"])
    assert data["text"].dtype == np.float32
    assert data["place"].shape == (N, 3)
    assert_array_equal(data["geo"], GEO[:, :2])
    assert Early().fit(data, Y).n_features_in_ == 5 + 3 + 2


@pytest.mark.parametrize("X", [FRAME, DATA, {"review": REVIEWS, "clip": CLIPS}], ids=type)
@pytest.mark.parametrize("column", ["clip", ["clip"]])
def test_sequences_pass_beside_sparse_texts(X, column):
    steps = [("text", TfidfVectorizer(), "review"), ("clip", "passthrough", column)]
    data = ModalityColumnTransformer(steps).fit_transform(X)
    assert sparse.issparse(data["text"])
    blocks = check_modalities(Early(), data, reset=True, dtype=np.float64)
    assert blocks["clip"].shape == (N, 4, 2)


@pytest.mark.parametrize("form", [dict, MultimodalData])
def test_modalities_may_be_the_input(form):
    transformer = make_data_transformer().fit(form(dict(DATA.items())))
    expected = make_transformer().fit_transform(FRAME)
    assert_same(transformer.transform(form(dict(DATA.items()))), expected)
    reordered = {"extra": GEO, "clip": CLIPS, "geo": GEO, "review": REVIEWS}
    assert_same(transformer.transform(reordered), expected)
    assert_same(transformer.transform(DATA[:5]), expected[:5])


def test_frame_columns_may_come_in_another_order_and_number():
    transformer = make_transformer().fit(FRAME)
    assert_same(
        transformer.transform(FRAME[FRAME.columns[::-1]].assign(more=1)),
        transformer.transform(FRAME),
    )
    with pytest.raises(ValueError, match="columns are missing"):
        transformer.transform(FRAME.drop(columns="review"))


def test_polars_is_a_frame_and_an_array_has_positions():
    transformer = ModalityColumnTransformer(
        [("text", TfidfVectorizer(), "review"), ("geo", StandardScaler(), ["geo_a", "geo_b"])]
    )
    data = transformer.fit_transform(pl.DataFrame(FRAME.drop(columns="clip").to_dict("list")))
    assert_allclose(data["geo"], StandardScaler().fit_transform(GEO[:, :2]))
    transformer = ModalityColumnTransformer([("a", StandardScaler(), [0]), ("b", PCA(1), [1, 2])])
    assert list(transformer.fit_transform(GEO)) == ["a", "b"]


@pytest.mark.parametrize("remainder", ["drop", "passthrough"])
def test_the_remainder_of_modalities_keeps_its_names(remainder):
    transformer = ModalityColumnTransformer([("g", "passthrough", "geo")], remainder=remainder)
    data = transformer.fit_transform(DATA.drop("review"))
    assert list(data) == (["g"] if remainder == "drop" else ["g", "clip"])
    with pytest.raises(ValueError, match="Two transformers return the modality 'clip'"):
        transformer.set_params(
            transformers=[("clip", "passthrough", "geo")], remainder="passthrough"
        ).fit(DATA)


def test_the_remainder_of_columns_is_one_modality():
    transformer = ModalityColumnTransformer([("a", "passthrough", ["geo_a"])], remainder=PCA(1))
    data = transformer.fit_transform(FRAME[["geo_a", "geo_b", "geo_c"]])
    assert {name: block.shape for name, block in data.items()} == {"a": (N, 1), "remainder": (N, 1)}


def test_a_list_of_modalities_reaches_the_transformer_together():
    transformer = ModalityColumnTransformer([("both", FlattenModalities(), ["geo", "clip"])])
    assert transformer.fit_transform(DATA)["both"].shape == (N, 3 + 8)
    transformer.set_params(transformers=[("both", FlattenModalities(), lambda X: ["geo"])])
    assert transformer.fit_transform(DATA)["both"].shape == (N, 3)


def test_steps_may_be_dropped_replaced_and_weighted():
    data = make_data_transformer().fit_transform(DATA)
    dropped = make_data_transformer().set_params(text="drop").fit(DATA)
    assert list(dropped.transform(DATA)) == ["geo", "audio"]
    passed = make_data_transformer().set_params(geo="passthrough").fit_transform(DATA)
    assert_array_equal(passed["geo"], GEO)
    weighted = make_data_transformer(transformer_weights={"geo": 2.0}).fit_transform(DATA)
    assert_allclose(weighted["geo"], 2 * data["geo"])
    parallel = make_data_transformer(n_jobs=2)
    with joblib.parallel_config("threading"):
        assert_same(parallel.fit_transform(DATA), data)


@pytest.mark.parametrize(
    ("transformer", "X"), [(make_transformer(), FRAME), (make_data_transformer(), DATA)]
)
def test_clones_and_pickles_transform_alike(transformer, X):
    transformer = clone(transformer)
    with pytest.raises(ValueError, match="not fitted"):
        transformer.transform(X)
    expected = transformer.fit_transform(X)
    assert_same(clone(transformer).fit_transform(X), expected)
    assert_same(pickle.loads(pickle.dumps(transformer)).transform(X), expected)
    assert "ModalityColumnTransformer" in transformer._repr_html_()
    assert set(transformer.named_transformers_) >= {"text", "geo", "audio"}


def test_names_of_the_output():
    names = ["text__truncatedsvd0", "text__truncatedsvd1"]
    geo, audio = ["geo__geo_a", "geo__geo_b", "geo__geo_c"], ["audio__x0", "audio__x1"]
    transformer = make_transformer().fit(FRAME)
    assert transformer.get_feature_names_out().tolist() == names + geo + audio
    assert transformer.output_indices_["audio"] == slice(5, 7)
    transformer = make_data_transformer().set_params(geo="passthrough").fit(DATA)
    geo = ["geo__x0", "geo__x1", "geo__x2"]
    assert transformer.get_feature_names_out().tolist() == names + geo + audio


def test_output_stays_modalities_whatever_is_set():
    for transformer, X in ((make_transformer(), FRAME), (make_data_transformer(), DATA)):
        expected = clone(transformer).fit_transform(X)
        for output in ("pandas", "polars"):
            configured = clone(transformer).set_output(transform=output)
            assert_same(configured.fit_transform(X), expected)
            pipe = make_pipeline(clone(transformer), "passthrough").set_output(transform=output)
            assert_same(pipe.fit_transform(X), expected)
            with config_context(transform_output=output):
                passed = clone(transformer).set_params(audio="drop").fit_transform(X)
            assert_same(passed, expected.drop("audio"))
    with config_context(transform_output="pandas"):
        sequences = {"geo": GEO, "audio": np.ones((N, 4, 2))}
        steps = [("all", "passthrough", ["geo", "audio"]), ("a", "passthrough", "audio")]
        data = ModalityColumnTransformer(steps).fit_transform(sequences)
        assert list(data) == ["geo", "audio", "a"]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([("a", FunctionTransformer(lambda x: x[:, 0]), "geo")], "'a' transformer must have at"),
        ([("a", "passthrough", "review")], r"at least 2 dimensions.*got shape \(24,\)"),
        ([("a", "drop", "geo")], "All transformers of .* are dropped or select no columns"),
        ([("a", "passthrough", [])], "All transformers of .* are dropped or select no columns"),
        ([("a", "passthrough", "smell")], "X has no column 'smell', only 'review', 'geo', 'clip'"),
        ([("a__b", "passthrough", "geo")], "must not contain __"),
    ],
)
def test_errors_of_the_transformer(steps, message):
    with pytest.raises(ValueError, match=message):
        ModalityColumnTransformer(steps).fit(DATA)


def test_transform_wants_what_fit_saw():
    transformer = make_data_transformer().fit(DATA)
    with pytest.raises(ValueError, match=r"lacks the modalities \['geo'\] seen in fit; it has"):
        transformer.transform(DATA.drop("geo"))
    with pytest.raises(ValueError, match=r"fitted on the modalities .*, but X is DataFrame"):
        transformer.transform(FRAME)
    with pytest.raises(ValueError, match="fitted on columns, but X is MultimodalData"):
        make_transformer().fit(FRAME).transform(DATA)


# In pipelines and searches -----------------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("output", ["default", "pandas"])
def test_a_grouped_search_reaches_every_level(n_jobs, output):
    pipe = Pipeline([("modalities", make_transformer()), ("clf", Early())])
    grid = {
        "modalities__text__svd__n_components": [1, 2],
        "clf__modalities": [None, ["text"], ["text", "audio"]],
    }
    search = GridSearchCV(pipe, grid, cv=GroupKFold(3), n_jobs=n_jobs, error_score="raise")
    with config_context(transform_output=output), joblib.parallel_config("threading"):
        search.fit(FRAME, Y, groups=SPEAKER)
    assert len(search.cv_results_["params"]) == 6
    assert search.predict(FRAME).shape == (N,)


def test_modalities_give_the_scores_of_columns():
    by_column = cross_val_score(make_pipeline(make_transformer(), Early()), FRAME, Y, cv=3)
    by_name = cross_val_score(make_pipeline(make_data_transformer(), Early()), DATA, Y, cv=3)
    assert_array_equal(by_column, by_name)
    assert not np.isnan(by_name).any()


# PerTimestep -------------------------------------------------------------------------------------


SEQUENCES = {
    "list": CLIPS,
    "Series": FRAME["clip"],
    "frame": FRAME[["clip"]],
    "cells": DATA["clip"],
    "polars": pl.Series([clip.tolist() for clip in CLIPS]),
    "padded": check_modalities(Early(), {"c": CLIPS}, reset=True, dtype=np.float64)["c"],
}


@pytest.mark.parametrize("X", SEQUENCES.values(), ids=list(SEQUENCES))
def test_steps_are_transformed_and_padding_stays(X):
    result = PerTimestep(StandardScaler()).fit_transform(X)
    assert result.shape == (N, 4, 2)
    observed = ~np.isnan(result).all(axis=2)
    assert_array_equal(observed.sum(axis=1), [len(clip) for clip in CLIPS])
    assert_allclose(result[observed], StandardScaler().fit_transform(STEPS))


def test_number_of_steps_may_differ_later():
    scaler = PerTimestep(StandardScaler()).fit(CLIPS)
    assert scaler.transform(CLIPS[:1]).shape == (1, 1, 2)
    assert scaler.transform(np.ones((2, 9, 2))).shape == (2, 9, 2)
    assert np.isnan(scaler.transform(np.full((2, 3, 2), np.nan))).all()
    with pytest.raises(ValueError, match=r"steps of X have 3 features, but .* fitted with 2"):
        scaler.transform(np.ones((2, 4, 3)))


def test_the_inner_transformer_may_change_width_type_and_gaps():
    reduced = PerTimestep(PCA(1)).fit(CLIPS)
    assert reduced.transform(CLIPS).shape == (N, 4, 1)
    assert reduced.get_feature_names_out().tolist() == ["pca0"]
    single = np.ones((3, 2, 2), dtype=np.float32)
    assert PerTimestep(StandardScaler()).fit_transform(single).dtype == np.float32
    assert PerTimestep(OneHotEncoder()).fit_transform([[[0], [1]], [[2], [3]]]).shape == (2, 2, 4)
    gaps = np.array([[[1.0, np.nan], [3.0, 4.0]], [[5.0, 6.0], [np.nan, np.nan]]])
    filled = PerTimestep(SimpleImputer()).fit_transform(gaps)
    assert filled[0, 0, 1] == 5.0
    assert np.isnan(filled[1, 1]).all()


def test_the_target_is_repeated_for_every_step():
    best = PerTimestep(SelectKBest(k=1)).fit(CLIPS, Y)
    steps = np.repeat(Y, [len(clip) for clip in CLIPS])
    expected = SelectKBest(k=1).fit(STEPS, steps)
    assert_allclose(best.transformer_.scores_, expected.scores_)
    assert PerTimestep(LinearDiscriminantAnalysis()).fit_transform(CLIPS, Y).shape == (N, 4, 1)


def test_errors_of_per_timestep():
    with pytest.raises(ValueError, match=r"needs sequences, .* got shape \(24, 3\); use its"):
        PerTimestep(StandardScaler()).fit(GEO)
    with pytest.raises(ValueError, match="no observed time steps"):
        PerTimestep(StandardScaler()).fit(np.full((2, 2, 2), np.nan))
    with pytest.raises(ValueError, match="not fitted"):
        PerTimestep(StandardScaler()).transform(CLIPS)
    with pytest.raises(ValueError, match="not fitted"):
        FlattenModalities().transform(DATA)


def test_per_timestep_is_a_well_behaved_transformer():
    step = PerTimestep(StandardScaler())
    assert clone(step).set_params(transformer__with_mean=False).transformer.with_mean is False
    assert step.set_output(transform="pandas") is step
    names = step.fit(CLIPS).get_feature_names_out
    for given, expected in ((["clip"], ["x0", "x1"]), (["a", "b"], ["a", "b"])):
        assert names(given).tolist() == expected
    with config_context(transform_output="pandas"):
        assert isinstance(step.fit_transform(CLIPS), np.ndarray)
        assert make_pipeline(step, step).fit_transform(CLIPS).shape == (N, 4, 2)


@pytest.mark.parametrize("steps", [PerTimestep(StandardScaler()), "passthrough"], ids=str)
def test_no_row_of_a_batch_needs_to_have_a_sequence(steps):
    frame = FRAME[["geo_a", "clip"]].copy()
    frame["clip"] = [None, None, *frame["clip"][2:]]
    columns = [("geo", StandardScaler(), ["geo_a"]), ("clip", steps, "clip")]
    model = MROClassifier(encoder={"clip": "mean"}, max_epochs=2, random_state=0)
    pipe = make_pipeline(ModalityColumnTransformer(columns), model).fit(frame, Y)
    expected = pipe.predict_proba(frame)[:2]
    for rows in (frame[:2], frame[:2].assign(clip=np.nan)):
        assert_allclose(pipe.predict_proba(rows), expected, atol=1e-12)
    assert_allclose(pipe.predict_proba(frame[1:2]), expected[1:], atol=1e-12)


# WherePresent ------------------------------------------------------------------------------------


def absent_rows(block):
    return np.flatnonzero(np.isnan(np.asarray(block, dtype=float)).all(axis=1)).tolist()


@pytest.mark.parametrize(
    "form", [np.asarray, pd.DataFrame, pl.DataFrame], ids=lambda f: f.__module__
)
def test_what_is_absent_stays_so(form):
    X = np.array([[1.0, 2.0], [np.nan] * 2, [3.0, np.nan], [5.0, 8.0]])
    filled = WherePresent(SimpleImputer()).fit(form(X))
    assert_array_equal(filled.transform(form(X)), [[1, 2], [np.nan] * 2, [3, 5], [5, 8]])
    assert_array_equal(filled.transform(form(X[1:2])), X[1:2])
    present = make_pipeline(SimpleImputer(), PCA(1)).fit_transform(X[[0, 2, 3]])
    projected = WherePresent(make_pipeline(SimpleImputer(), PCA(1))).fit(form(X))
    assert_allclose(projected.transform(form(X))[[0, 2, 3]], present)  # which the gap does not move
    assert projected.get_feature_names_out().tolist() == ["pca0"]


def test_categories_targets_and_single_precision():
    place = pd.DataFrame({"place": ["Rome", None, "Oslo", "Rome"]})
    coded = WherePresent(OneHotEncoder()).fit(place)
    assert_array_equal(coded.transform(place), [[0, 1], [np.nan] * 2, [1, 0], [0, 1]])
    assert coded.get_feature_names_out().tolist() == ["place_Oslo", "place_Rome"]
    X = GEO.astype(np.float32)
    assert WherePresent(StandardScaler()).fit_transform(X).dtype == np.float32
    X[::3] = np.nan
    best = WherePresent(SelectKBest(k=1)).fit(X, Y)
    rows = np.arange(N) % 3 > 0
    assert_allclose(best.transformer_.scores_, SelectKBest(k=1).fit(X[rows], Y[rows]).scores_)


def test_modalities_of_a_frame_stay_absent():
    frame = FRAME.copy()
    frame.iloc[:5, :3] = np.nan
    frame.iloc[7, 0] = np.nan
    filled = make_pipeline(SimpleImputer(), StandardScaler())
    columns = [("geo", WherePresent(filled), ["geo_a", "geo_b", "geo_c"]),
               ("clip", "passthrough", "clip")]  # fmt: skip
    transformer = ModalityColumnTransformer(columns).set_output(transform="pandas")
    data = transformer.fit_transform(frame)
    assert absent_rows(data["geo"]) == [0, 1, 2, 3, 4]
    assert absent_rows(transformer.transform(frame[:3])["geo"]) == [0, 1, 2]
    assert transformer.get_feature_names_out()[:3].tolist() == [
        "geo__geo_a",
        "geo__geo_b",
        "geo__geo_c",
    ]
    model = MROClassifier(max_epochs=2, random_state=0).fit(data, Y)
    assert model.decompose(data).absent[:5].any(axis=1).all()


def test_errors_of_where_present():
    with pytest.raises(ValueError, match=r"X is missing from every row.*leave the modality out"):
        WherePresent(StandardScaler()).fit(np.full((3, 2), np.nan))
    with pytest.raises(ValueError, match="X has 2 features, but WherePresent is expecting 3"):
        WherePresent(StandardScaler()).fit(GEO).transform(GEO[:, :2])
    with pytest.raises(ValueError, match="Expected 2D array"):
        WherePresent(StandardScaler()).fit(GEO[:, 0])


@pytest.mark.draws_globally
@parametrize_with_checks([WherePresent(StandardScaler())])
def test_scikit_learn_check(estimator, check):
    check(estimator)


# FlattenModalities -------------------------------------------------------------------------------


def test_flattening_is_early_fusion():
    pipe = make_pipeline(FlattenModalities(), SimpleImputer(), LogisticRegression())
    cross_val_score(pipe, DATA.drop("review"), Y, cv=3, error_score="raise")


def test_flattened_columns_have_names():
    flat = FlattenModalities().fit({"geo": GEO, "clip": CLIPS})
    assert flat.transform({"clip": CLIPS[:1], "geo": GEO[:1]}).shape == (1, 3 + 8)
    names = flat.get_feature_names_out().tolist()
    assert names[:5] == ["geo__x0", "geo__x1", "geo__x2", "clip__t0_x0", "clip__t0_x1"]
    columns = ["geo__lon", "clip__a", "geo__lat"]
    framed = FlattenModalities().fit(pd.DataFrame(GEO, columns=columns))
    assert framed.get_feature_names_out().tolist() == ["geo__lon", "geo__lat", "clip__a"]
    of_frames = {"geo": pd.DataFrame({"lon": [1.0, 2.0], "lat": 0.0}), "clip": np.ones((2, 1))}
    for form in (of_frames, MultimodalData(of_frames)):
        named = FlattenModalities().fit(form).get_feature_names_out().tolist()
        assert named == ["geo__lon", "geo__lat", "clip__x0"]
    of_vectors = {"clip": pd.DataFrame({"vector": [np.arange(3.0), np.ones(3)]})}
    named = FlattenModalities().fit(of_vectors).get_feature_names_out().tolist()
    assert named == ["clip__x0", "clip__x1", "clip__x2"]
    picked = FlattenModalities({"geo": ["geo_c"]}).fit(FRAME)
    assert picked.get_feature_names_out().tolist() == ["geo__geo_c"]


def test_flattening_picks_modalities_and_makes_frames():
    assert FlattenModalities(["geo"]).fit_transform(DATA).shape == (N, 3)
    framed = FlattenModalities().set_output(transform="pandas").fit_transform(DATA.drop("review"))
    assert framed.shape == (N, 11)
    assert framed.columns[0] == "geo__x0"


def test_flattening_pads_but_does_not_cut():
    flat = FlattenModalities().fit({"clip": np.ones((2, 3, 2))})
    assert_array_equal(flat.transform({"clip": np.ones((1, 2, 2))}), [[1.0] * 4 + [np.nan] * 2])
    with pytest.raises(ValueError, match=r"'clip' has 4 time steps, but .* at most 3; cut it"):
        flat.transform({"clip": np.ones((1, 4, 2))})


def test_texts_are_picked_by_name_and_not_in_a_list():
    frame = pd.DataFrame({"answer": ["a good day", "a hard day", "good"]})
    columns = ModalityColumnTransformer([("text", TfidfVectorizer(), ["answer"])])
    with pytest.raises(ValueError, match=r"'text' returned 1 rows for 3 samples.*not in a list"):
        columns.fit_transform(frame)
    assert (
        len(
            columns.set_params(transformers=[("text", TfidfVectorizer(), "answer")]).fit_transform(
                frame
            )
        )
        == 3
    )
