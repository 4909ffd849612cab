"""Data stay where they are: a file that is mapped into memory is read in pieces, never copied."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sklearn_mmfuse import MRORegressor

STATUS = Path("/proc/self/status")
N, WIDTH = 24_000, 1_000  # 92 MiB; pieces of it that are in use at once take 25 to 57


# Run on its own: what earlier tests left to the C library would be used again, and not be seen.
MEASURE = """
import json
import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch

import sklearn_mmfuse
from sklearn_mmfuse import MultimodalData

torch.set_num_threads(1)


def own_mebibytes():
    # of this process, and no file's
    lines = dict(l.split(":", 1) for l in Path("/proc/self/status").read_text().splitlines())
    return int(lines["RssAnon"].split()[0]) / 1024


class Peak:
    # the most memory that was in use in between

    def __enter__(self):
        self.before = self.most = own_mebibytes()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while not self.done.is_set():
            self.most = max(self.most, own_mebibytes())
            time.sleep(0.002)

    def __exit__(self, *error):
        self.done.set()
        self.thread.join()
        print(self.most - self.before)


path, n, width, kind, params = sys.argv[1], *map(json.loads, sys.argv[2:])
mapped = np.memmap(path, mode="r", dtype=np.float32, shape=(n, width))
other = np.random.default_rng(1).normal(size=(n, 3)).astype(np.float32)
target = np.asarray(mapped[:, 0]) + other[:, 0]
model = getattr(sklearn_mmfuse, kind)(max_epochs=1, random_state=0, **params)
few = {"a": mapped[:600], "t": other[:600]}
model.fit(few, target[:600]).predict(few)  # what every first fit loads and keeps
data = MultimodalData(a=mapped, t=other)
with Peak():
    model.fit(data, target)
with Peak():
    model.predict(data)
"""
# What is freed goes back at once, so that the peak is what was in use and not what glibc keeps.
RETURNING = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


@pytest.fixture
def mapped(tmp_path):
    shape = {"dtype": np.float32, "shape": (N, WIDTH)}
    written = np.memmap(tmp_path / "features", mode="w+", **shape)
    rng = np.random.default_rng(0)
    for rows in np.array_split(np.arange(N), 12):
        written[rows] = rng.normal(size=(len(rows), WIDTH))
    written.flush()
    del written
    return np.memmap(tmp_path / "features", mode="r", **shape)


@pytest.mark.skipif(not STATUS.exists(), reason="reads Linux's account of memory")
@pytest.mark.parametrize(
    ("kind", "params", "share"),
    [
        ("MRORegressor", {"max_order": 1, "early_stopping": False}, 0.5),
        ("MRORegressor", {"max_order": 1, "early_stopping": True}, 0.5),
        ("MRORegressor", {"optimization": "smro", "early_stopping": True}, 0.5),
        # These go over all rows again when they are trained; what they make of them is kept small.
        ("InTenseRegressor", {"hidden_layer_sizes": [8], "tensor_dim": 2, "n_bootstrap": 0}, 0.5),
        ("MutualDependencyRegressor", {"hidden_layer_sizes": [8], "n_critic_steps": 1}, 0.75),
    ],
)
def test_a_mapped_file_is_never_copied(mapped, kind, params, share):
    arguments = map(json.dumps, (N, WIDTH, kind, params))
    told = subprocess.run(
        [sys.executable, "-c", MEASURE, mapped.filename, *arguments],
        env=os.environ | RETURNING,
        capture_output=True,
        text=True,
        check=True,
    )
    fitting, predicting = map(float, told.stdout.split())
    size = mapped.nbytes / 2**20
    assert fitting < share * size
    assert predicting < size / 2


def test_a_mapped_file_gives_the_same_as_an_array(mapped):
    rows = slice(0, 700)
    target = np.asarray(mapped[rows, 0])
    settings = {"max_epochs": 2, "max_order": 1, "early_stopping": True, "random_state": 0}
    arrays = [{"a": block} for block in (mapped[rows], np.array(mapped[rows]))]
    models = [MRORegressor(modalities=["a"], **settings).fit(X, target).predict(X) for X in arrays]
    np.testing.assert_array_equal(*models)
