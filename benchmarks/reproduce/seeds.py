"""What scripts share: which entries are wanted, how many seeds, a mean over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch

from benchmarks.store import merge


def prepare(options: Any) -> int:
    """Return how many seeds to run; nets are small, so that one thread is fastest."""
    torch.set_num_threads(1)
    return int(options.seeds or 5)


def wanted(only: Sequence[str] | None, *factors: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the entries of a run, "a/b", that `--only` names, or all, and what they combine.

    Leaves with those that there are when others are named.
    """
    known = {"/".join(parts): parts for parts in product(*factors)}
    if unknown := sorted(set(only or ()) - set(known)):
        raise SystemExit(f"--only: no {unknown} in this run, but {list(known)}")
    return {key: parts for key, parts in known.items() if not only or key in only}


def report(file: str, key: str, values: Sequence[float], paper: str = "") -> None:
    """Store and print a mean over seeds beside what the paper has."""
    found = np.asarray(values, dtype=float)
    merge(file, {key: {"mean": found.mean(), "sd": found.std(), "values": found.tolist()}})
    each = " ".join(f"{value:.3f}" for value in found)
    print(f"  {key:<44}{found.mean():.3f} ({found.std():.3f})  [{each}]  {paper}", flush=True)
