"""The critic beside a fusion: what it changes, and what it must not."""

import pickle

import numpy as np
import pytest

from sklearn_mmfuse import (
    FusionClassifier,
    FusionRegressor,
    MultimodalData,
    MutualDependencyClassifier,
    MutualDependencyRegressor,
)
from sklearn_mmfuse.datasets import make_synchronous

from ._data import make_blocks, make_target

DEPENDENCIES = ["wasserstein", "kl", "f"]
QUICK = {"max_epochs": 8, "learning_rate": 0.01, "random_state": 0}
CRITIC = {"n_critic_steps": 3}


def views(n=600, noise=0.5, seed=0):
    """Return two noisy views of the same three factors."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(n, 3))
    return MultimodalData(
        {name: factors + noise * rng.normal(size=(n, 3)) for name in ("audio", "text")}
    ), factors[:, 0]


@pytest.mark.parametrize("dependency", DEPENDENCIES)
@pytest.mark.parametrize("fusion", ["late", "concat", "tensor", "low_rank"])
@pytest.mark.parametrize("options", [{}, {"dropout": 0.3, "modality_dropout": 0.2}])
def test_without_weight_it_is_the_plain_fusion_bit_for_bit(dependency, fusion, options):
    X, y = views(300)
    options = {"fusion": fusion, "early_stopping": True, **QUICK, **options}
    # By the same engine: two of them add up in another order.
    plain = FusionRegressor(net_params={}, **options).fit(X, y)
    beside = MutualDependencyRegressor(reg_lambda=0, dependency=dependency, **CRITIC, **options)
    beside.fit(X, y)
    np.testing.assert_array_equal(beside.predict(X), plain.predict(X))
    assert beside.n_iter_ == plain.n_iter_
    assert beside.dependency_ != 0
    for ours, theirs in zip(beside.history_, plain.history_, strict=True):
        assert ours["valid_loss"] == theirs["valid_loss"]
    other = beside.set_params(reg_lambda=1.0).fit(X, y)
    assert not np.array_equal(other.predict(X), plain.predict(X))


def test_without_weight_sequences_are_the_plain_fusion_too():
    toy = make_synchronous(60, n_steps=6, n_events=1, random_state=0)
    for fusion in ["ef_lstm", "mfn", "raven", "lf_lstm"]:
        options = {"fusion": fusion, "state_dim": 8, "max_epochs": 3, "random_state": 0}
        plain = FusionClassifier(net_params={}, **options).fit(toy.data, toy.target)
        beside = MutualDependencyClassifier(reg_lambda=0, **CRITIC, **options)
        np.testing.assert_array_equal(
            beside.fit(toy.data, toy.target).predict_proba(toy.data), plain.predict_proba(toy.data)
        )


@pytest.mark.parametrize("dependency", DEPENDENCIES)
def test_scores_average_to_the_bound(dependency):
    X, y = views(300)
    model = MutualDependencyRegressor(dependency=dependency, **CRITIC, **QUICK).fit(X, y)
    scores = model.dependency_scores(X)
    assert scores.shape == (300,)
    assert scores.mean() == pytest.approx(model.dependency_, abs=1e-9)
    few = X[np.arange(7)]
    np.testing.assert_allclose(model.dependency_scores(few), scores[:7], atol=1e-12)
    restored = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(restored.dependency_scores(X), scores)
    assert {"dependency", "train_loss"} <= set(model.history_[0])
    assert len(model.history_) == model.n_iter_


@pytest.mark.parametrize("dependency", DEPENDENCIES)
def test_scores_tell_rows_from_shuffled_ones(dependency):
    X, y = views(1500)
    held, _ = views(500, seed=1)
    model = MutualDependencyRegressor(
        dependency=dependency, reg_lambda=0.1, max_epochs=15, random_state=0
    ).fit(X, y)
    mixed = {"audio": held["audio"], "text": np.roll(held["text"], 1, axis=0)}
    agree, contradict = model.dependency_scores(held), model.dependency_scores(mixed)
    assert (agree > contradict).mean() > 0.7
    valid = model.history_[model.best_epoch_ - 1]["valid_dependency"]
    # The truth is 3 * -log(1 - 0.8 ** 2) / 2 = 1.53 nats; the validation rows are 150.
    assert 1.0 < valid < 2.2 if dependency != "wasserstein" else valid > 0.3


def test_independent_modalities_have_none():
    rng = np.random.default_rng(0)
    X = {name: rng.normal(size=(1500, 3)) for name in ("audio", "text")}
    model = MutualDependencyRegressor(reg_lambda=0, max_epochs=10, random_state=0)
    model.fit(X, X["audio"][:, 0] + X["text"][:, 0])
    assert abs(model.history_[-1]["valid_dependency"]) < 0.15


@pytest.mark.parametrize("dependency", DEPENDENCIES)
def test_the_penalty_makes_a_narrow_net_keep_what_modalities_share(dependency):
    rng = np.random.default_rng(0)
    shared, own = rng.normal(size=(800, 1)), rng.normal(size=(2, 800, 1))
    noisy = shared + 0.3 * rng.normal(size=(2, 800, 1))
    X = {name: np.hstack([noisy[i], own[i]]) for i, name in enumerate(["audio", "text"])}
    y = own.sum(axis=(0, 2))  # what is shared tells nothing about it
    bounds = {}
    for reg_lambda in (0.0, 1.0):
        model = MutualDependencyRegressor(
            dependency=dependency, reg_lambda=reg_lambda, hidden_layer_sizes=(2,),
            activation="tanh", max_epochs=15, learning_rate=0.01, early_stopping=True,
            random_state=0,
        ).fit(X, y)  # fmt: skip
        bounds[reg_lambda] = model.history_[-1]["valid_dependency"]
    # The truth about the shared factor is 0.92 nats.
    assert bounds[1.0] > bounds[0.0] + 0.1


def test_a_heavy_penalty_does_not_drown_the_loss():
    rng = np.random.default_rng(0)
    X = {name: rng.normal(size=(700, 3)) for name in ("audio", "face", "quest")}
    y = 1.5 * X["quest"][:, 0] + 2.5 * X["audio"][:, 0] * X["face"][:, 0] > 0
    train, test = (
        {name: x[rows] for name, x in X.items()} for rows in (slice(300), slice(300, 700))
    )
    model = MutualDependencyClassifier(
        fusion="tensor", dependency="kl", reg_lambda=10.0, max_epochs=60, n_critic_steps=3,
        weight_decay=0.1, random_state=0,
    )  # fmt: skip
    assert model.fit(train, y[:300]).score(test, y[300:]) > 0.8


def test_the_papers_sigmoid_keeps_the_bounds_below_one():
    X, y = views(300, noise=0.01)
    for dependency in DEPENDENCIES:
        model = MutualDependencyRegressor(
            dependency=dependency, critic_output="sigmoid", **CRITIC, **QUICK
        ).fit(X, y)
        assert max(row["dependency"] for row in model.history_) <= 1.0
        assert model.dependency_ <= 1.0


def test_rows_that_lack_a_modality_have_no_score_and_do_not_count():
    X, y = views(300)
    blocks = {name: np.array(block) for name, block in X.items()}
    blocks["text"][:100] = np.nan
    for fusion in ["late", "concat"]:
        model = MutualDependencyRegressor(fusion=fusion, **CRITIC, **QUICK).fit(blocks, y)
        scores = model.dependency_scores(blocks)
        assert np.isnan(scores[:100]).all()
        assert np.nanmean(scores) == pytest.approx(model.dependency_, abs=1e-9)
        assert np.isfinite(model.predict(blocks)).all()


@pytest.mark.parametrize("dependency", DEPENDENCIES)
def test_gaps_are_no_dependency(dependency):
    rng = np.random.default_rng(0)
    X = {name: rng.normal(size=(600, 3)) for name in ("audio", "pose", "text")}
    y = X["audio"][:, 0] + X["text"][:, 0]
    for block in X.values():
        block[rng.random(600) < 0.3] = np.nan
    X["text"][np.all([np.isnan(block[:, 0]) for block in X.values()], axis=0)] = 0.0
    model = MutualDependencyRegressor(
        fusion="concat", dependency=dependency, reg_lambda=0.1, modality_dropout=0.3,
        early_stopping=True, max_epochs=10, n_critic_steps=5, random_state=0,
    ).fit(X, y)  # fmt: skip
    assert model.history_[-1]["valid_dependency"] < 0.3
    assert model.dependency_ < 1.0


def test_no_row_that_has_all_modalities():
    X, y = views(200)
    blocks = {name: np.array(block) for name, block in X.items()}
    blocks["text"][:100], blocks["audio"][100:] = np.nan, np.nan
    model = MutualDependencyRegressor(**CRITIC, **QUICK).fit(blocks, y)
    assert np.isfinite(model.predict(blocks)).all()
    assert np.isnan(model.dependency_)


def test_weights_of_zero_leave_rows_out():
    X, y = views(300)
    weight = np.ones(300)
    weight[200:] = 0.0
    options = {"dtype": "float64", **CRITIC, **QUICK}
    weighted = MutualDependencyRegressor(**options).fit(X, y, sample_weight=weight)
    alone = MutualDependencyRegressor(**options).fit(X[np.arange(200)], y[:200])
    np.testing.assert_allclose(weighted.predict(X), alone.predict(X), atol=1e-10)
    assert weighted.dependency_ == pytest.approx(alone.dependency_, abs=1e-10)


def test_the_order_of_modalities_changes_nothing():
    blocks = make_blocks(90, n_modalities=3)
    y = make_target(blocks, "binary")
    backwards = dict(reversed(blocks.items()))
    one = MutualDependencyClassifier(**CRITIC, **QUICK).fit(blocks, y)
    other = MutualDependencyClassifier(**CRITIC, **QUICK).fit(backwards, y)
    np.testing.assert_allclose(
        one.predict_proba(blocks), other.predict_proba(backwards), atol=1e-14
    )  # contributions are added in the order in which modalities came
    np.testing.assert_array_equal(one.dependency_scores(blocks), other.dependency_scores(backwards))


def test_users_modules_with_dropout_and_recurrent_ones():
    toy = make_synchronous(60, n_steps=6, n_events=1, random_state=0)
    options = {"max_epochs": 3, "random_state": 0, "encoder": {"audio": recurrent}}
    plain = FusionClassifier(fusion="concat", **options).fit(toy.data, toy.target)
    for reg_lambda in (0.0, 0.5):
        beside = MutualDependencyClassifier(
            fusion="concat", reg_lambda=reg_lambda, **CRITIC, **options
        ).fit(toy.data, toy.target)
        same = np.array_equal(beside.predict_proba(toy.data), plain.predict_proba(toy.data))
        assert same == (reg_lambda == 0.0)


def recurrent():
    from torch import nn

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru, self.drop = nn.GRU(4, 5, batch_first=True), nn.Dropout(0.3)

        def forward(self, x):
            return self.drop(self.gru(x)[1][0])

    return Recurrent()


def test_bad_input():
    X, y = views(60)
    with pytest.raises(ValueError, match=r"'n_critic_steps' .* int in the range \[1, inf\)"):
        MutualDependencyRegressor(n_critic_steps=0).fit(X, y)
    with pytest.raises(ValueError, match="'dependency' parameter"):
        MutualDependencyRegressor(dependency="mi").fit(X, y)
    with pytest.raises(ValueError, match="A dependency is between modalities, and X has only"):
        MutualDependencyRegressor(modalities=["text"]).fit(X, y)
    with pytest.raises(ValueError, match=r"critic_hidden_layer_sizes .* got \(0,\)"):
        MutualDependencyRegressor(critic_hidden_layer_sizes=(0,)).fit(X, y)
    toy = make_synchronous(40, random_state=0)
    blocks = {name: np.array(block) for name, block in toy.data.items()}
    blocks["text"][:, 3:] = np.nan
    with pytest.raises(ValueError, match="needs the same steps of each"):
        MutualDependencyClassifier(fusion="mfn").fit(blocks, toy.target)
