"""Every form of X becomes the same named arrays, or a sentence that says what to do."""

import pickle
import types
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d
from skorch.helper import SliceDict

from sklearn_mmfuse import MultimodalData
from sklearn_mmfuse._validation import check_modalities

N = 12
rng = np.random.default_rng(0)
TEXT, AUDIO = rng.normal(size=(N, 3)), rng.normal(size=(N, 4, 2))
VIDEO, IMAGE = rng.normal(size=(N, 2)), rng.normal(size=(N, 1, 2, 2))
FLAT = np.hstack([TEXT, VIDEO])
COLUMNS = ["text__a", "text__b", "text__c", "video__x", "video__y"]
FRAME = pd.DataFrame(FLAT, columns=COLUMNS)
PLAIN = pd.DataFrame(FLAT, columns=["a", "b", "c", "x", "y"])
Y = np.arange(N) % 2


class Probe(ClassifierMixin, BaseEstimator):
    """The smallest estimator behind `check_modalities`: it averages features over time."""

    def __init__(self, modalities=None, missing="error", dtype="float64"):
        self.modalities = modalities
        self.missing = missing
        self.dtype = dtype

    def _blocks(self, X, reset):
        return check_modalities(
            self, X, reset=reset, dtype=np.dtype(self.dtype), missing=self.missing
        )

    @staticmethod
    def _early(blocks):
        over_time = [np.nanmean(b, axis=1) if b.ndim == 3 else b for b in blocks.values()]
        return np.hstack([np.nan_to_num(b) for b in over_time])

    def fit(self, X, y):
        blocks = self._blocks(X, reset=True)
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        y = column_or_1d(y, warn=True)  # validate_data(self, y=y) would forget the feature names
        check_classification_targets(y)
        self.model_ = LogisticRegression().fit(self._early(blocks), y)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        check_is_fitted(self)
        return self.model_.predict(self._early(self._blocks(X, reset=False)))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.dict = tags.input_tags.three_d_array = True
        return tags


def read(X, modalities=None, *, missing="error", dtype=np.float64):
    """Check `X` in fit; return the estimator and the blocks."""
    estimator = Probe(modalities, missing)
    return estimator, check_modalities(estimator, X, reset=True, dtype=dtype, missing=missing)


def read_again(estimator, X, missing="error"):
    return check_modalities(estimator, X, reset=False, dtype=np.float64, missing=missing)


def cells_of(block):
    return pd.Series(list(block), dtype=object)


# The forms of X ----------------------------------------------------------------------------------

