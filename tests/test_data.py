"""The container slices like each of its blocks, and scikit-learn can carry it around."""

import copy
import pickle
from itertools import pairwise

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn import config_context
from sklearn.model_selection import GroupKFold, train_test_split
from sklearn.utils import _safe_indexing, check_array, check_consistent_length, indexable
from sklearn.utils.validation import _num_features, _num_samples

from sklearn_mmfuse import MultimodalData


def make_data(n=7):
    rng = np.random.default_rng(0)
    return MultimodalData(
        text=rng.normal(size=(n, 3)),
        audio=rng.normal(size=(n, 4, 2)),
        image=rng.normal(size=(n, 1, 2, 2)).astype(np.float32),
        words=sparse.random_array((n, 6), density=0.5, format="csr", rng=rng),
        clip=[rng.normal(size=(i + 1, 2)) for i in range(n)],
        video=torch.arange(n * 2.0).reshape(n, 2),
        note=[f"note {i}" for i in range(n)],
    )


def as_lists(block):
    """Comparable nested lists of any block."""
    dense = block.toarray() if sparse.issparse(block) else np.asarray(block)
    return [np.asarray(row).tolist() for row in dense]


def assert_same(actual, expected):
    assert list(actual) == list(expected)
    for name in expected:
        assert type(actual[name]) is type(expected[name])
        assert actual[name].dtype == expected[name].dtype
        assert as_lists(actual[name]) == as_lists(expected[name])


@st.composite
def row_keys(draw, n=7):
    integers = st.lists(st.integers(-n, n - 1), max_size=9)
    ends = st.none() | st.integers(-n - 2, n + 2)
    kind = draw(st.sampled_from(["list", "array", "mask", "mask list", "slice"]))
    if kind == "slice":
        step = draw(st.sampled_from([None, 1, 2, -1, -3]))
        return slice(draw(ends), draw(ends), step)
    if kind.startswith("mask"):
        mask = draw(st.lists(st.booleans(), min_size=n, max_size=n))
        return np.array(mask) if kind == "mask" else mask
    rows = draw(integers)
    return np.array(rows, dtype=np.intp) if kind == "array" else rows


@settings(max_examples=60, deadline=None)
@given(row_keys())
def test_picking_rows_is_picking_the_rows_of_every_block(key):
    data = make_data()
    positions = np.arange(7)[key] if not isinstance(key, list) or key else np.arange(0)
    for part in (data[key], data[key, ...]):
        assert len(part) == len(positions)
        for name, block in data.items():
            rows = as_lists(block)
            assert as_lists(part[name]) == [rows[i] for i in positions]
            assert type(part[name]) is type(block)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 7), max_size=3).map(sorted))
def test_concat_undoes_splitting(cuts):
    data = make_data()
    edges = [0, *cuts, 7]
    parts = [data[a:b] for a, b in pairwise(edges)]
    assert_same(MultimodalData.concat(parts), data)


@settings(max_examples=15, deadline=None)
@given(row_keys())
def test_pickling_keeps_everything(key):
    data = make_data()[key]
    assert_same(pickle.loads(pickle.dumps(data)), data)


def test_hash_depends_on_the_content_alone():
    data = make_data().drop("video")
    assert joblib.hash(data) == joblib.hash(make_data().drop("video"))
    assert joblib.hash(data) == joblib.hash(pickle.loads(pickle.dumps(data)))
    assert joblib.hash(data) != joblib.hash(data[::-1])


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_copies_hold_the_same(duplicate):
    assert_same(duplicate(make_data()), make_data())


def test_deepcopy_shares_no_memory():
    data = make_data()
    assert not np.shares_memory(copy.deepcopy(data)["text"], data["text"])


# Access ------------------------------------------------------------------------------------------


def test_shape_counts_samples_and_modalities():
    data = make_data()
    assert data.shape == (7, 7)
    assert data.ndim == 2
    assert len(data) == 7
    assert not hasattr(data, "iloc")


def test_one_sample_is_a_dict():
    data = make_data()
    for key in (3, np.int64(3), -4, (3, ...), (3, slice(None))):
        sample = data[key]
        assert type(sample) is dict
        assert list(sample) == list(data)
        assert_array_equal(sample["audio"], data["audio"][3])
        assert sample["note"] == "note 3"
    assert_array_equal(data[3, "text"], data["text"][3])
    assert list(data[3, ["text", "note"]]) == ["text", "note"]


