"""The calls that work is made of: what is trained beside what, and what alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.utils.parallel import delayed

from sklearn_mmfuse.estimators._stacks import worth_training_at_once
from sklearn_mmfuse.model_selection._front import (
    architecture,
    can_be_stacked,
    final_estimator,
    front_key,
)
from sklearn_mmfuse.model_selection._units import (
    Candidate,
    Job,
    Split,
    Unit,
    run_alone,
    run_unit,
)

__all__ = ["Call", "cut", "make_calls"]

FEW = 4  # candidates: with fewer, several splits are trained together

Call = Any


def make_calls(job: Job, candidates: Sequence[Candidate], splits: Sequence[Split]) -> list[Call]:
    """Return the calls that fit all candidates on all splits, in the order in which to make them.

    What stands in front of an estimator is fitted where all that come after it are trained.
    """
    alone: list[Candidate] = []
    groups: dict[tuple[str, str], list[Candidate]] = {}
    for candidate in candidates:
        model = job.model(candidate)
        if not can_be_stacked(model):
            alone.append(candidate)
            continue
        front = front_key(model)
        key = (front, "" if front else architecture(model))
        groups.setdefault(key, []).append(candidate)
    units = [
        Unit(part, some)
        for (front, _), group in groups.items()
        for part, some in (
            [(group, [split]) for split in splits]
            if front
            else cut(group, splits, _at_once(job, group[0]))
        )
    ]
    calls = [delayed(run_unit)(job, unit) for unit in units]
    return calls + [delayed(run_alone)(job, c, s) for c in alone for s in splits]


def cut(
    group: Sequence[Candidate], splits: Sequence[Split], most: int
) -> Iterator[tuple[list[Candidate], list[Split]]]:
    """Cut candidates of one architecture into pieces of work.

    No more than `most` at once, and of one split as long as that has enough of them: those read
    the same batches. Not by the number of workers: who is trained beside whom must not depend on
    it, to the last digit.
    """
    n_parts = -(-len(group) // most)
    n_runs = -(-len(splits) // max(1, min(FEW, most) // len(group)))
    for some in np.array_split(np.arange(len(splits)), n_runs):
        for part in np.array_split(np.arange(len(group)), n_parts):
            yield [group[i] for i in part], [splits[i] for i in some]


def _at_once(job: Job, candidate: Candidate) -> int:
    """Return how many candidates like this one to train at once, memory aside."""
    if job.max_members != "auto":
        return int(job.max_members)
    estimator = final_estimator(job.model(candidate))
    assert estimator is not None
    return worth_training_at_once(estimator.device)