FORMS = {
    "container": MultimodalData(text=TEXT, video=VIDEO),
    "dict": {"text": TEXT, "video": VIDEO},
    "SliceDict": SliceDict(text=TEXT, video=VIDEO),
    "mapping proxy": types.MappingProxyType({"text": TEXT, "video": VIDEO}),
    "dict of lists": {"text": TEXT.tolist(), "video": VIDEO.tolist()},
    "dict of frames": {"text": pd.DataFrame(TEXT), "video": pl.DataFrame(VIDEO)},
    "dict of tensors": {"text": torch.tensor(TEXT, requires_grad=True), "video": VIDEO},
    "dict of cells": {"text": cells_of(TEXT), "video": cells_of(VIDEO)},
    "dict with sparse": {"text": sparse.csr_array(TEXT), "video": sparse.coo_array(VIDEO)},
    "frame of arrays": pd.DataFrame({"text": cells_of(TEXT), "video": cells_of(VIDEO)}),
    "two levels": pd.concat({"text": pd.DataFrame(TEXT), "video": pd.DataFrame(VIDEO)}, axis=1),
    "prefixed frame": FRAME,
    "prefixed polars": pl.from_pandas(FRAME),
    "nullable frame": FRAME.convert_dtypes(),
    "polars of lists": pl.DataFrame({"text": TEXT.tolist(), "video": VIDEO.tolist()}),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_form_becomes_the_same_arrays(form, dtype):
    estimator, blocks = read(FORMS[form], dtype=dtype)
    assert list(blocks) == ["text", "video"]
    for name, expected in (("text", TEXT), ("video", VIDEO)):
        assert blocks[name].dtype == dtype
        assert blocks[name].flags.c_contiguous
        assert_array_equal(blocks[name], expected.astype(dtype))
    assert estimator.modality_names_in_.tolist() == ["text", "video"]
    assert estimator.modality_names_in_.dtype == object
    assert estimator.modality_shapes_ == {"text": (3,), "video": (2,)}
    assert estimator.n_features_in_ == 5


@pytest.mark.parametrize("fitted", FORMS)
@pytest.mark.parametrize("given", FORMS)
def test_fit_and_predict_may_see_different_forms(fitted, given):
    estimator, expected = read(FORMS[fitted])
    blocks = read_again(estimator, FORMS[given][:5] if given == "container" else FORMS[given])
    for name, block in blocks.items():
        assert_array_equal(block, expected[name][: len(block)])


def test_order_of_a_dict_is_that_of_fit():
    estimator, _ = read({"text": TEXT, "video": VIDEO})
    assert list(read_again(estimator, {"video": VIDEO, "text": TEXT})) == ["text", "video"]


def test_sequences_and_images_keep_their_axes():
    ragged = [clip[: 1 + i % 4] for i, clip in enumerate(AUDIO)]
    estimator, blocks = read({"audio": AUDIO, "clip": ragged, "image": IMAGE})
    assert estimator.modality_shapes_ == {"audio": (None, 2), "clip": (None, 2), "image": (1, 2, 2)}
    assert estimator.n_features_in_ == 2 + 2 + 4
    assert blocks["clip"].shape == (N, 4, 2)
    assert_array_equal(np.isnan(blocks["clip"][0, :, 0]), [False, True, True, True])
    shorter = {"audio": AUDIO[:1, :2], "clip": [np.ones((9, 2))], "image": IMAGE[:1]}
    assert read_again(estimator, shorter)["clip"].shape == (1, 9, 2)


@pytest.mark.parametrize("form", FORMS)
def test_a_list_picks_and_orders(form):
    estimator, blocks = read(FORMS[form], ["video"])
    assert list(blocks) == ["video"]
    assert list(read_again(estimator, FORMS[form])) == ["video"]
    assert list(read(FORMS[form], ["video", "text"])[1]) == ["video", "text"]


def test_what_a_list_leaves_out_need_not_be_there_later():
    estimator, _ = read(FORMS["dict"], ["video"])
    assert list(read_again(estimator, {"video": VIDEO})) == ["video"]


# Feature names -----------------------------------------------------------------------------------


def test_feature_names_are_those_of_string_columns():
    estimator, _ = read(FRAME)
    assert estimator.feature_names_in_.tolist() == COLUMNS
    check_modalities(estimator, FORMS["dict"], reset=True, dtype=np.float64)
    assert not hasattr(estimator, "feature_names_in_")
    assert not hasattr(read(FORMS["two levels"])[0], "feature_names_in_")
    assert not hasattr(read(FORMS["frame of arrays"])[0], "feature_names_in_")


def test_scikit_learn_checks_the_names_of_columns():
    estimator, _ = read(FRAME)
    with pytest.raises(ValueError, match="must be in the same order as they were in fit"):
        read_again(estimator, FRAME[COLUMNS[::-1]])
    with pytest.raises(ValueError, match="seen at fit time, yet now missing:\n- text__a"):
        read_again(estimator, FRAME[COLUMNS[1:]])
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        assert_array_equal(read_again(estimator, FLAT)["video"], VIDEO)
    estimator, _ = read(FLAT, {"text": slice(3)})
    with pytest.warns(UserWarning, match="X has feature names, but Probe was fitted without"):
        read_again(estimator, FRAME)
    with pytest.raises(ValueError, match="X has 4 features, but Probe is expecting 5"):
        read_again(estimator, FLAT[:, :4])


# Errors ------------------------------------------------------------------------------------------

BOTH = {"text": TEXT, "video": VIDEO}


@pytest.mark.parametrize(
    ("X", "modalities", "error", "message"),
    [
        (sparse.csr_array(FLAT), None, TypeError, "dense data is required"),
        (sparse.dok_array(FLAT), None, TypeError, "dense data is required"),
        (AUDIO, None, ValueError, r"dim 3, shape \(12, 4, 2\).*give a sequence .* {'audio': X}"),
        (AUDIO.tolist(), None, ValueError, "dim 3"),
        ([TEXT, VIDEO], None, ValueError, "list of 2 arrays, whose meaning is ambiguous; name"),
        ([FRAME, PLAIN], None, ValueError, "list of 2 arrays, whose meaning is ambiguous; name"),
        (["text", "video"], None, ValueError, "wrap your dict in MultimodalData"),
        (np.ones(4), None, ValueError, "Reshape your data"),
        (1.0, None, ValueError, "scalar array"),
        (FLAT[:0], None, ValueError, r"Found array with 0 sample\(s\)"),
        (FLAT[:1], {"a": 0}, ValueError, "1 sample.*minimum of 2 is required by Probe"),
        (FRAME[:1], None, ValueError, "1 sample.*minimum of 2 is required by Probe"),
        ({"a": TEXT[:1]}, None, ValueError, "1 sample.*minimum of 2 is required by Probe"),
        (FORMS["two levels"][:1], None, ValueError, "minimum of 2 is required by Probe"),
        (FLAT + 1j, {"a": 0}, ValueError, "Complex data not supported"),
        ({"a": TEXT + 1j}, None, ValueError, "'a': Complex data not supported"),
        ({}, None, ValueError, "at least one modality"),
        ({"text": TEXT, "video": VIDEO[1:]}, None, ValueError, "'text' has 12, 'video' has 11"),
        ({"text": TEXT[:, 0]}, None, ValueError, "'text' is 1-dimensional.*Reshape your data"),
        ({"text": ["a"] * N}, None, ValueError, "'text' holds texts or objects, not numbers"),
        ({"text": [["a"]] * N}, None, ValueError, "'text': could not convert.*encode texts"),
        ({"text": TEXT[:, :0]}, None, ValueError, "'text': Found array with 0 feature"),
        ({"audio": AUDIO[:, :0]}, None, ValueError, r"'audio' has shape \(12, 0, 2\)"),
        ({"a": IMAGE[None]}, None, ValueError, r"'a' has shape \(1, 12, 1, 2, 2\)|1 sample"),
        ({"a": [np.ones((1, 2)), np.ones((1, 3))]}, None, ValueError, "'a' mixes samples"),
        ({"a": [np.ones(2), np.ones(3)]}, None, ValueError, r"signal\.reshape\(-1, 1\)"),
        ({"a__b": TEXT}, None, ValueError, "without '__', got 'a__b'"),
        ({0: TEXT}, None, ValueError, "non-empty string"),
        (BOTH, {"text": [0]}, ValueError, "X names its modalities itself, so `modalities` can"),
        (FORMS["two levels"], {"t": [0]}, ValueError, "X names its modalities itself"),
        (BOTH, ["smell"], ValueError, r"names \['smell'\], but X has \['text', 'video'\]"),
        (FRAME, ["smell"], ValueError, r"names \['smell'\], but X has \['text', 'video'\]"),
        (FLAT, ["text"], ValueError, r"X has \['X'\]; .* modalities={name: columns}"),
        (BOTH, ["text", "text"], ValueError, "must be a list of names, each once"),
        (BOTH, "text", ValueError, "must be a list of names, each once; got 'text'"),
        (BOTH, [], ValueError, "must be a list of names, each once"),
        (FLAT, {}, ValueError, "at least one modality"),
        (FLAT, {"a": []}, ValueError, "'a' selects no columns"),
        (FLAT, {"a": [7]}, ValueError, "'a': X has 5 columns, so there is no column 7"),
        (FLAT, {"a": "x"}, ValueError, "'a': Column 'x' is picked by name, but X has no"),
        (PLAIN, {"a": ["z"]}, ValueError, "'a': X has no column 'z', only 'a', 'b'"),
        (FRAME.assign(z=1.0), None, ValueError, "others do not.*'z'.*modalities={name: columns}"),
        (PLAIN.assign(z="t"), {"a": ["z"]}, ValueError, "'a': could not convert.*encode texts"),
    ],
)
def test_errors_say_what_to_do(X, modalities, error, message):
    estimator = Probe(modalities)
    with pytest.raises(error, match=message):
        check_modalities(estimator, X, reset=True, dtype=np.float64)
    assert vars(estimator) == vars(Probe(modalities))  # nothing is half fitted


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ({"text": TEXT}, r"X lacks the modalities \['video'\] that Probe was fitted on; it has"),
        ({**BOTH, "smell": TEXT}, r"X has the modalities \['smell'\] that .* set modalities="),
        ({"text": TEXT, "video": TEXT}, r"'video' has samples of shape \(3,\), but .* \(2,\)"),
        ({"text": TEXT, "video": AUDIO}, r"'video' has samples of shape \(\*, 2\), but"),
        (FLAT, "X is an array without names.* pass MultimodalData or a dict"),
        (PLAIN, r"columns of X name no modalities.* was fitted on \['text', 'video'\]"),
        ({"text": TEXT[:0], "video": VIDEO[:0]}, r"Found array with 0 sample\(s\)"),
        (sparse.csr_array(FLAT), "dense data is required"),
    ],
)
def test_predict_wants_the_modalities_of_fit(X, message):
    estimator, _ = read(BOTH)
    before = pickle.dumps(vars(estimator))
    with pytest.raises((ValueError, TypeError), match=message):
        read_again(estimator, X)
    assert pickle.dumps(vars(estimator)) == before
    assert read_again(estimator, {"text": TEXT[:1], "video": VIDEO[:1]})["text"].shape == (1, 3)


