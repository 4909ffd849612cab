"""Instagram posts: what the files hold, how they get here, and that they cannot run code.

No test touches the network. Those that need the real files look for them in the folder that the
environment variable MMFUSE_DATA_HOME names, or beside the repository, and are skipped without them.
"""

import hashlib
import io
import os
import pickle
import subprocess
import zipfile
from http.client import IncompleteRead
from pathlib import Path
from urllib.error import HTTPError, URLError

import numpy as np
import pytest

from sklearn_mmfuse import MultimodalData
from sklearn_mmfuse.datasets import _instagram, fetch_instagram_intent, paper_folds
from sklearn_mmfuse.datasets._restricted_pickle import load_arrays

REPOSITORY = Path(__file__).resolve().parents[2]
DATA_HOME = Path(os.environ.get("MMFUSE_DATA_HOME", REPOSITORY.parent / "shared" / "data"))
NAMES = list(_instagram.CHECKSUMS)
SIZES = [4, 5, 6, 5, 4]


def archive(content):
    """What torch.save makes of a pickle: a zip file with the pickle and a version."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as folder:
        folder.writestr("any_name/data.pkl", content)
        folder.writestr("any_name/version", "3\n")
    return file.getvalue()


def made_up_file(fold):
    """A small file with the layout of a real one; protocol 5 pickles arrays by `_frombuffer`."""
    n, rng = SIZES[fold], np.random.default_rng(fold)
    codes = np.arange(n, dtype=np.int64)[:, None]
    batch = {
        "meta_semiotic": [codes % 3],
        "meta_contextual": [(codes + 1) % 3],
        "meta_id": [codes + 100 * fold],
        "x": [np.asfortranarray(rng.normal(size=(n, 5)), dtype=np.float32)],
        "y": [(codes % 7).astype(np.float32)],
    }
    names = np.array(["resnet_0", "resnet_1", "roberta_0", "roberta_1", "roberta_2"])
    return archive(pickle.dumps(([batch], {"x_names": names}), protocol=5))


@pytest.fixture
def files(monkeypatch):
    """Five made-up files, with checksums to match."""
    contents = {name: made_up_file(fold) for fold, name in enumerate(NAMES)}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(_instagram, "CHECKSUMS", sums)
    return contents


class Server:
    """Stands in for urlopen; `plan` holds what to answer first, before the files."""

    def __init__(self, files, plan=()):
        self.files, self.plan, self.urls = files, list(plan), []

    def __call__(self, url, timeout):
        assert timeout > 0
        self.urls.append(url)
        answer = self.plan.pop(0) if self.plan else self.files[url.rsplit("/", 1)[-1]]
        if isinstance(answer, Exception):
            raise answer
        return io.BytesIO(answer)


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """No network, and no waiting; the pauses asked for."""

    def refuse(*args, **kwargs):
        raise AssertionError("a test reached for the network")

    slept = []
    monkeypatch.setattr(_instagram, "urlopen", refuse)
    monkeypatch.setattr(_instagram.time, "sleep", slept.append)
    return slept


@pytest.fixture
def serve(monkeypatch, files):
    def start(*plan):
        server = Server(files, plan)
        monkeypatch.setattr(_instagram, "urlopen", server)
        return server

    return start


def not_found(url="https://example.org"):
    return HTTPError(url, 404, "Not Found", {}, io.BytesIO())


def put(files, folder):
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


# The real files


@pytest.fixture(scope="module")
def posts():
    try:
        return fetch_instagram_intent(data_home=DATA_HOME, download_if_missing=False)
    except OSError:
        if all((DATA_HOME / "instagram_intent" / name).is_file() for name in NAMES):
            raise
        pytest.skip("the Instagram files are not here")


def test_posts_have_the_published_size(posts):
    assert isinstance(posts.data, MultimodalData)
    for modality, width in {"image": 512, "text": 768}.items():
        block = np.asarray(posts.data[modality])
        assert block.shape == (1299, width)
        assert block.dtype == np.float32
        assert block.flags.c_contiguous
        assert np.isfinite(block).all()
        assert (block.std(axis=0) > 0).all()
        assert len(posts.feature_names[modality]) == width
    assert posts.feature_names["image"][-1] == "resnet_511"
    assert posts.feature_names["text"][0] == "roberta_0"


def test_every_post_is_in_exactly_one_fold(posts):
    assert np.bincount(posts.fold).tolist() == [259, 260, 260, 260, 260]
    assert sorted(posts.post_id) == list(range(1299))


def test_rows_are_sorted_by_fold_and_post(posts):
    np.testing.assert_array_equal(np.lexsort((posts.post_id, posts.fold)), np.arange(1299))


def test_labels_are_those_of_the_published_posts(posts):
    # The first posts of train_split_0.json and of val_split_0.json of Kruk et al., in order.
    published = {
        0: "advocate parallel minimal",
        1: "expose divergent minimal",
        2: "entertain divergent minimal",
        3: "expose parallel close",
        6: "inform parallel close",
        7: "express parallel close",
        13: "promote parallel close",
        1040: "promote parallel close",
        1041: "inform additive transcendent",
        1043: "provoke additive transcendent",
        1051: "expose additive close",
    }
    row = {post: index for index, post in enumerate(posts.post_id)}
    for post, labels in published.items():
        at = row[post]
        found = (
            posts.target_names[posts.target[at]],
            posts.semiotic_names[posts.semiotic[at]],
            posts.contextual_names[posts.contextual[at]],
        )
        assert " ".join(found) == labels


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ("target", "target_names"),
        ("semiotic", "semiotic_names"),
        ("contextual", "contextual_names"),
    ],
)
def test_description_counts_the_labels(posts, labels, names):
    for name, count in zip(posts[names], np.bincount(posts[labels]), strict=True):
        assert f"{name} ({count})" in posts.DESCR


def test_description_counts_the_repeated_captions(posts):
    _, group, counts = np.unique(
        np.asarray(posts.data["text"]), axis=0, return_inverse=True, return_counts=True
    )
    repeated = [np.flatnonzero(group == index) for index in np.flatnonzero(counts > 1)]
    assert (len(repeated), sum(map(len, repeated))) == (12, 27)
    assert sum(len(set(posts.fold[rows])) > 1 for rows in repeated) == 8
    assert sum(len(set(posts.target[rows])) > 1 for rows in repeated) == 2
    assert len(np.unique(np.asarray(posts.data["image"]), axis=0)) == 1299


def test_paper_folds_of_the_posts(posts):
    tested = []
    for index, (train, validation, test) in enumerate(paper_folds(posts.fold)):
        assert set(posts.fold[test]) == {index}
        assert set(posts.fold[validation]) == {(index + 1) % 5}
        assert len(train) in (779, 780)
        assert sorted([*train, *validation, *test]) == list(range(1299))
        tested.extend(test)
    assert sorted(tested) == list(range(1299))


# Made-up files: parsing


@pytest.mark.parametrize("folder", [".", "instagram_intent"])
def test_data_home_holds_the_files_itself_or_in_a_folder(files, tmp_path, folder):
    put(files, tmp_path / folder)
    posts = fetch_instagram_intent(data_home=tmp_path, download_if_missing=False)
    assert posts.data["text"].shape == (sum(SIZES), 3)
    assert posts.fold.tolist() == np.repeat(range(5), SIZES).tolist()
    assert posts.post_id[:5].tolist() == [0, 1, 2, 3, 100]
    assert posts.target.dtype == np.int64
    assert posts.feature_names == {
        "image": ["resnet_0", "resnet_1"],
        "text": ["roberta_0", "roberta_1", "roberta_2"],
    }


def test_return_x_y(files, tmp_path):
    put(files, tmp_path)
    posts = fetch_instagram_intent(data_home=str(tmp_path))
    X, y = fetch_instagram_intent(data_home=tmp_path, return_X_y=True)
    np.testing.assert_array_equal(np.asarray(X["image"]), np.asarray(posts.data["image"]))
    np.testing.assert_array_equal(y, posts.target)


# Made-up files: where they come from


def test_missing_files_say_where_to_put_them(files, tmp_path):
    with pytest.raises(OSError, match=r"test_0\.pickle is neither in .* nor in .*instagram_intent"):
        fetch_instagram_intent(data_home=tmp_path / "new", download_if_missing=False)
    assert not (tmp_path / "new").exists()


def test_changed_local_file_is_refused(files, tmp_path):
    put(files, tmp_path)
    (tmp_path / NAMES[3]).write_bytes(files[NAMES[2]])
    with pytest.raises(OSError, match=r"test_3\.pickle is not the published .* delete it"):
        fetch_instagram_intent(data_home=tmp_path)


def test_download_fills_the_cache_once(serve, files, tmp_path):
    server = serve()
    first = fetch_instagram_intent(data_home=tmp_path)
    assert [url.rsplit("/", 1)[-1] for url in server.urls] == NAMES
    assert all(url.startswith("https://raw.githubusercontent.com/") for url in server.urls)
    cached = {path.name: path.read_bytes() for path in (tmp_path / "instagram_intent").iterdir()}
    assert cached == files
    second = fetch_instagram_intent(data_home=tmp_path)
    assert len(server.urls) == 5
    np.testing.assert_array_equal(first.target, second.target)


@pytest.mark.parametrize(
    "trouble",
    [URLError("offline"), TimeoutError("slow"), IncompleteRead(b"half"), b"half of the file"],
    ids=["offline", "slow", "cut off", "truncated"],
)
def test_failed_download_is_tried_again(serve, pauses, tmp_path, trouble):
    server = serve(trouble)
    with pytest.warns(UserWarning, match=r"Downloading .*test_0\.pickle again"):
        fetch_instagram_intent(data_home=tmp_path, delay=0.25)
    assert len(server.urls) == 6
    assert pauses == [0.25]


def test_given_up_download_tells_what_to_do_and_leaves_nothing(serve, pauses, tmp_path):
    server = serve(b"wrong", b"wrong")
    with (
        pytest.warns(UserWarning, match="again"),
        pytest.raises(OSError, match=r"could not be downloaded .*checksum.* by hand"),
    ):
        fetch_instagram_intent(data_home=tmp_path, n_retries=1)
    assert len(server.urls) == 2
    assert len(pauses) == 1
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_a_revision_that_is_gone_is_passed_over(serve, tmp_path):
    server = serve(not_found())
    fetch_instagram_intent(data_home=tmp_path)
    revisions = [url.split("/")[5] for url in server.urls[:3]]
    assert revisions == [_instagram.REVISIONS[0], "main", _instagram.REVISIONS[0]]


def test_files_gone_from_every_revision(serve, tmp_path):
    serve(*(not_found() for _ in _instagram.REVISIONS))
    with pytest.raises(OSError, match="does not exist for any of"):
        fetch_instagram_intent(data_home=tmp_path, n_retries=0)


def test_server_error_is_no_missing_file(serve, tmp_path):
    server = serve(HTTPError("https://example.org", 503, "Unavailable", {}, io.BytesIO()))
    with pytest.raises(OSError, match="503"):
        fetch_instagram_intent(data_home=tmp_path, n_retries=0)
    assert len(server.urls) == 1


# Nothing in a file runs


class Calls:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ("function", "make_arguments"),
    [
        (os.system, lambda path: (f"touch {path}",)),
        (eval, lambda path: (f"open({str(path)!r}, 'w')",)),
        (subprocess.check_call, lambda path: (["touch", str(path)],)),
        (np.memmap, lambda path: (str(path), "u1", "w+", 0, 1)),
    ],
    ids=["os.system", "eval", "subprocess", "numpy beyond arrays"],
)
def test_malicious_pickle_is_refused(tmp_path, function, make_arguments, protocol):
    victim = tmp_path / "victim"
    content = pickle.dumps([Calls(function, *make_arguments(victim))], protocol=protocol)
    with pytest.raises(pickle.UnpicklingError, match="only plain arrays are read"):
        load_arrays(io.BytesIO(archive(content)))
    assert not victim.exists()


@pytest.mark.parametrize("dtype", ["O", "V8", "f4,O", "f4\n", "M8[s]"])
def test_dtypes_that_hold_more_than_numbers_and_text_are_refused(dtype):
    content = pickle.dumps(Calls(np.dtype, dtype, False, True))
    with pytest.raises(pickle.UnpicklingError, match="plain numbers or text"):
        load_arrays(io.BytesIO(archive(content)))


def test_object_array_is_refused():
    content = pickle.dumps(np.array([{}, 1], dtype=object), protocol=5)
    with pytest.raises(pickle.UnpicklingError):
        load_arrays(io.BytesIO(archive(content)))


def test_pickle_cannot_change_what_reads_it():
    # `BUILD` sets state on whatever is on the stack, an allowed name included.
    for name in (b"cnumpy.core.numeric\n_frombuffer\n", b"cnumpy\ndtype\n"):
        content = name + b"}(S'resolve'\nS'changed'\nub."
        with pytest.raises(TypeError):
            load_arrays(io.BytesIO(archive(content)))
    ([batch], _) = load_arrays(io.BytesIO(made_up_file(0)))
    assert batch["x"][0].shape == (4, 5)


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "|u1", "<i8", "<U7", ">U3"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_plain_arrays_survive(dtype, order):
    expected = np.asarray(np.arange(6).reshape(2, 3), dtype=dtype, order=order)
    found = load_arrays(io.BytesIO(archive(pickle.dumps(expected, protocol=5))))
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def test_archive_without_a_pickle_is_refused():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as folder:
        folder.writestr("any_name/version", "3\n")
    with pytest.raises(pickle.UnpicklingError, match=r"torch\.save"):
        load_arrays(file)


# Splits


def test_paper_folds_keep_to_the_folds_that_are_there():
    # After a selection of rows a fold may be missing; the next one present validates.
    splits = list(paper_folds(np.array([4, 0, 2, 2])))
    assert [[part.tolist() for part in split] for split in splits] == [
        [[0], [2, 3], [1]],
        [[1], [0], [2, 3]],
        [[2, 3], [1], [0]],
    ]


def test_paper_folds_need_three_folds():
    with pytest.raises(ValueError, match=r"three folds; got \[0, 1\]"):
        next(paper_folds([0, 1, 1]))
