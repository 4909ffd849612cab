"""load_affect: files in MultiBench's format, written here, and nothing that they could run."""

import io
import os
import pickle
import subprocess

import numpy as np
import pytest

from sklearn_mmfuse import MROClassifier
from sklearn_mmfuse.datasets import load_affect
from sklearn_mmfuse.datasets._restricted_pickle import load_pickle

SIZES = {"train": 5, "valid": 2, "test": 3}
WIDTHS = {"vision": 2, "audio": 4, "text": 3}


def make_content(seed=0, n_steps=6):
    """Word-aligned sequences that begin later and later, padded with zeros in front."""
    rng, content = np.random.default_rng(seed), {}
    for split, n in SIZES.items():
        part = {name: rng.normal(size=(n, n_steps, width)) for name, width in WIDTHS.items()}
        for row in range(n):
            for block in part.values():
                block[row, : row % 4] = 0.0
        part["labels"] = rng.normal(size=(n, 1, 1)).astype(np.float32)
        part["id"] = np.array([f"video{row}[0]" for row in range(n)], dtype=object)
        content[split] = part
    return content


def write(folder, content, protocol=pickle.DEFAULT_PROTOCOL):
    path = folder / "mosi_data.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_is_written_is_read(tmp_path, protocol):
    content = make_content()
    bunch = load_affect(write(tmp_path, content, protocol))
    assert list(bunch.data) == ["audio", "text", "vision"]
    assert bunch.split.tolist() == ["train"] * 5 + ["valid"] * 2 + ["test"] * 3
    assert bunch.sample_id[:2].tolist() == ["video0[0]", "video1[0]"]
    assert bunch.DESCR == "mosi_data.pkl: 5 train, 2 valid, 3 test"
    assert bunch.target.shape == (10,)
    np.testing.assert_array_equal(bunch.target[5:7], content["valid"]["labels"].ravel())
    for name in WIDTHS:
        block = bunch.data[name]
        assert block.dtype == np.float32
        expected = np.concatenate([content[split][name] for split in SIZES]).astype(np.float32)
        padding = np.isnan(block)
        np.testing.assert_array_equal(padding, expected == 0)
        np.testing.assert_array_equal(block[~padding], expected[~padding])


def test_padding_goes_by_the_text_or_by_each_modality(tmp_path):
    content = make_content()
    content["train"]["audio"][0, :2] = 0.0  # silence at the beginning
    content["train"]["vision"][1, 2, 0] = -np.inf
    path = write(tmp_path, content)
    aligned, apart = load_affect(path), load_affect(path, aligned=False)
    assert not np.isnan(aligned.data["audio"][0]).any()
    assert np.isnan(apart.data["audio"][0, :2]).all()
    assert not np.isnan(apart.data["audio"][0, 2:]).any()
    assert aligned.data["vision"][1, 2, 0] == 0


def test_rows_without_text_keep_what_they_have(tmp_path):
    content = make_content()
    content["test"]["text"][1] = 0.0
    data = load_affect(write(tmp_path, content)).data
    assert np.isnan(data["text"][8]).all()
    assert np.isfinite(data["audio"][8, 1:]).all()


def test_unaligned_files_have_lengths_of_their_own(tmp_path):
    content = make_content()
    for part in content.values():
        part["audio"] = np.concatenate([part["audio"]] * 2, axis=1)
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=r"one length; got \[6, 12\] steps. Pass aligned=False"):
        load_affect(path)
    assert load_affect(path, aligned=False).data["audio"].shape == (10, 12, 4)


def test_a_model_fits_what_was_read(tmp_path):
    bunch = load_affect(write(tmp_path, make_content()))
    model = MROClassifier(encoder="transformer", max_epochs=2, max_order=1, random_state=0)
    assert model.fit(bunch.data, bunch.target > 0).predict(bunch.data).shape == (10,)