def named_frames(text=("a", "b", "c"), video=("x", "y")):
    return {
        "text": pd.DataFrame(TEXT, columns=list(text)),
        "video": pd.DataFrame(VIDEO, columns=list(video)),
    }


AS_FRAMES = {
    "dict": lambda frames: frames,
    "polars": lambda frames: {name: pl.from_pandas(frame) for name, frame in frames.items()},
    "container": MultimodalData,
    "rows": lambda frames: MultimodalData(frames)[np.arange(N)][:, ["text", "video"]],
    "assigned": lambda frames: MultimodalData(text=TEXT, video=VIDEO).assign(frames),
    "joined": lambda frames: MultimodalData.concat(halves(MultimodalData(frames))),
    "two levels": lambda frames: pd.concat(frames, axis=1),
}


def test_masked_numbers_of_an_array_are_missing():
    masked = np.ma.array(np.ones((N, 3)), mask=np.zeros((N, 3), dtype=bool))
    masked[1, :2] = np.ma.masked
    _, blocks = read(masked, {"text": [0, 1], "video": [2]}, missing="allow")
    assert_array_equal(np.isnan(blocks["text"]).all(axis=1), np.arange(N) == 1)
    assert not np.isnan(blocks["video"]).any()


def halves(data):
    return [data[:5], data[5:]]


