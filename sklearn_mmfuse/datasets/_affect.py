"""The pickles in which MultiBench publishes MOSI, MOSEI, UR-FUNNY and MUStARD."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch

from sklearn_mmfuse._data import MultimodalData
from sklearn_mmfuse.datasets._restricted_pickle import load_pickle

__all__ = ["load_affect"]

MODALITIES = ("audio", "text", "vision")
SPLITS = ("train", "valid", "test")


def load_affect(path: str | os.PathLike[str], *, aligned: bool = True) -> Bunch:
    """Read a file of affective recordings in the format of MultiBench.

    The file is a pickle `{split: {"vision": (n, T, d), "audio": ..., "text": ..., "labels": ...,
    "id": ...}}` of the splits "train", "valid" and "test". It is read without running anything
    that a pickle may ask for.

    Parameters
    ----------
    path : path-like
        The file, for example `mosi_data.pkl`.
    aligned : bool, default=True
        Sequences are padded with zeros in front. True takes all modalities to begin where the text
        does, as in word-aligned files; False, each where it has its first number other than 0.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        `data` (MultimodalData: audio, text and vision, (n, T, d), padding NaN), `target`, (n,) or
        (n, k), `split` (n,), the name of each row's split, `sample_id` (n,), and `DESCR`. The rows
        are those of train, valid and test, in this order. Numbers that are not finite are 0.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When the file holds something else; nothing of it has been run.

    References
    ----------
    Liang et al. MultiBench: Multiscale Benchmarks for Multimodal Representation Learning. NeurIPS
    Datasets and Benchmarks 2021.

    Examples
    --------
    >>> import pickle, tempfile
    >>> import numpy as np
    >>> from sklearn_mmfuse.datasets import load_affect
    >>> rows = {"vision": np.ones((4, 5, 2)), "audio": np.ones((4, 5, 3)),
    ...         "text": np.ones((4, 5, 6)), "labels": np.zeros((4, 1, 1))}
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     _ = file.write(pickle.dumps({"train": rows, "test": rows}))
    ...     file.flush()
    ...     mosi = load_affect(file.name)
    >>> mosi.data
    <MultimodalData of 8 samples: audio (5, 3) float32, text (5, 6) float32, vision (5, 2) float32>
    >>> mosi.split
    array(['train', 'train', 'train', 'train', 'test', 'test', 'test', 'test'],
          dtype='<U5')
    """
    path = Path(path)
    with path.open("rb") as file:
        try:
            content = load_pickle(file)
        except pickle.UnpicklingError as error:
            raise ValueError(f"{path.name} was not read: {error}") from error
    parts = [(name, _check_split(path.name, content, name)) for name in _splits(path.name, content)]
    data = MultimodalData.concat([_sequences(part, aligned) for _, part in parts])
    sizes = [len(part["labels"]) for _, part in parts]
    return Bunch(
        data=data,
        target=np.concatenate([_target(part["labels"]) for _, part in parts]),
        split=np.repeat([name for name, _ in parts], sizes),
        sample_id=np.concatenate([_identifiers(name, part) for name, part in parts]),
        DESCR=f"{path.name}: " + ", ".join(f"{len(p['labels'])} {name}" for name, p in parts),
    )


def _splits(name: str, content: Any) -> list[str]:
    found = [split for split in SPLITS if isinstance(content, Mapping) and split in content]
    if not found:
        keys = list(content) if isinstance(content, Mapping) else type(content).__name__
        raise ValueError(f"{name} must hold a dict of splits, some of {list(SPLITS)}; got {keys}.")
    return found


def _check_split(name: str, content: Mapping[str, Any], split: str) -> dict[str, Any]:
    """Return a split as it was, after looking at every block's shape."""
    part = content[split]
    needed = {*MODALITIES, "labels"}
    if not isinstance(part, Mapping) or not needed <= set(part):
        keys = list(part) if isinstance(part, Mapping) else type(part).__name__
        raise ValueError(f"Split {split!r} of {name} needs {sorted(needed)}; got {keys}.")
    shapes = {key: np.shape(part[key]) for key in needed}
    n = shapes["labels"][0] if shapes["labels"] else 0
    wrong = [key for key in MODALITIES if len(shapes[key]) != 3 or shapes[key][0] != n]
    if wrong:
        raise ValueError(
            f"{wrong[0]!r} in split {split!r} of {name} must be sequences ({n}, T, d), a row per "
            f"label; got shape {shapes[wrong[0]]}."
        )
    return dict(part)


def _sequences(part: Mapping[str, Any], aligned: bool) -> MultimodalData:
    """Return the modalities of a split, with NaN for what is padding."""
    blocks = {}
    for name in MODALITIES:
        block = np.array(part[name], dtype=np.float32)
        block[~np.isfinite(block)] = 0.0
        blocks[name] = block
    begins = {name: _first_step(block) for name, block in blocks.items()}
    lengths = {block.shape[1] for block in blocks.values()}
    if aligned and len(lengths) > 1:
        raise ValueError(
            f"aligned=True needs sequences of one length; got {sorted(lengths)} steps. Pass "
            "aligned=False."
        )
    for name, block in blocks.items():
        first = begins["text"] if aligned else begins[name]
        # Without any text (or any number) it is absent, unless there is something before.
        first = np.where(first == block.shape[1], begins[name], first)
        block[np.arange(block.shape[1]) < first[:, np.newaxis]] = np.nan
    return MultimodalData(blocks)


def _first_step(block: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the first step of each row that is not all zeros; T where there is none."""
    there = (block != 0).any(axis=2)
    return np.where(there.any(axis=1), there.argmax(axis=1), block.shape[1])


def _target(labels: Any) -> NDArray[Any]:
    flat = np.asarray(labels).reshape(len(labels), -1)
    return flat[:, 0] if flat.shape[1] == 1 else flat


def _identifiers(split: str, part: Mapping[str, Any]) -> NDArray[np.str_]:
    n = len(part["labels"])
    given = part.get("id")
    if given is None:
        return np.array([f"{split}_{row}" for row in range(n)])
    entries = np.asarray(given).reshape(n, -1)
    return np.array([str(row[0]) for row in entries.tolist()])
