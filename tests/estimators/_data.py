"""Small data in every form that an estimator takes."""

import numpy as np
import pandas as pd

from sklearn_mmfuse import MultimodalData

# Nets that fit what they are given, for tests of what a fitted net is.
UNREGULARIZED = {
    "early_stopping": False,
    "learning_rate_schedule": "constant",
    "weight_decay": 1e-4,
    "dropout": 0.0,
    "numerical_embedding": None,
    "input_scaling": "standard",
}
WIDTHS = {"text": 4, "audio": 3, "video": 2, "ecg": 2, "pose": 3}


def make_blocks(n_samples=90, n_modalities=2, seed=0):
    rng = np.random.default_rng(seed)
    names = list(WIDTHS)[:n_modalities]
    return {name: rng.normal(size=(n_samples, WIDTHS[name])) for name in names}


def make_target(blocks, kind):
    names = list(blocks)
    signal = 2 * blocks[names[0]][:, 0]
    if len(names) > 1:
        signal = signal + blocks[names[1]][:, 0] + blocks[names[0]][:, 1] * blocks[names[1]][:, 1]
    if kind == "regression":
        return 3 * signal + 50
    if kind == "binary":
        return np.where(signal > 0, "yes", "no")
    return np.array(["low", "mid", "top"])[np.digitize(signal, np.quantile(signal, [0.3, 0.6]))]


def make_groups(n_samples=90):
    return np.arange(n_samples) // 6


def forms(blocks):
    """Return the same samples as container, prefixed frame and array with `modalities`."""
    array = np.concatenate(list(blocks.values()), axis=1)
    columns = [f"{name}__{i}" for name, block in blocks.items() for i in range(block.shape[1])]
    ends = np.cumsum([block.shape[1] for block in blocks.values()])
    slices = {
        name: slice(int(end - block.shape[1]), int(end))
        for (name, block), end in zip(blocks.items(), ends, strict=True)
    }
    return {
        "container": (MultimodalData(blocks), None),
        "frame": (pd.DataFrame(array, columns=columns), None),
        "array": (array, slices),
    }