@pytest.mark.parametrize("form", AS_FRAMES)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (("b", "a", "c"), "columns in another order than in fit, which was 'a', 'b', 'c'"),
        (("a", "b", "z"), "columns that fit has not seen, 'z', and lacks 'c'"),
    ],
)
def test_columns_of_a_modality_are_those_of_fit(form, text, message):
    make = AS_FRAMES[form]
    estimator, blocks = read(make(named_frames()))
    assert_array_equal(blocks["text"], TEXT)
    for known in (make(named_frames()), BOTH):  # arrays have no names
        assert_array_equal(read_again(estimator, known)["text"], TEXT)
    with pytest.raises(ValueError, match=f"Modality 'text' .*{message}.*fitted on"):
        read_again(estimator, make(named_frames(text)))


def test_columns_that_are_merely_numbered_tell_their_order_only():
    numbered = {"text": pd.DataFrame(TEXT), "video": pd.DataFrame(VIDEO)}
    estimator, _ = read(numbered)
    for known in (named_frames(), numbered | {"text": pd.DataFrame(TEXT, columns=[7, 8, 9])}):
        assert_array_equal(read_again(estimator, known)["text"], TEXT)
    with pytest.raises(ValueError, match="another order than in fit, which was 0, 1, 2"):
        read_again(estimator, numbered | {"text": pd.DataFrame(TEXT)[[2, 0, 1]]})


