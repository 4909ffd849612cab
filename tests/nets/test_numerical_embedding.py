import math

import numpy as np
import pytest
import torch

from sklearn_mmfuse import MROClassifier, MRORegressor
from sklearn_mmfuse.estimators._encoders import adapt_to_width
from sklearn_mmfuse.nets import EncoderSpec
from sklearn_mmfuse.nets._numerical_embedding import PeriodicEmbedding
from tests.estimators._data import make_blocks, make_target


def draw(n_members=2, **params):
    shape = {"n_features": 3, "n_frequencies": 4, "scale": 0.1}
    embed = PeriodicEmbedding(n_members=n_members, **shape | params)
    generators = [torch.Generator().manual_seed(seed) for seed in range(n_members)]
    embed.reset_parameters(generators)
    return embed.double(), generators


def test_it_is_features_and_cosines_of_them():
    embed, _ = draw(gain=0.5)
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.empty(2, 5, 15, dtype=torch.float64)
    for e in range(2):
        for row in range(5):
            for j in range(3):
                expected[e, row, j] = x[row, j]
                for k in range(4):
                    wave = embed.frequency[e, 0, j, k] * x[row, j] + embed.phase[e, 0, j, k]
                    expected[e, row, 3 + 4 * j + k] = torch.cos(2 * math.pi * wave)
    torch.testing.assert_close(embed(x), 0.5 * expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(embed(x.expand(2, -1, -1)), 0.5 * expected, rtol=0, atol=1e-14)


def test_waves_depend_on_the_seed_alone_and_use_up_no_draws():
    embed, generators = draw()
    fresh = torch.Generator().manual_seed(1)
    assert torch.equal(torch.rand(3, generator=generators[1]), torch.rand(3, generator=fresh))
    alone = PeriodicEmbedding(n_members=1, n_features=3, n_frequencies=4, scale=0.1)
    alone.reset_parameters([torch.Generator().manual_seed(1)])
    assert torch.equal(alone.double().frequency[0], embed.frequency[1])
    assert not torch.equal(embed.frequency[0], embed.frequency[1])


def test_features_without_spread_have_no_waves():
    embed, _ = draw()
    embed.flatten_constant(torch.tensor([1.0, 0.0, 2.0]))
    out = embed(torch.zeros(1, 3, dtype=torch.float64))
    assert (out[:, :, 7:11] == 0).all()
    assert (out[:, :, 3:7] != 0).all()


def test_narrow_vectors_get_waves_and_what_is_wide_smaller_steps():
    def adapt(width, **how):
        specs = {"x": EncoderSpec("mlp", (width,), width)}
        return adapt_to_width(specs, **{"embedding": "plr", "scaled": True} | how)["x"]

    assert (adapt(2).width, adapt(2).gain) == (10, 1.0)
    assert (adapt(64).width, adapt(64).gain) == (320, (16 / 320) ** 0.5)
    assert (adapt(65).width, adapt(65).gain) == (65, (16 / 65) ** 0.5)
    assert adapt(65, scaled=False).gain == 1.0
    assert adapt(2, embedding=None) == EncoderSpec("mlp", (2,), 2, gain=1.0)


@pytest.mark.parametrize("n_features", [20, 80])
def test_a_gain_changes_steps_and_not_what_a_net_starts_as(n_features, monkeypatch):
    blocks = {"wide": np.random.default_rng(0).normal(size=(40, n_features))}
    blocks |= make_blocks(40)
    y = make_target(blocks, "regression")
    params = {"max_epochs": 1, "learning_rate": 1e-12, "random_state": 0, "dtype": "float64"}
    with_gain = MRORegressor(**params).fit(blocks, y)
    monkeypatch.setattr("sklearn_mmfuse.estimators._encoders.WIDE", 10**6)
    without = MRORegressor(**params).fit(blocks, y)
    assert not np.array_equal(
        *(m.module_.block.mlps.first[-1].detach() for m in (with_gain, without))
    )
    np.testing.assert_allclose(with_gain.predict(blocks), without.predict(blocks), atol=1e-8)


def test_nets_without_hidden_layers_stay_linear():
    rng = np.random.default_rng(0)
    X = {"a": rng.uniform(-1, 1, size=(60, 3)), "b": rng.uniform(-1, 1, size=(60, 2))}
    model = MRORegressor(hidden_layer_sizes=(), max_epochs=5, random_state=0)
    model.fit(X, X["a"][:, 0] + X["b"][:, 1])
    half = {name: block / 2 for name, block in X.items()}
    none = {name: block * 0 for name, block in X.items()}
    middle = (model.predict(X) + model.predict(none)) / 2
    np.testing.assert_allclose(model.predict(half), middle, atol=1e-10)


@pytest.mark.parametrize("numerical_embedding", ["plr", None])
def test_terms_add_up_and_purified_terms_are_the_effects(numerical_embedding):
    from sklearn_mmfuse.inspection import modality_effects

    blocks = make_blocks(30, n_modalities=3)
    y = make_target(blocks, "binary")
    model = MROClassifier(
        numerical_embedding=numerical_embedding, max_epochs=5, dtype="float64", random_state=0
    ).fit(blocks, y)
    parts = model.decompose(blocks)
    np.testing.assert_allclose(parts.sum()[:, 0], model.decision_function(blocks), atol=1e-10)
    pure = model.decompose(blocks, purify=True)
    effects = modality_effects(model, blocks)
    for term in effects.terms:
        np.testing.assert_allclose(pure[str(term)], effects[str(term)], atol=1e-9)


def test_modalities_have_waves_of_their_own():
    blocks = {name: np.random.default_rng(0).normal(size=(30, 1)) for name in "ab"}
    model = MRORegressor(max_epochs=1, random_state=0).fit(blocks, blocks["a"][:, 0])
    first, second = model.module_.embeddings
    assert not torch.equal(first.frequency, second.frequency)
