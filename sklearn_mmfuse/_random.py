"""Where randomness comes from: never from a global generator."""

from __future__ import annotations

import numpy as np

__all__ = ["Seed", "generator"]

Seed = int | np.random.RandomState | None


def generator(random_state: Seed) -> np.random.RandomState:
    """Return a generator; without a seed one of its own, with fresh entropy."""
    if isinstance(random_state, np.random.RandomState):
        return random_state
    return np.random.RandomState(random_state)
