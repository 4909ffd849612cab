"""Selectors mean what they mean in scikit-learn's ColumnTransformer."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from sklearn.utils._indexing import _get_column_indices

from sklearn_mmfuse import MultimodalData
from sklearn_mmfuse._columns import (
    by_top_level,
    columns_of_arrays,
    group_by_prefix,
    resolve_columns,
    select_columns,
    stack_cells,
    take_columns,
)
from sklearn_mmfuse._validation import check_modalities
from sklearn_mmfuse.preprocessing import FlattenModalities

NAMES = ["a", "b", "c", "d"]
FRAME = pd.DataFrame(np.arange(8.0).reshape(2, 4), columns=NAMES)

KINDS = {
    "str": "b",
    "int": 1,
    "negative int": -1,
    "numpy int": np.int64(2),
    "list of str": ["c", "a"],
    "tuple of str": ("c", "a"),
    "array of str": np.array(["c", "a"]),
    "object array of str": np.array(["c", "a"], dtype=object),
    "pandas Index": pd.Index(["c", "a"]),
    "list of int": [2, 0, -1],
    "array of int": np.array([2, 0]),
    "slice of int": slice(1, 3),
    "open slice of int": slice(2, None),
    "slice of str": slice("b", "c"),
    "open slice of str": slice("c", None),
    "mask list": [True, False, True, False],
    "mask array": np.array([True, False, True, False]),
    "mask Series": pd.Series([True, False, True, False]),
    "empty list": [],
    "missing str": ["a", "z"],
    "int out of range": [0, 4],
    "slice of missing str": slice("a", "z"),
    "slice of str with a step": slice("a", "d", 2),
    "slice of mixed kinds": slice("a", 2),
    "slice of floats": slice(0.5, 2.5),
    "mask of wrong length": [True],
    "mixed list": ["a", 1],
    "floats": [0.5],
    "scalar float": 0.5,
    "array of floats": np.array([0.5]),
}
CONTAINERS = {
    "pandas": FRAME,
    "polars": pl.DataFrame({name: [0.0, 1.0] for name in NAMES}),
    "array": FRAME.to_numpy(),
}


def outcome(function, *arguments):
    try:
        return function(*arguments)
    except (ValueError, NotImplementedError) as error:
        return type(error)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("kind", KINDS)
def test_selectors_agree_with_scikit_learn(kind, container):
    X, selector = CONTAINERS[container], KINDS[kind]
    expected = outcome(_get_column_indices, X, selector)
    if isinstance(expected, list):
        expected = [int(position) for position in expected]
    assert outcome(resolve_columns, X, selector) == expected


@pytest.mark.parametrize("container", CONTAINERS)
def test_everything_is_a_slice(container):
    # scikit-learn itself fails here for arrays.
    assert resolve_columns(CONTAINERS[container], slice(None)) == [0, 1, 2, 3]


@pytest.mark.parametrize("selector", [None, True, object(), np.zeros((2, 2), int), {"a"}])
def test_what_is_no_selector_is_told(selector):
    with pytest.raises(ValueError, match="picked by names, positions, a boolean mask"):
        resolve_columns(FRAME, selector)


def test_callables_see_the_data():
    frame = FRAME.assign(e="text")
    assert resolve_columns(frame, make_column_selector(dtype_include=float)) == [0, 1, 2, 3]
    assert resolve_columns(frame, make_column_selector("^[ae]")) == [0, 4]
    assert resolve_columns(frame, lambda X: X.columns[:2]) == [0, 1]


def test_modalities_are_the_columns_of_a_container():
    data = MultimodalData(text=FRAME, audio=FRAME)
    assert resolve_columns(data, "audio") == [1]
    assert resolve_columns(data, [0, 1]) == [0, 1]


def test_messages_name_what_there_is():
    with pytest.raises(ValueError, match="no column 'z', only 'a', 'b', 'c', 'd'"):
        resolve_columns(FRAME, "z")
    with pytest.raises(ValueError, match=r"only 'x0', .*'x9', \.\.\. \(30 in all\)"):
        resolve_columns(pd.DataFrame({f"x{i}": [0] for i in range(30)}), "z")
    with pytest.raises(ValueError, match="X has no column names; pass a data frame"):
        resolve_columns(FRAME.to_numpy(), "a")
    with pytest.raises(ValueError, match="4 columns, so there is no column -5"):
        resolve_columns(FRAME, -5)


def test_integer_names_are_positions():
    frame = pd.DataFrame(np.ones((2, 3)), columns=[2, 1, 0])
    assert resolve_columns(frame, [2]) == [2]


def test_a_column_belongs_to_one_modality():
    with pytest.raises(ValueError, match=r"Column 'b' is in the modalities 'x' and 'y'.*to one"):
        select_columns(FRAME, {"x": ["a", "b"], "y": slice("b", "d")})
    with pytest.raises(ValueError, match="Column 1 is in the modalities"):
        select_columns(FRAME.to_numpy(), {"x": [0, 1], "y": [1]})


@pytest.mark.parametrize(
    ("modalities", "message"),
    [
        ({}, "at least one modality"),
        ({"x": []}, "'x' selects no columns"),
        ({"x": [False] * 4}, "'x' selects no columns"),
        ({"x": ["z"]}, "'x': X has no column 'z'"),
        ({"x__y": ["a"]}, "without '__'"),
    ],
)
def test_wrong_selections_are_told(modalities, message):
    with pytest.raises(ValueError, match=message):
        select_columns(FRAME, modalities)


def test_prefixes_end_at_the_first_separator():
    frame = pd.DataFrame(np.ones((2, 4)), columns=["t__a__b", "v__a", "t__c", "v__d"])
    assert group_by_prefix(frame) == {"t": [0, 2], "v": [1, 3]}
    assert group_by_prefix(pl.from_pandas(frame)) == {"t": [0, 2], "v": [1, 3]}


@pytest.mark.parametrize("names", [["a", "b"], [0, 1], ["__a", "b__"]])
def test_without_prefixes_all_is_one_modality(names):
    assert group_by_prefix(pd.DataFrame(np.ones((2, 2)), columns=names)) == {"X": [0, 1]}


def test_mixed_prefixes_are_told():
    frame = pd.DataFrame(np.ones((2, 2)), columns=["t__a", "b"])
    with pytest.raises(ValueError, match=r"\('t__a'\), others do not \('b'\).*modalities={name"):
        group_by_prefix(frame)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("positions", [[1, 2], [3, 0], [1], [0, 2]])
def test_columns_are_taken_by_position(container, positions):
    X = CONTAINERS[container]
    assert_array_equal(np.asarray(take_columns(X, positions)), np.asarray(X)[:, positions])


def test_neighboring_columns_are_a_view():
    array = FRAME.to_numpy().copy()
    assert np.shares_memory(take_columns(array, [1, 2]), array)


def test_levels_are_modality_and_feature():
    frame = pd.concat({"t": FRAME, "v": FRAME[["a"]], "u": FRAME}, axis=1)
    blocks = by_top_level(frame[["u", "v", "t"]])
    assert {name: block.shape for name, block in blocks.items()} == {
        "u": (2, 4),
        "v": (2, 1),
        "t": (2, 4),
    }
    with pytest.raises(ValueError, match="3 levels, but 2 are needed"):
        by_top_level(pd.concat({"x": frame}, axis=1))


def test_columns_of_arrays_are_found():
    arrays = pd.Series([None, np.nan, np.ones(2)], dtype=object)
    assert list(columns_of_arrays(pd.DataFrame({"a": arrays, "b": arrays}))) == ["a", "b"]
    for other in (["a", np.ones(2), None], [None] * 3, [1.0, 2.0, 3.0]):
        assert columns_of_arrays(pd.DataFrame({"a": arrays, "b": pd.Series(other)})) is None
    assert columns_of_arrays(pd.DataFrame({"a": arrays})[:0]) is None
    nested = pl.DataFrame({"a": [[1.0], None], "b": [[[1.0]], [[2.0], [3.0]]]})
    assert list(columns_of_arrays(nested)) == ["a", "b"]
    assert columns_of_arrays(nested.with_columns(c=1)) is None


def cells(*items):
    array = np.empty(len(items), dtype=object)
    for i, item in enumerate(items):
        array[i] = item
    return array


def test_cells_are_stacked_and_padded():
    steps = stack_cells("a", cells(np.ones((2, 3), np.float32), None, np.ones((1, 3), np.float32)))
    assert steps.dtype == np.float32
    assert steps.shape == (3, 2, 3)
    assert np.isnan(steps[1]).all()
    assert np.isnan(steps[2, 1]).all()
    assert not np.isnan(steps[2, 0]).any()
    vectors = stack_cells("a", cells([1, 2], float("nan")))
    assert_array_equal(vectors, [[1.0, 2.0], [np.nan, np.nan]])
    assert stack_cells("a", cells(np.ones((2, 3, 3)), np.ones((2, 3, 3)))).shape == (2, 2, 3, 3)
    assert stack_cells("a", cells(np.ones((0, 3)))).shape == (1, 1, 3)


@pytest.mark.parametrize(
    "items",
    [
        (np.ones(2), np.ones(3)),
        (np.ones((2, 2)), np.ones((2, 3))),
        (np.ones((2, 2)), np.ones(2)),
        (np.ones((1, 2, 2)), np.ones((2, 2, 2))),
    ],
)
def test_cells_of_different_features_are_told(items):
    with pytest.raises(ValueError, match=r"'a' mixes samples of shapes .* time steps"):
        stack_cells("a", cells(*items))


def test_texts_are_not_stacked():
    texts = cells("a", "b")
    assert stack_cells("a", texts) is texts


# Columns as modalities ---------------------------------------------------------------------------

N = 12
FLAT = np.random.default_rng(0).normal(size=(N, 5))
PLAIN = pd.DataFrame(FLAT, columns=["a", "b", "c", "x", "y"])
TEXT, VIDEO = FLAT[:, :3], FLAT[:, 3:]


def read(X, modalities=None):
    """Check `X` in fit; return the estimator and the blocks."""
    estimator = FlattenModalities(modalities)
    return estimator, check_modalities(estimator, X, reset=True, dtype=np.float64)


def read_again(estimator, X):
    return check_modalities(estimator, X, reset=False, dtype=np.float64)


@pytest.mark.parametrize(
    ("X", "modalities"),
    [
        (FLAT, {"text": slice(0, 3), "video": [3, -1]}),
        (FLAT.tolist(), {"text": [0, 1, 2], "video": slice(3, None)}),
        (torch.tensor(FLAT), {"text": slice(0, 3), "video": slice(3, 5)}),
        (np.asfortranarray(FLAT), {"text": [0, 1, 2], "video": [False] * 3 + [True] * 2}),
        (PLAIN, {"text": ["a", "b", "c"], "video": slice("x", "y")}),
        (PLAIN, {"text": make_column_selector("[abc]"), "video": PLAIN.columns[3:]}),
        (PLAIN, {"text": slice(3), "video": PLAIN.columns > "c"}),
        (pl.from_pandas(PLAIN), {"text": ["a", "b", "c"], "video": ["x", "y"]}),
        (PLAIN.set_axis(range(5), axis=1), {"text": [0, 1, 2], "video": [3, 4]}),
        (PLAIN.add_prefix("m__"), {"text": slice("m__a", "m__c"), "video": ["m__x", "m__y"]}),
    ],
)
def test_a_dict_of_columns_names_the_modalities(X, modalities):
    estimator, blocks = read(X, modalities)
    assert_array_equal(blocks["text"], TEXT)
    assert_array_equal(blocks["video"], VIDEO)
    assert all(block.flags.c_contiguous for block in blocks.values())
    assert estimator.n_features_in_ == 5
    again = read_again(estimator, X)
    assert_array_equal(again["video"], VIDEO)
    # A later caller may already have the modalities apart.
    assert_array_equal(read_again(estimator, {"text": TEXT, "video": VIDEO})["video"], VIDEO)


def test_columns_may_be_left_out():
    frame = PLAIN.assign(note="not a number", gap=np.nan)
    estimator, blocks = read(frame, {"left": ["a", "b"], "one": "x"})
    assert_array_equal(blocks["left"], PLAIN[["a", "b"]])
    assert blocks["one"].shape == (N, 1)
    assert estimator.n_features_in_ == 7
    mixed = np.array([[1.0, "note"], [2.0, "note"]], dtype=object)
    assert_array_equal(read(mixed, {"a": 0})[1]["a"], [[1.0], [2.0]])


def test_data_without_names_are_one_modality_with_a_warning():
    message = "FlattenModalities found no modalities in X and treats .* as ONE modality, 'X': there"
    for X in (FLAT, PLAIN, pl.from_pandas(PLAIN), FLAT.tolist()):
        with pytest.warns(UserWarning, match=message):
            estimator, blocks = read(X)
        assert_array_equal(blocks["X"], FLAT)
        read_again(estimator, X)  # which says nothing more
    assert list(read(FLAT, ["X"])[1]) == ["X"]  # on purpose
    assert list(read(FLAT, {"all": slice(None)})[1]) == ["all"]


def test_a_frame_of_sequences_is_padded():
    ragged = pd.Series([np.ones((1 + i % 4, 2)) for i in range(N)])
    _, blocks = read(pd.DataFrame({"text": pd.Series([*TEXT]), "audio": ragged}))
    assert blocks["audio"].shape == (N, 4, 2)


def test_bfloat16_becomes_float():
    _, blocks = read({"a": torch.ones(3, 2, dtype=torch.bfloat16)})
    assert_array_equal(blocks["a"], np.ones((3, 2)))


def test_prefixes_of_the_stock_transformer_are_modalities():
    steps = [("text", StandardScaler(), ["a", "b"]), ("video", PCA(1), ["x", "y"])]
    stock = ColumnTransformer(steps).set_output(transform="pandas")
    assert list(read(stock.fit_transform(PLAIN))[1]) == ["text", "video"]
    with pytest.warns(UserWarning, match="found no modalities in X"):
        read(ColumnTransformer(steps).fit_transform(PLAIN))