def test_columns_are_modalities():
    data = make_data()
    assert data["text"] is data[:, "text"]
    assert data["text"] is data[:, 0]
    assert data[:, -1] is data["note"]
    expected = ["audio", "text"]
    for key in (expected, tuple(expected), np.array(expected), pd.Index(expected)):
        assert list(data[:, list(key)]) == expected
    for key in ([1, 0], np.array([1, 0])):
        assert list(data[:, key]) == expected
    assert list(data[["audio", "text"]]) == expected
    assert list(data[np.array(expected)]) == expected
    assert list(data[pd.Index(expected)]) == expected
    assert list(data[:, :2]) == ["text", "audio"]
    assert list(data[:, np.array([True, *[False] * 6])]) == ["text"]
    assert len(data[[1, 2], ["text"]]) == 2


def test_it_reads_like_a_mapping_of_names():
    data = make_data()
    names = ["text", "audio", "image", "words", "clip", "video", "note"]
    assert list(data) == list(data.keys()) == names
    assert [v is data[k] for k, v in data.items()] == [True] * 7
    assert next(iter(data.values())) is data["text"]
    assert "text" in data
    assert "smell" not in data
    assert 0 not in data
    assert list(MultimodalData(data)) == names


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        ("smell", KeyError, "no modality 'smell', only"),
        (["text", "smell"], KeyError, "no modality 'smell'"),
        (7, IndexError, "out of bounds"),
        ([0, 7], IndexError, "out of"),
        ([True, False], IndexError, "mask has 2 entries for 7 samples"),
        ([0.5], IndexError, "positions, a mask or a slice"),
        (["text", 0], IndexError, "positions, a mask or a slice"),
        (None, IndexError, "positions, a mask or a slice"),
        (True, IndexError, "positions, a mask or a slice"),
        (np.zeros((2, 2), int), IndexError, "positions, a mask or a slice"),
        ((0, 0, 0), IndexError, "two axes, got 3"),
    ],
)
def test_a_wrong_key_is_told(key, error, message):
    with pytest.raises(error, match=message):
        make_data()[key]


# Blocks ------------------------------------------------------------------------------------------


def test_blocks_are_kept_or_become_arrays():
    numbers, frame = np.ones((2, 3)), pd.DataFrame({"a": [1, 2], "b": [0.5, None]})
    tensor, table = torch.ones(2, 3, requires_grad=True), pl.DataFrame({"a": [1, 2]})
    data = MultimodalData(
        array=numbers,
        tensor=tensor,
        coo=sparse.coo_array(numbers),
        frame=frame,
        table=table,
        nullable=pd.DataFrame({"a": [1, None]}, dtype="Int64"),
        places=pd.DataFrame({"city": ["Rome", "Oslo"], "zip": [1, 2]}),
        texts=pd.Series(["a", "b"]),
        nested=[[1, 2], [3, 4]],
        tensors=[torch.ones(3), torch.zeros(3)],
        cells=pd.DataFrame({"clip": [np.ones((1, 2)), np.ones((3, 2))]}),
    )
    assert data["array"] is numbers
    assert data["tensor"] is tensor
    assert data["coo"].format == "csr"
    assert_array_equal(data["frame"], [[1, 0.5], [2, np.nan]])
    assert data["table"].shape == (2, 1)
    assert_array_equal(data["nullable"], [[1.0], [np.nan]])
    assert data["places"].dtype == object
    assert data["texts"].tolist() == ["a", "b"]
    assert data["nested"].shape == (2, 2)
    assert data["tensors"].shape == (2, 3)
    assert data["cells"].shape == (2,)


def test_sequences_of_unequal_lengths_stay_separate_arrays():
    clips = [np.ones((2, 3)), None, np.ones((1, 3))]
    block = MultimodalData(audio=clips)["audio"]
    assert block.shape == (3,)
    assert block.dtype == object
    assert block[0] is clips[0]
    assert block[1] is None


@pytest.mark.parametrize(
    ("blocks", "error", "message"),
    [
        ({}, ValueError, "at least one modality"),
        ([np.ones((2, 2))], TypeError, "mapping from names to arrays, got list"),
        (
            {"a": np.ones((2, 1)), "b": np.ones((3, 1))},
            ValueError,
            "'a' has 2, 'b' has 3; align them",
        ),
        ({"a__b": np.ones((2, 1))}, ValueError, "non-empty string without '__', got 'a__b'"),
        ({"": np.ones((2, 1))}, ValueError, "non-empty string"),
        ({0: np.ones((2, 1))}, ValueError, "non-empty string"),
        ({"a": 1.0}, ValueError, "'a' is a scalar"),
        ({"a": {"b": np.ones((2, 1))}}, TypeError, "'a' is itself a mapping"),
    ],
)
def test_wrong_blocks_are_told(blocks, error, message):
    with pytest.raises(error, match=message):
        MultimodalData(blocks)


