"""The Instagram posts of the MRO paper: an image, a caption, and what the author wanted."""

from __future__ import annotations

import hashlib
import io
import os
import time
import uuid
import warnings
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.datasets import get_data_home
from sklearn.utils import Bunch

from sklearn_mmfuse._data import MultimodalData
from sklearn_mmfuse.datasets._restricted_pickle import load_arrays

__all__ = ["fetch_instagram_intent", "paper_folds"]

FOLDER = "instagram_intent"
REPOSITORY = "twoertwein/MultimodalResidualOptimization"
# The commit that added the files, so that a later one cannot change them; the branches are for the
# day that the commit is gone. Either way the checksums decide.
REVISIONS = ("9062d43ec354d46b73c039d58d007ce5433f8d41", "main", "master")
TIMEOUT = 60.0  # seconds without an answer

# In the order of the test folds.
CHECKSUMS = {
    "Instagram_intent_test_0.pickle": (
        "0fa9f66d4eeffcfcd29888db8b419f1ae641c133c5aabbef1fa6a1162492763a"
    ),
    "Instagram_intent_test_1.pickle": (
        "eac0abdf91e9d68ce89c077c7e7aa3c8f6a4b949237db9fc7e1537f38c35818a"
    ),
    "Instagram_intent_test_2.pickle": (
        "e74f3112900ac407927e34e5b0957b6a95b710d4fbf2134d4ac9fabf5a5102da"
    ),
    "Instagram_intent_test_3.pickle": (
        "49c79d9335fdf773fd9e59b5b095019524744ba62dc62708306d8ef242f67020"
    ),
    "Instagram_intent_test_4.pickle": (
        "7ca0b6925ab29af962649365c9cc661c4b706885cafab1211e9a0db907e0c173"
    ),
}

# The files hold codes. These are the lists that Kruk et al. publish (`labels/*.json`), and the same
# lists encode the labels in the MRO authors' data loader.
INTENTS = ("provoke", "inform", "advocate", "entertain", "expose", "express", "promote")
SEMIOTIC = ("divergent", "parallel", "additive")
CONTEXTUAL = ("minimal", "close", "transcendent")

PREFIXES = {"image": "resnet_", "text": "roberta_"}

DESCR = """\
Intent of Instagram posts (MRO features)
----------------------------------------

1,299 Instagram posts (Kruk et al., 2019): what did the author want with image and caption? The
features are the ones published with "Beyond Additive Fusion" (Wörtwein et al., 2022).

:Samples: 1299
:Modalities: image (512, ResNet-18), text (768, RoBERTa on the caption); float32, nothing missing
:Target: 7 intents: 0 provoke (97), 1 inform (140), 2 advocate (123), 3 entertain (361),
    4 expose (275), 5 express (111), 6 promote (192). Kruk et al. call them provocative,
    informative, advocative, entertainment, exhibitionist, expressive and promotive.
:Semiotic relation: 0 divergent (137), 1 parallel (834), 2 additive (328)
:Contextual relation: 0 minimal (444), 1 close (676), 2 transcendent (179)
:Folds: 5, of 259, 260, 260, 260 and 260 posts; see `paper_folds`

Rows are sorted by fold and, in a fold, keep the order of its file (which is that of `post_id`).
`post_id` is the position of the post in `splits/train_split_0.json` followed by
`splits/val_split_0.json` of github.com/karansikka1/documentIntent_emnlp19, where the captions are.

Twelve captions occur more than once (27 posts), eight of them in more than one fold: their text
features are equal, their images differ, and so do the intents of two of them.

License: BSD-3-Clause, (c) 2023 Torsten Wörtwein,
github.com/twoertwein/MultimodalResidualOptimization.

References
~~~~~~~~~~
T. Wörtwein, L. Sheeber, N. Allen, J. Cohn, L.-P. Morency: Beyond Additive Fusion: Learning
Non-Additive Multimodal Interactions. Findings of EMNLP 2022.

J. Kruk, J. Lubin, K. Sikka, X. Lin, D. Jurafsky, A. Divakaran: Integrating Text and Image:
Determining Multimodal Document Intent in Instagram Posts. EMNLP 2019.
"""


def _url(name: str, revision: str) -> str:
    return f"https://raw.githubusercontent.com/{REPOSITORY}/{revision}/cache/{name}"


def _verify(content: bytes, name: str, origin: object) -> None:
    """Raise an OSError unless `content` is the published file."""
    found = hashlib.sha256(content).hexdigest()
    if found != CHECKSUMS[name]:
        raise OSError(
            f"{origin} is not the published {name}: its SHA-256 checksum is {found} and should be "
            f"{CHECKSUMS[name]}. If it is a file of yours, delete it and fetch again."
        )


def _read_remote(name: str) -> bytes:
    """Read a published file from the first revision that has it."""
    for revision in REVISIONS:
        url = _url(name, revision)
        try:
            with urlopen(url, timeout=TIMEOUT) as response:
                content: bytes = response.read()
        except HTTPError as error:
            error.close()
            if error.code != 404:
                raise
        else:
            _verify(content, name, url)
            return content
    raise OSError(f"{_url(name, '<revision>')} does not exist for any of {', '.join(REVISIONS)}")


