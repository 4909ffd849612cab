"""How the step size and weight decay change while a net is trained."""

from __future__ import annotations

import math

__all__ = ["SCHEDULES", "decay_at", "step_size_factor"]

SCHEDULES = ("cosine", "constant")
WARM_UP = 0.1
LATE, LATE_FACTOR = 0.5, 2.0


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


def decay_at(decay: str, progress: float, *, weight_decay: float, learning_rate: float) -> float:
    """Return the weight decay of a step.

    "late" decays nothing in the first half of all steps and twice as much in the second, but not
    beyond zero: with steps as large as that, weights would change their signs and explode.

    Parameters
    ----------
    decay : {"always", "late", "never"}
        What a net says of a parameter.
    progress : float
        The share of all steps that are done, in [0, 1).
    weight_decay, learning_rate : float
        Those of other parameters in this step.

    Examples
    --------
    >>> from sklearn_mmfuse._training._schedule import decay_at
    >>> [decay_at("late", t, weight_decay=8.0, learning_rate=0.01) for t in (0.0, 0.49, 0.51, 0.9)]
    [0.0, 0.0, 16.0, 16.0]
    """
    if decay != "late":
        return weight_decay if decay == "always" else 0.0
    if progress <= LATE:
        return 0.0
    to_zero = 1.0 / max(learning_rate, 1e-30)
    return min(LATE_FACTOR * weight_decay, max(weight_decay, to_zero))
