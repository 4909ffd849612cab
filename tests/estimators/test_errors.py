"""Bad input gets one clear sentence, before work is done, and leaves nothing half-fitted."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.exceptions import DataConversionWarning, NotFittedError

from sklearn_mmfuse import (
    InTenseRegressor,
    MROClassifier,
    MRORegressor,
    MultimodalData,
    RoutingRegressor,
    SMURFRegressor,
)

RNG = np.random.default_rng(0)
TEXT, AUDIO = RNG.normal(size=(20, 4)), RNG.normal(size=(20, 3))
Y = np.arange(20) % 2
GOOD = {"text": TEXT, "audio": AUDIO}
FRAME = pd.DataFrame(TEXT, columns=list("abcd"))


def broken(value):
    block = TEXT.copy()
    block[3, 1] = value
    return block


BAD_X = {
    "unequal lengths": ({"text": TEXT, "audio": AUDIO[:15]}, {}, "'text' has 20, 'audio' has 15"),
    "shared column": (TEXT, {"modalities": {"t": [0, 1], "a": [1, 2]}}, "one modality"),
    "missing column": (FRAME, {"modalities": {"t": ["a", "z"]}}, "no column 'z'"),
    "NaN": ({"text": broken(np.nan), "audio": AUDIO}, {}, "NaN.*'text' in part of 1 of 20 rows"),
    "infinity": ({"text": broken(np.inf), "audio": AUDIO}, {}, "infinity.*'text' in 1 of 20 rows"),
    "complex": ({"text": TEXT + 1j, "audio": AUDIO}, {}, "'text'.*pass real and imaginary parts"),
    "strings": ({"text": [["so"]] * 20, "audio": AUDIO}, {}, "'text'.*could not convert"),
    "dates": ({"text": np.full((20, 2), np.datetime64("2020-01-01"))}, {}, "'text' holds dates"),
    "dates beside numbers": (
        {"text": pd.DataFrame({"x": 1.0, "t": pd.date_range("2020", periods=20, tz="UTC")})},
        {},
        "'text' holds dates",
    ),
    "a name of a sum": ({"text × audio": TEXT, "audio": AUDIO}, {}, "cannot be called 'text ×"),
    "the name of the bias": ({"bias": TEXT, "audio": AUDIO}, {}, "cannot be called 'bias'"),
    "no steps": ({"text": np.zeros((20, 0, 4)), "audio": AUDIO}, {}, "no size being 0"),
    "a 3-D array": (np.zeros((20, 3, 4)), {}, "give a sequence or an image a name"),
    "a list of arrays": ([TEXT, AUDIO], {}, "name them"),
    "one row": ({"text": TEXT[:1], "audio": AUDIO[:1]}, {}, "minimum of 2"),
    "max_order": (GOOD, {"max_order": 3}, r"max_order=3.*has 2 \(text, audio\)"),
    "unknown choice": (GOOD, {"modalities": ["text", "video"]}, r"\['video'\], but X has"),
    "a huge product": (GOOD, {"fusion": "tensor", "tensor_dim": 300}, "smaller tensor_dim"),
    "too many subsets": ({f"m{i}": TEXT for i in range(12)}, {}, "4095 subsets.*max_order=2"),
    "no hidden units": (GOOD, {"hidden_layer_sizes": (8, 0)}, "positive integers"),
    "an unknown device": (GOOD, {"device": "gpu0"}, "'auto', 'cpu', 'cuda'"),
    "a misspelt fusion": (GOOD, {"fusion": "sum"}, "'fusion' parameter.*'concat'"),
}


@pytest.mark.parametrize("estimator", [MROClassifier, MRORegressor])
@pytest.mark.parametrize(("X", "params", "message"), BAD_X.values(), ids=BAD_X)
def test_bad_input_is_explained_and_leaves_nothing_fitted(estimator, X, params, message):
    model = estimator(max_epochs=1, **params)
    y = Y[:1] if isinstance(X, dict) and len(next(iter(X.values()))) == 1 else Y
    with pytest.raises(ValueError, match=message) as caught:
        model.fit(X, y)
    assert "\n" not in str(caught.value)
    with pytest.raises(NotFittedError):
        model.decompose(GOOD)


def test_sparse_input():
    with pytest.raises(TypeError, match=r"dense data is required.*MultimodalData"):
        MROClassifier().fit(sparse.csr_array(TEXT), Y)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros(20), "only one class is present: 1 class"),
        (Y[:10], "X has 20 samples, but y has 10"),
        (np.where(Y, np.nan, 0.0), "Input y contains NaN"),
        (RNG.normal(size=20), "Unknown label type"),
        (np.eye(20, 2), "one class per sample.*got 2 columns. RoutingClassifier takes several"),
        (None, "requires y to be passed"),
        (np.array(["a", None] * 10, dtype=object), "y contains None: drop the samples"),
    ],
)
def test_bad_targets_of_a_classifier(y, message):
    with pytest.raises(ValueError, match=message):
        MROClassifier(max_epochs=1).fit(GOOD, y)


def test_labels_for_a_regressor():
    with pytest.raises(ValueError, match=r"predicts numbers.*use the classifier"):
        MRORegressor().fit(GOOD, np.where(Y, "yes", "no"))


def test_weights_that_leave_one_class():
    with pytest.raises(ValueError, match="weight zero only one class"):
        MROClassifier().fit(GOOD, Y, sample_weight=Y.astype(float))


def test_a_split_without_weighted_rows():
    rows = np.arange(20)
    model = MROClassifier(validation_fraction=[(rows[:14], rows[14:])])
    with pytest.raises(ValueError, match="weight zero"):
        model.fit(GOOD, Y, sample_weight=rows < 14)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.zeros(20), "single value"),
        (np.zeros(10), "each of the 20 samples"),
        (np.r_[np.nan, np.zeros(19)], "missing entries"),
    ],
)
def test_bad_groups(groups, message):
    with pytest.raises(ValueError, match=message):
        MROClassifier(early_stopping=True).fit(GOOD, Y, groups=groups)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ({"text": TEXT, "video": AUDIO}, r"has the modalities \['video'\] that MROClassifier was"),
        ({**GOOD, "video": AUDIO}, r"has the modalities \['video'\]"),
        ({"text": TEXT[:, :3], "audio": AUDIO}, r"'text' has samples of shape \(3,\)"),
        ({"text": TEXT[:0], "audio": AUDIO[:0]}, "minimum of 1"),
        ({"text": broken(np.nan), "audio": AUDIO}, "NaN.*'text'"),
    ],
)
def test_bad_input_at_predict_names_the_modality(X, message):
    model = MROClassifier(max_epochs=1).fit(GOOD, Y)
    with pytest.raises(ValueError, match=message):
        model.predict(X)


def test_a_number_is_one_hidden_layer_and_a_tuple_names_modalities():
    one = MROClassifier(max_epochs=1, random_state=0, hidden_layer_sizes=8).fit(GOOD, Y)
    same = MROClassifier(max_epochs=1, random_state=0, hidden_layer_sizes=(8,)).fit(GOOD, Y)
    np.testing.assert_array_equal(one.predict_proba(GOOD), same.predict_proba(GOOD))
    picked = MROClassifier(max_epochs=1, random_state=0, modalities=("audio", "text"))
    assert picked.fit(GOOD, Y).modality_names_ == ["audio", "text"]
    for sizes in (0, True, (8, 2.5)):
        with pytest.raises(ValueError, match=r"hidden_layer_sizes.*(positive integers|int in the)"):
            MROClassifier(max_epochs=1, hidden_layer_sizes=sizes).fit(GOOD, Y)


def test_a_target_that_never_varies_has_nothing_to_explain():
    for method in (MRORegressor, SMURFRegressor, InTenseRegressor, RoutingRegressor):
        model = method(max_epochs=2)
        with pytest.warns(UserWarning, match="y is 3 in every training row") as caught:
            model.fit(GOOD, np.full(20, 3.0))
        assert caught[0].filename == __file__
        np.testing.assert_array_equal(model.predict(GOOD), 3.0)
        np.testing.assert_array_equal(model.decompose(GOOD).values, 0.0)
        assert (model.relevance_scores_ == 0.0).all()


def test_digits_that_are_not_kept_are_named():
    time = 1.7e9 + np.linspace(0, 1800, 200)[:, np.newaxis]  # seconds of a session
    X, y = {"time": time, "audio": RNG.normal(size=(200, 2))}, time[:, 0] / 1000
    with pytest.warns(UserWarning, match="float32 hardly keeps: 'time' in 0. Subtract a constant"):
        model = MRORegressor(max_epochs=20, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.9
    exact = MRORegressor(max_epochs=20, random_state=0, dtype="float64").fit(X, y)
    assert exact.score(X, y) > 0.98


@pytest.mark.parametrize("codes", [[-999.0], [-99.0, -999.0], [1e9]], ids=str)
def test_codes_of_what_is_missing_are_named(codes):
    rng = np.random.default_rng(0)
    X = {name: rng.integers(1, 6, size=(60, 2)).astype(float) for name in ("text", "audio")}
    X["audio"][: len(codes), 1] = codes
    X["audio"][10:15, 1] = codes[-1]
    number = re.escape(f"{codes[-1]:g}")
    message = f"Modality 'audio' has values so far .* of these: {number} in column 1. If they"
    with pytest.warns(UserWarning, match=message):
        MRORegressor(max_epochs=1).fit(X, rng.normal(size=60))
    MRORegressor(max_epochs=1, input_scaling=None).fit(X, rng.normal(size=60))


@pytest.mark.parametrize(
    "column",
    [
        np.arange(60) == 3,
        np.random.default_rng(0).normal(size=60),
        np.random.default_rng(0).poisson(0.3, size=60),
        np.r_[np.full(58, -1.0), 0.0, 1000.0],
    ],
    ids=["indicator", "normal", "counts", "two others"],
)
def test_what_is_far_out_for_no_code_is_left_alone(column):
    X = {"text": np.c_[column], "audio": np.random.default_rng(1).normal(size=(60, 2))}
    MRORegressor(max_epochs=1).fit(X, np.arange(60.0))


@pytest.mark.parametrize("name", ["y", "sample_weight", "groups"])
def test_what_comes_beside_x_has_its_rows_in_the_same_order(name):
    frames = {"text": FRAME, "audio": pd.DataFrame(AUDIO)}
    beside = {
        "y": pd.Series(Y),
        "sample_weight": pd.Series(np.ones(20)),
        "groups": pd.Series(np.arange(20) // 2),
    }
    MROClassifier(max_epochs=1).fit(frames, **beside)
    beside[name] = beside[name].iloc[::-1]
    for X in (frames, FRAME.add_prefix("text__")):
        with pytest.raises(ValueError, match=rf"^{name} has the row labels of .* in another order"):
            MROClassifier(max_epochs=1).fit(X, **beside)


@pytest.mark.parametrize(
    "pair", [(np.arange(15), np.arange(15, 20)), [np.arange(15, 20)], "0.1"], ids=str
)
def test_splits_are_pairs_in_a_list(pair):
    model = MROClassifier(max_epochs=1, early_stopping=True, validation_fraction=pair)
    with pytest.raises(ValueError, match=r"a single pair is a list as well: \[\(train, valid"):
        model.fit(GOOD, Y)


@pytest.mark.parametrize("weights", [{0: 0, 1: 0}, {0: 0, 1: 1}])
def test_class_weights_that_leave_no_two_classes(weights):
    with pytest.raises(ValueError, match=r"at least 2 classes are needed \(sample_weight and cl"):
        MROClassifier(class_weight=weights).fit(GOOD, Y)


def test_a_frame_that_has_not_been_transformed_is_told_from_others():
    model = MROClassifier(max_epochs=1).fit(GOOD, Y)
    with pytest.raises(ValueError, match=r"columns of X name no modalities.*pipeline\[:-1\]"):
        model.decompose(FRAME)


def test_a_column_as_target_is_pointed_at():
    with pytest.warns(DataConversionWarning, match="column-vector y") as caught:
        MRORegressor(max_epochs=1).fit(GOOD, RNG.normal(size=(20, 1)))
    assert caught[0].filename == __file__


def test_one_modality_says_what_it_means():
    with pytest.warns(UserWarning, match="one modality, 'text': there is nothing to fuse"):
        model = MROClassifier(max_epochs=1).fit({"text": TEXT}, Y)
    assert [str(term) for term in model.terms_] == ["text"]
    with pytest.warns(UserWarning, match="treats its columns as ONE modality"):
        MROClassifier(max_epochs=1).fit(TEXT, Y)


def test_an_ablation_to_one_modality_is_no_surprise():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MROClassifier(max_epochs=1, modalities=["text"]).fit(GOOD, Y)


def test_a_modality_may_be_sparse_inside_the_container():
    X = MultimodalData({"text": sparse.csr_array(TEXT), "audio": AUDIO})
    dense = MROClassifier(max_epochs=2, random_state=0).fit(GOOD, Y).predict_proba(GOOD)
    model = MROClassifier(max_epochs=2, random_state=0).fit(X, Y)
    np.testing.assert_array_equal(model.predict_proba(X), dense)


def test_modality_names_before_fit():
    assert not hasattr(MROClassifier(), "modality_names_")
