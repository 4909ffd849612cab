"""Shared settings: one torch thread (more only contend) and a headless plot backend."""

import os

# scikit-learn silently skips its array-API check without this; it must be set before scipy loads.
os.environ.setdefault("SCIPY_ARRAY_API", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _global_rng_untouched(request):
    """The library never draws from a global generator."""
    if request.node.get_closest_marker("draws_globally"):
        yield
        return
    torch_state = torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()
    yield
    assert torch.equal(torch_state, torch.get_rng_state()), "torch's generator was used"
    assert np.array_equal(numpy_state, np.random.get_state()[1]), "numpy's generator was used"
