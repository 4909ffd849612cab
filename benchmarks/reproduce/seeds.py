"""What scripts share that tell a mean over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.store import merge


def prepare(options: Any) -> int:
    """Return how many seeds to run; nets are small, so that one thread is fastest."""
    torch.set_num_threads(1)
    return int(options.seeds or 5)


def report(file: str, key: str, values: Sequence[float], paper: str = "") -> None:
    """Store and print a mean over seeds beside what the paper has."""
    found = np.asarray(values, dtype=float)
    merge(file, {key: {"mean": found.mean(), "sd": found.std(), "values": found.tolist()}})
    each = " ".join(f"{value:.3f}" for value in found)
    print(f"  {key:<44}{found.mean():.3f} ({found.std():.3f})  [{each}]  {paper}", flush=True)