@pytest.mark.parametrize("wrong", ["texts", "Text"])
def test_a_misspelt_modality_is_not_taken_for_an_absent_one(wrong):
    X = {"text": TEXT, "video": VIDEO, "notes": TEXT}
    estimator, _ = read(X, ["text", "video"], missing="mask")
    for known in ({"video": VIDEO}, {"video": VIDEO, "notes": TEXT}, {**X, "new": TEXT}):
        assert list(read_again(estimator, known, missing="mask")) == ["text", "video"]
    message = rf"X has the modalities \['{wrong}'\] .* and lacks \['text'\]"
    with pytest.raises(ValueError, match=message):
        read_again(estimator, {wrong: TEXT, "video": VIDEO}, missing="mask")


def test_cells_may_be_lists_but_not_beside_numbers():
    lists = pd.DataFrame({"text": TEXT.tolist(), "video": VIDEO.tolist()})
    assert_array_equal(read(lists)[1]["video"], VIDEO)
    for cells in (TEXT.tolist(), list(TEXT)):
        mixed = pd.DataFrame({"text": cells, "age": VIDEO[:, 0]})
        with pytest.raises(ValueError, match="column 'text' is an array, but not of 'age'"):
            read(mixed)


# Missing values ----------------------------------------------------------------------------------


def with_nan(block, *index):
    block = block.copy()
    block[index] = np.nan
    return block


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("missing", ["error", "mask", "allow"])
def test_infinity_is_always_an_error(missing, dtype):
    for value in (np.inf, -np.inf, 1e300 if dtype == np.float32 else np.inf):
        block = TEXT.copy()
        block[[2, 5], 1] = value
        with pytest.raises(ValueError, match=r"Input X contains infinity.*'text' in 2 of 12 rows"):
            read({"text": block, "video": VIDEO}, missing=missing, dtype=dtype)


@pytest.mark.parametrize(
    ("X", "rows"),
    [
        ({"m": with_nan(TEXT, [1, 2], 0)}, 2),
        ({"m": with_nan(TEXT, [1, 2])}, 2),
        ({"m": with_nan(AUDIO, 3, 1, 0)}, 1),
        ({"m": with_nan(AUDIO, 3)}, 1),
        ({"m": with_nan(IMAGE, 3, 0, 0, 0)}, 1),
        ({"m": with_nan(IMAGE, [3, 4])}, 2),
        ({"m": [None, *TEXT[1:]]}, 1),
        (pd.DataFrame({"m__a": [1.0, None, 3.0]}), 1),
    ],
)
def test_nan_is_an_error_that_counts_rows(X, rows):
    with pytest.raises(ValueError, match=f"Input X contains NaN: modality 'm' in {rows} of"):
        read(X)


def test_time_steps_of_nan_are_padding():
    padded = with_nan(AUDIO, slice(None, 5), slice(2, None))
    for missing in ("error", "mask", "allow"):
        assert_array_equal(read({"audio": padded}, missing=missing)[1]["audio"], padded)


