"""How the step size changes while a net is trained."""

from __future__ import annotations

import math

__all__ = ["SCHEDULES", "step_size_factor"]

SCHEDULES = ("cosine", "constant")
WARM_UP = 0.1


def step_size_factor(schedule: str, progress: float) -> float:
    """Return by what the learning rate is multiplied.

    "cosine" rises over the first tenth of all steps and then falls to zero like half a wave.

    Parameters
    ----------
    schedule : {"cosine", "constant"}
        Which.
    progress : float
        The share of all steps that are done, in [0, 1).

    Examples
    --------
    >>> from sklearn_mmfuse._training._schedule import step_size_factor
    >>> [round(step_size_factor("cosine", t), 2) for t in (0.0, 0.05, 0.1, 0.55, 0.99)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if schedule == "constant":
        return 1.0
    if progress < WARM_UP:
        return progress / WARM_UP
    return 0.5 * (1.0 + math.cos(math.pi * (progress - WARM_UP) / (1.0 - WARM_UP)))