def test_a_name_given_twice_is_told():
    with pytest.raises(ValueError, match="'a' is given twice"):
        MultimodalData({"a": [[1]]}, a=[[2]])


# New containers ----------------------------------------------------------------------------------


def test_assign_and_drop_return_new_containers():
    data = make_data()
    more = data.assign({"text": np.zeros((7, 1))}, extra=np.ones((7, 1)))
    assert more["text"].shape == (7, 1)
    assert list(more) == [*data, "extra"]
    assert data["text"].shape == (7, 3)
    assert more["audio"] is data["audio"]
    assert list(more.drop("text").drop(["audio", "extra"])) == list(data)[2:]
    with pytest.raises(KeyError, match="no modality 'smell'"):
        data.drop("smell")
    with pytest.raises(ValueError, match="at least one modality"):
        data.drop(list(data))


def test_to_numpy_puts_everything_side_by_side():
    data = make_data().drop(["clip", "note"])
    array = data.to_numpy()
    assert array.shape == (7, 3 + 8 + 4 + 6 + 2)
    assert_array_equal(array[:, 3:11], data["audio"].reshape(7, -1))
    assert_array_equal(array[:, 15:21], data["words"].toarray())
    with pytest.raises(ValueError, match="'clip' holds texts, numbers or sequences"):
        make_data().to_numpy()


def test_concat_tells_what_does_not_fit():
    data = make_data()
    with pytest.raises(ValueError, match="nothing to concatenate"):
        MultimodalData.concat([])
    with pytest.raises(ValueError, match="Modalities differ"):
        MultimodalData.concat([data, data.drop("text")])
    with pytest.raises(ValueError, match=r"'audio' do not fit together: \(1, 2, 3\), \(1, 4, 2\)"):
        MultimodalData.concat(
            [MultimodalData(audio=np.ones((1, 2, 3))), MultimodalData(audio=np.ones((1, 4, 2)))]
        )


def test_concat_holds_frames_to_their_columns():
    frame = pd.DataFrame(np.eye(3), columns=list("xyz"))
    one, turned = MultimodalData(audio=frame), MultimodalData(audio=frame[["z", "y", "x"]])
    with pytest.raises(ValueError, match=r"'audio' are \['x', 'y', 'z'\] in one part and \['z'"):
        MultimodalData.concat([one, turned])
    unnamed = MultimodalData(audio=np.eye(3))
    for parts in ([one, unnamed], [unnamed, one]):
        assert MultimodalData.concat(parts).feature_names == one.feature_names
    with pytest.raises(ValueError, match="select the same ones"):
        MultimodalData.concat([unnamed, one, turned])


def test_masked_numbers_are_missing():
    counts = np.ma.array([[1, 2], [3, 4]], mask=[[True, True], [False, False]])
    np.testing.assert_array_equal(MultimodalData(audio=counts)["audio"], [[np.nan, np.nan], [3, 4]])
    clips = MultimodalData(clip=[counts, np.ones((3, 2))])["clip"]
    np.testing.assert_array_equal(clips[0], [[np.nan, np.nan], [3, 4]])


def test_concat_pads_sequences_to_the_longest():
    short, long = (MultimodalData(audio=np.ones((2, n, 3), dtype=np.float32)) for n in (2, 4))
    both = MultimodalData.concat([short, long])["audio"]
    assert both.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(both).all(axis=2).sum(axis=1), [2, 2, 0, 0])
    np.testing.assert_array_equal(both[:2, :2], 1)


def test_repr_names_shapes_and_types():
    assert repr(make_data().drop(["image", "words", "video", "note"])) == (
        "<MultimodalData of 7 samples: text (3,) float64, audio (4, 2) float64, clip (*, 2) object>"
    )


def test_equality_is_identity():
    data = make_data()
    assert data == data
    assert data != make_data()
    assert len({data, data}) == 1


# What scikit-learn does with it ------------------------------------------------------------------