def test_mask_keeps_what_is_missing_as_a_whole():
    X = {"text": with_nan(TEXT, [1, 2]), "audio": with_nan(AUDIO, 3), "image": with_nan(IMAGE, 4)}
    estimator, blocks = read(X, missing="mask")
    for name, block in blocks.items():
        assert_array_equal(block, X[name])
    assert list(read_again(estimator, X, missing="mask")) == list(X)


@pytest.mark.parametrize(
    ("block", "index"), [(TEXT, (1, 0)), (AUDIO, (1, 2, 0)), (IMAGE, (1, 0, 0, 0))]
)
def test_mask_refuses_what_is_partly_missing(block, index):
    with pytest.raises(ValueError, match=r"'m' in part of 1 of .* rows. Impute single feat"):
        read({"m": with_nan(block, *index)}, missing="mask")


def test_mask_fills_in_what_a_later_x_leaves_out():
    estimator, _ = read({"text": TEXT, "audio": AUDIO, "image": IMAGE}, missing="mask")
    for later in ({"text": TEXT}, {"text": TEXT, "audio": None, "image": None}):
        blocks = read_again(estimator, later, missing="mask")
        assert list(blocks) == ["text", "audio", "image"]
        assert np.isnan(blocks["audio"]).all()
        assert blocks["image"].shape == IMAGE.shape
        with pytest.raises(ValueError, match=r"X lacks the modalities \['audio', 'image'\]"):
            read_again(estimator, later)
    with pytest.raises(ValueError, match="X lacks the modalities"):
        read_again(estimator, {"pose": TEXT}, missing="mask")
    with pytest.raises(ValueError, match="Modality 'audio' is None, but fit needs rows"):
        read({"text": TEXT, "audio": None}, missing="mask")


# Inside scikit-learn -----------------------------------------------------------------------------


def test_cross_validation_carries_the_container_and_frames():
    forms = [FORMS[k] for k in ("container", "prefixed frame", "frame of arrays", "two levels")]
    scores = [cross_val_score(Probe(), X, Y, cv=3, error_score="raise") for X in forms]
    for score in scores[1:]:
        assert_array_equal(score, scores[0])


def test_cross_validation_under_array_api_dispatch():
    expected = cross_val_score(Probe(), FORMS["container"], Y, cv=3)
    with config_context(array_api_dispatch=True):
        actual = cross_val_score(Probe(), FORMS["container"], Y, cv=3, error_score="raise")
        read({"text": torch.tensor(TEXT), "video": VIDEO})
    assert_array_equal(actual, expected)


def test_an_ablation_is_a_grid_search():
    grid = {"modalities": [None, ["text"], ["text", "video"]]}
    search = GridSearchCV(Probe(), grid, cv=GroupKFold(3), error_score="raise")
    search.fit(FORMS["container"], Y, groups=np.arange(N) // 2)
    assert len(search.cv_results_["params"]) == 3


def test_a_plain_dict_is_refused_before_it_gets_here():
    # Nothing of ours runs: scikit-learn counts the keys.
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[2, 12\]"):
        cross_val_score(Probe(), BOTH, Y)
    # With as many modalities as samples a mask picks keys without a word: these get here.
    many = {f"m{i}": TEXT for i in range(N)}
    with pytest.raises(ValueError, match=r"\['m1', 'm3', 'm5'\].*wrap your dict in Multimodal"):
        cross_val_score(Probe(), many, Y, cv=[(Y == 1, Y == 0)], error_score="raise")


@pytest.mark.parametrize("estimator", [Probe(), Probe(missing="mask")], ids=str)
def test_scikit_learns_own_checks_pass(estimator):
    state = np.random.get_state()  # which the checks themselves use
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(estimator, on_fail=None, on_skip=None)
    np.random.set_state(state)
    failed = {r["check_name"]: r["exception"] for r in results if r["status"] == "failed"}
    assert failed == {}
