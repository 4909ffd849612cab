from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from sklearn_mmfuse import (
    FusionClassifier,
    InTenseClassifier,
    MROClassifier,
    MRORegressor,
    SMURFClassifier,
)
from sklearn_mmfuse._training import DivergedError
from sklearn_mmfuse._training._threads import WORTH_A_THREAD, few_threads
from sklearn_mmfuse.model_selection import MultimodalSearchCV
from sklearn_mmfuse.nets import FusionNet
from tests.estimators._data import make_blocks, make_target

QUICK = {"max_epochs": 2, "random_state": 0}


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def seen(four_threads, monkeypatch):
    """What torch's threads are while nets hear of a new epoch."""
    counts = []
    monkeypatch.setattr(FusionNet, "begin_epoch", lambda *_: counts.append(torch.get_num_threads()))
    return counts


@pytest.mark.parametrize(("work", "expected"), [(0, 1), (1, 1), (2.9, 2), (4, 4), (1000, 4)])
def test_threads_are_as_many_as_the_work_is_worth(four_threads, work, expected):
    with few_threads(work * WORTH_A_THREAD):
        assert torch.get_num_threads() == expected
    assert torch.get_num_threads() == 4
    with pytest.raises(KeyError), few_threads(0):
        raise KeyError
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("params", [{}, {"net_params": {}}, {"n_members": 3}])
@pytest.mark.parametrize("method", [MROClassifier, SMURFClassifier])
def test_small_nets_are_trained_on_one_thread_by_either_engine(seen, method, params):
    X = make_blocks()
    model = method(**QUICK, **params).fit(X, make_target(X, "binary"))
    assert set(seen) == {1}
    model.predict(X)
    assert torch.get_num_threads() == 4


def test_large_nets_are_trained_on_the_users_threads(seen):
    X = make_blocks()
    wide = MROClassifier(**QUICK | {"max_epochs": 1}, hidden_layer_sizes=(2048, 2048))
    wide.fit(X, make_target(X, "binary"))
    assert set(seen) == {4}


@pytest.mark.parametrize(
    ("encoder", "expected"), [("mean", {1}), ("gru", {1}), ("transformer", {4})]
)
def test_steps_are_work_where_they_are_encoded_at_once(seen, encoder, expected):
    rng = np.random.default_rng(0)
    X = {"s": rng.normal(size=(160, 200, 4)), "v": rng.normal(size=(160, 300))}
    y = rng.normal(size=160)
    widths = {"hidden_layer_sizes": (256,)} if encoder == "transformer" else {}
    MRORegressor(**QUICK | {"max_epochs": 1}, encoder={"s": encoder}, **widths).fit(X, y)
    assert set(seen) == expected


class Lazy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.LazyLinear(8)

    def forward(self, x):
        return self.layer(x.nan_to_num().mean(dim=1))


@pytest.mark.draws_globally
def test_layers_that_do_not_know_their_size_are_no_work_yet(four_threads):
    rng = np.random.default_rng(0)
    X = {"s": rng.normal(size=(40, 5, 4)), "v": rng.normal(size=(40, 3))}
    model = MRORegressor(**QUICK, encoder={"s": Lazy}).fit(X, rng.normal(size=40))
    assert model.predict(X).shape == (40,)


def test_few_rows_are_predicted_on_one_thread(four_threads, monkeypatch):
    X = make_blocks()
    wide = MROClassifier(**QUICK, hidden_layer_sizes=(512, 512)).fit(X, make_target(X, "binary"))
    counts, run = [], wide.module_.forward

    def spy(*args, **kwargs):
        counts.append(torch.get_num_threads())
        return run(*args, **kwargs)

    monkeypatch.setattr(wide.module_, "forward", spy)
    wide.predict({name: block[:1] for name, block in X.items()})
    assert counts == [1]


def test_threads_that_start_meanwhile_have_the_users_number(four_threads):
    X = make_blocks()
    y = make_target(X, "binary")

    def fit(seed):
        MROClassifier(**QUICK | {"random_state": seed}).fit(X, y)
        return torch.get_num_threads()

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(fit, range(6))) == [4] * 6
    assert torch.get_num_threads() == 4


def test_members_that_have_left_are_no_work(seen):
    X = make_blocks(300)
    base = MROClassifier(**QUICK, hidden_layer_sizes=(256, 256))
    search = MultimodalSearchCV(base, {"max_epochs": [1] * 7 + [3]}, cv=2, refit=False)
    search.fit(X, make_target(X, "binary"))
    assert max(seen) > 1
    assert seen[-1] == 1


def test_threads_are_back_after_a_failure(four_threads):
    X = make_blocks()
    y = make_target(X, "binary")
    with pytest.raises(DivergedError):
        FusionClassifier(**QUICK, learning_rate=1e30, max_grad_norm=None).fit(X, y)
    assert torch.get_num_threads() == 4


def test_the_last_fit_of_intense_takes_one_thread(four_threads, monkeypatch):
    counts = []
    shrink = torch.autograd.grad

    def spy(*args, **kwargs):
        counts.append(torch.get_num_threads())
        return shrink(*args, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", spy)
    X = make_blocks()
    InTenseClassifier(**QUICK, n_bootstrap=0).fit(X, make_target(X, "binary"))
    assert set(counts) == {1}