def _download(name: str, path: Path, n_retries: int, delay: float) -> bytes:
    """Download to `path`, which exists afterwards only if it is complete and correct."""
    while True:
        try:
            content = _read_remote(name)
            break
        except (OSError, HTTPException) as error:
            if n_retries <= 0:
                raise OSError(
                    f"{name} could not be downloaded ({error}). Put the five files "
                    f"{next(iter(CHECKSUMS))}, ... into {path.parent} by hand; they are in the "
                    f"folder cache of https://github.com/{REPOSITORY}."
                ) from error
            warnings.warn(f"Downloading {name} again after: {error}", stacklevel=4)
            n_retries -= 1
            time.sleep(delay)

    path.parent.mkdir(parents=True, exist_ok=True)
    # Another process may be fetching too: write under a name of our own, then replace in one step.
    part = path.with_name(f"{name}.{uuid.uuid4().hex}.part")
    part.write_bytes(content)
    os.replace(part, path)
    return content


def _read_files(home: Path, download: bool, n_retries: int, delay: float) -> Iterator[bytes]:
    """Read the five files, each from `home`, its sub-folder, or the network."""
    for name in CHECKSUMS:
        path = home / FOLDER / name
        local = next((place for place in (home / name, path) if place.is_file()), None)
        if local is not None:
            content = local.read_bytes()
            _verify(content, name, local)
        elif download:
            content = _download(name, path, n_retries, delay)
        else:
            raise OSError(
                f"{name} is neither in {home} nor in {path.parent}. Put the five files there, or "
                "let them be downloaded with download_if_missing=True."
            )
        yield content


def _parse(content: bytes) -> dict[str, Any]:
    """One file: features, labels and names. A file is (list of batches, names), of one batch."""
    batches, names = load_arrays(io.BytesIO(content))
    (batch,) = batches
    columns = {key: np.concatenate(values) for key, values in batch.items()}
    columns["x_names"] = names["x_names"]
    return columns


def fetch_instagram_intent(
    *,
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    n_retries: int = 3,
    delay: float = 1.0,
) -> Any:
    """Load the Instagram posts of the MRO paper: image and caption features, 7 intents.

    The five files (7 MB) are downloaded once. They are checked against their published checksums
    and read without running any code that they may hold.

    Parameters
    ----------
    data_home : str or path-like, default=None
        The folder that holds the five files, itself or in its sub-folder `instagram_intent`, into
        which they are downloaded. By default scikit-learn's, `~/scikit_learn_data`.
    download_if_missing : bool, default=True
        Whether to download files that are missing, instead of raising an OSError.
    return_X_y : bool, default=False
        Whether to return `(data, target)` instead of a bunch.
    n_retries : int, default=3
        How often to try again when a download fails.
    delay : float, default=1.0
        Seconds between two tries.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        `data`, the modalities image (1299, 512) and text (1299, 768); `target`, codes of
        `target_names`; `fold`, the test fold of each post, for :func:`paper_folds`; `semiotic` and
        `contextual`, codes of `semiotic_names` and `contextual_names`: how image and caption
        relate; `post_id`; `feature_names` of each modality; `DESCR`, which tells the order of rows.

    Examples
    --------
    >>> from sklearn_mmfuse.datasets import fetch_instagram_intent
    >>> bunch = fetch_instagram_intent()  # doctest: +SKIP
    >>> bunch.data["text"].shape  # doctest: +SKIP
    (1299, 768)
    """
    # get_data_home would create a folder that is named here, even if nothing is to be put there.
    home = Path(get_data_home() if data_home is None else data_home).expanduser()
    parts = [_parse(c) for c in _read_files(home, download_if_missing, n_retries, delay)]

    def column(key: str) -> NDArray[np.int64]:
        return np.concatenate([part[key].ravel() for part in parts]).astype(np.int64)

    names = parts[0]["x_names"]
    X = np.concatenate([part["x"] for part in parts])
    picked = {key: np.char.startswith(names, prefix) for key, prefix in PREFIXES.items()}
    # The files keep columns together, which a slice would inherit; batches of rows want rows.
    data = MultimodalData({key: np.ascontiguousarray(X[:, mask]) for key, mask in picked.items()})
    target = column("y")
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        target_names=np.array(INTENTS),
        fold=np.repeat(np.arange(len(parts)), [len(part["x"]) for part in parts]),
        semiotic=column("meta_semiotic"),
        semiotic_names=np.array(SEMIOTIC),
        contextual=column("meta_contextual"),
        contextual_names=np.array(CONTEXTUAL),
        post_id=column("meta_id"),
        feature_names={key: names[mask].tolist() for key, mask in picked.items()},
        DESCR=DESCR,
    )


def paper_folds(
    fold: ArrayLike,
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]]:
    """Iterate over the MRO paper's splits: each fold is the test set once, the next validates.

    Parameters
    ----------
    fold : array-like of shape (n_samples,)
        The fold of each row, as in `fetch_instagram_intent().fold`; at least three folds.

    Yields
    ------
    train, validation, test : ndarray
        Row indices. The fold after the last is the first.

    Examples
    --------
    >>> from sklearn_mmfuse.datasets import paper_folds
    >>> for train, validation, test in paper_folds([0, 0, 1, 2]):
    ...     print(train, validation, test)
    [3] [2] [0 1]
    [0 1] [3] [2]
    [2] [0 1] [3]
    """
    fold = np.asarray(fold)
    present = np.unique(fold)
    if len(present) < 3:
        raise ValueError(f"Train, validation and test need three folds; got {present.tolist()}.")
    for test, validation in zip(present, np.roll(present, -1), strict=True):
        yield (
            np.flatnonzero((fold != test) & (fold != validation)),
            np.flatnonzero(fold == validation),
            np.flatnonzero(fold == test),
        )