def test_several_labels_and_no_identifiers(tmp_path):
    content = make_content()
    for split, part in content.items():
        part["labels"] = np.zeros((SIZES[split], 6), dtype=int)
        del part["id"]
    bunch = load_affect(write(tmp_path, content))
    assert bunch.target.shape == (10, 6)
    assert bunch.sample_id[5] == "valid_0"


class Run:
    """Asks whoever unpickles it to call a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize(
    ("function", "argument"),
    [(os.system, "touch {}"), (subprocess.check_call, ["touch", "{}"]), (eval, "open('{}', 'w')")],
    ids=["system", "subprocess", "eval"],
)
def test_a_malicious_pickle_is_refused(tmp_path, function, argument, protocol):
    made = tmp_path / "made"
    filled = (
        [part.format(made) for part in argument]
        if isinstance(argument, list)
        else argument.format(made)
    )
    content = make_content()
    content["train"]["id"] = Run(function, filled)
    with pytest.raises(ValueError, match="only plain arrays are read"):
        load_affect(write(tmp_path, content, protocol))
    hidden = make_content()
    hidden["train"]["id"] = np.array([Run(function, filled)] * 5, dtype=object)
    with pytest.raises(ValueError, match="was not read"):
        load_affect(write(tmp_path, hidden, protocol))
    assert not made.exists()


def test_arrays_of_objects_are_text_or_refused(tmp_path):
    content = make_content()
    content["train"]["id"] = np.array([{"a": 1}] * 5, dtype=object)
    with pytest.raises(ValueError, match="objects other than text"):
        load_affect(write(tmp_path, content))


def broken(content, **changes):
    return {**content, "train": {**content["train"], **changes}}


def without(content, key):
    return {**content, "train": {k: v for k, v in content["train"].items() if k != key}}


BAD = {
    "a list": ([1, 2], "dict of splits.*got list"),
    "other splits": ({"dev": {}}, r"some of \['train', 'valid', 'test'\]; got \['dev'\]"),
    "no labels": (without(make_content(), "labels"), r"'labels'.*got \['vision'"),
    "vectors": (broken(make_content(), text=np.ones((5, 3))), r"'text' .* \(5, T, d\).*\(5, 3\)"),
    "rows": (broken(make_content(), audio=np.ones((4, 6, 4))), r"'audio' in split 'train'.*\(4, 6"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_other_files_are_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        load_affect(write(tmp_path, content))


def test_no_file_and_no_pickle(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_affect(tmp_path / "nothing.pkl")
    path = tmp_path / "text.pkl"
    path.write_text("hello")
    with pytest.raises(ValueError, match=r"text.pkl was not read"):
        load_affect(path)


@pytest.mark.parametrize(
    "name",
    [
        b"numpy.core.multiarray\n_reconstruct",
        b"numpy\nndarray",
        b"numpy\ndtype",
        b"_codecs\nencode",
    ],
)
def test_a_pickle_cannot_change_what_reads_it(tmp_path, name):
    # `BUILD` sets state on whatever is on the stack, an allowed name included.
    content = b"c" + name + b"\n}(S'array'\nS'changed'\nub."
    with pytest.raises(pickle.UnpicklingError):
        load_pickle(io.BytesIO(content))
    assert load_affect(write(tmp_path, make_content(), 2)).data["text"].shape == (10, 6, 3)


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "|u1", "<i8", "<U7", "|S5"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_plain_arrays_survive(dtype, order, protocol):
    expected = np.asarray(np.arange(6).reshape(2, 3), dtype=dtype, order=order)
    found = load_pickle(io.BytesIO(pickle.dumps({"a": [expected]}, protocol=protocol)))["a"][0]
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def test_arrays_that_are_not_what_they_say(tmp_path):
    good = pickle.dumps(np.arange(6.0).reshape(2, 3), protocol=2)
    for change in (
        good.replace(b"K\x02K\x03", b"K\x09K\x03"),
        good[:-20],
        good.replace(b"f8", b"V8"),
    ):
        with pytest.raises(pickle.UnpicklingError):
            load_pickle(io.BytesIO(change))
