"""A search on a cluster: the same results, with Dask also when a worker dies on the way."""

from __future__ import annotations

import os
import signal
import threading
import time

import joblib
import numpy as np
import pytest
import torch

from sklearn_mmfuse import MROClassifier, MultimodalData
from sklearn_mmfuse.model_selection import MultimodalSearchCV

RNG = np.random.default_rng(0)
X = MultimodalData({"a": RNG.normal(size=(120, 3)), "t": RNG.normal(size=(120, 2))})
Y = (X["a"][:, 0] + X["a"][:, 1] * X["t"][:, 0] > 0).astype(int)
GRID = {"learning_rate": np.logspace(-4, -1, 4), "dropout": [0.0, 0.2], "max_order": [1, 2]}


class Traced:
    """Accuracy; each score leaves a file behind that says where it was computed, and how."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, estimator, X, y):
        name = f"{os.getpid()}_{torch.get_num_threads()}_{time.time_ns()}"
        (self.folder / name).touch()
        return float((estimator.predict(X) == y).mean())


def search(folder):
    model = MROClassifier(
        max_epochs=40,
        hidden_layer_sizes=(8,),
        dtype="float64",
        early_stopping=False,
        random_state=0,
    )
    return MultimodalSearchCV(model, GRID, cv=3, scoring=Traced(folder), refit=False)


@pytest.fixture
def folders(tmp_path):
    """Where scores leave their traces: of a search here, and of one on a cluster."""
    both = tmp_path / "here", tmp_path / "there"
    for folder in both:
        folder.mkdir()
    return both


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:unclosed", "ignore:Port ")
def test_a_worker_is_killed_and_the_search_ends_with_the_same_results(folders):
    distributed = pytest.importorskip("distributed")
    here, there = folders
    expected = search(here).fit(X, Y).cv_results_["mean_test_score"]
    n_scores = len(list(here.iterdir()))
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
    ):
        killed = []

        def kill():
            while not (traces := list(there.iterdir())):
                time.sleep(0.005)
            killed.append(int(traces[0].name.split("_")[0]))  # one that has done something
            os.kill(killed[0], signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        with joblib.parallel_config(backend="dask"):
            found = search(there).fit(X, Y).cv_results_["mean_test_score"]
        killer.join()
    np.testing.assert_array_equal(found, expected)
    traces = [path.name.split("_") for path in there.iterdir()]
    processes = {int(pid) for pid, _, _ in traces}
    assert killed[0] in processes
    assert len(processes) > 1  # others have finished its work
    assert os.getpid() not in processes
    assert len(traces) >= n_scores
    assert {int(threads) for _, threads, _ in traces} == {1}


@pytest.mark.filterwarnings("ignore")  # Ray's own, at every start
def test_ray_gives_the_same_results(folders):
    ray = pytest.importorskip("ray", reason="80 MB, and not among the test dependencies")
    from ray.util.joblib import register_ray

    here, there = folders
    expected = search(here).fit(X, Y).cv_results_["mean_test_score"]
    register_ray()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        with joblib.parallel_config(backend="ray", n_jobs=-1):
            found = search(there).fit(X, Y).cv_results_["mean_test_score"]
    finally:
        ray.shutdown()
    np.testing.assert_array_equal(found, expected)
    traces = [path.name.split("_") for path in there.iterdir()]
    assert len(traces) == len(list(here.iterdir()))
    assert str(os.getpid()) not in {pid for pid, _, _ in traces}