def test_scikit_learn_reads_rows_and_columns():
    data, y = make_data(), np.arange(7)
    check_consistent_length(data, y)
    assert indexable(data, y)[0] is data
    assert _num_samples(data) == _num_features(data) == 7
    mask = y > 3
    assert_same(_safe_indexing(data, mask), data[4:])
    assert_same(_safe_indexing(data, [4, 5, 6]), data[4:])
    assert _safe_indexing(data, 0, axis=1) is data["text"]
    assert list(_safe_indexing(data, [0, 1], axis=1)) == ["text", "audio"]
    train, test, *_ = train_test_split(data, y, random_state=0)
    assert (len(train), len(test)) == (5, 2)
    splits = list(GroupKFold(2).split(data, y, groups=y % 3))
    assert len(splits) == 2


def test_it_refuses_to_become_one_array():
    data = make_data()
    with pytest.raises(TypeError, match=r"X\['text'\], or all of them side by side, X.to_numpy"):
        np.asarray(data)
    with pytest.raises(TypeError, match="not one array"):
        check_array(data)


def test_array_api_dispatch_takes_rows():
    data = make_data()
    with config_context(array_api_dispatch=True):
        assert_same(_safe_indexing(data, np.array([1, 2])), data[1:3])
        assert_same(_safe_indexing(data, np.arange(7) > 4), data[5:])
    assert_same(np.take(data, [1, 2], axis=0), data[1:3])
    assert list(data.take([0], axis=1)) == ["text"]


def test_a_torch_loader_reads_it_as_a_dataset():
    data = make_data().drop(["words", "clip"])
    loader = torch.utils.data.DataLoader(data, batch_size=4, generator=torch.Generator())
    first = next(iter(loader))
    assert first["text"].shape == (4, 3)
    assert first["note"] == ["note 0", "note 1", "note 2", "note 3"]
    assert_same(data[torch.tensor([0, 2])], data[[0, 2]])


# Row labels ---------------------------------------------------------------------------------------

CLIPS = [f"clip{i}" for i in range(12)]


def labeled(labels):
    return pd.DataFrame(np.ones((12, 2)), index=labels)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (sorted(CLIPS), "row labels of 'text' in another order"),
        ([*CLIPS[2:], "x", "y"], "row labels of 'text' for only 10 of 12 rows"),
    ],
)
@pytest.mark.parametrize("as_series", [False, True])
def test_rows_in_another_order_are_not_mixed_up(labels, message, as_series):
    text = labeled(CLIPS)
    other = pd.Series([np.ones(2)] * 12, index=labels) if as_series else labeled(labels)
    with pytest.raises(ValueError, match=rf"Modality 'audio' has the {message}.*reset_index"):
        MultimodalData(text=text, audio=other)
    with pytest.raises(ValueError, match=message):
        MultimodalData({"text": text}, audio=other)
    assert len(MultimodalData(text=text, audio=other.loc[labels].reset_index(drop=True))) == 12


def test_numbered_rows_in_another_order_are_not_mixed_up():
    frame = labeled(range(12))
    shuffled = frame.iloc[[*range(1, 12), 0]]
    with pytest.raises(ValueError, match="'audio' has the row labels of 'text' in another order"):
        MultimodalData(text=frame, audio=shuffled)
    assert len(MultimodalData(text=shuffled, audio=shuffled)) == 12
    assert len(MultimodalData(text=frame, audio=labeled(range(12, 24)))) == 12
    assert len(MultimodalData(text=np.ones((12, 2)), audio=shuffled)) == 12


@pytest.mark.parametrize("labels", [CLIPS, range(12), [f"audio{i}" for i in range(12)]])
def test_rows_with_the_same_or_with_other_labels_belong_together(labels):
    assert len(MultimodalData(text=labeled(CLIPS), audio=labeled(labels))) == 12


def test_columns_of_frames_stay_with_their_modality():
    frame = pd.DataFrame({"pitch": [1.0, 2.0], "energy": [3.0, 4.0]})
    data = MultimodalData(audio=frame, text=np.ones((2, 3)))
    assert data.feature_names == {"audio": ("pitch", "energy")}
    for same in (data[[0]], data[["audio"]], data.drop("text"), data.assign(text=np.zeros((2, 1)))):
        assert same.feature_names == data.feature_names
    assert data.assign(audio=np.ones((2, 2))).feature_names == {}
    assert data.drop("audio").feature_names == {}
    assert pickle.loads(pickle.dumps(data)).feature_names == data.feature_names
