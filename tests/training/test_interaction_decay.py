"""Weights of interactions decay more where rows have many features."""

import numpy as np
import pytest
import torch
from skorch.callbacks import Freezer

from sklearn_mmfuse import InTenseRegressor, MRORegressor, SMURFRegressor
from sklearn_mmfuse._terms import interaction_terms
from sklearn_mmfuse._training._interaction_decay import decay_interactions
from sklearn_mmfuse.nets import MRONet
from tests.training._data import vectors


def options_of(model, n_rows, widths):
    model.modality_shapes_ = {name: (width,) for name, width in zip("av", widths, strict=False)}
    model.modality_shapes_ |= {"t": (None, 40), "w": (16, 16, 3)}  # which encoders read
    return model._training_options(n_rows, torch.device("cpu"))


@pytest.mark.parametrize(
    ("widths", "n_rows", "factor"),
    [
        ((1,), 60, 1.0),
        ((7, 8), 60, 3.5),  # 7 times the root of a quarter
        ((7, 8), 240, 1.75),
        ((400, 2000), 600, 5.0),
        ((), 60, 1.0),
    ],
)
def test_interactions_decay_with_features_per_row(widths, n_rows, factor):
    options = options_of(MRORegressor(), n_rows, widths)
    assert options.interaction_decay == pytest.approx(factor)
    assert options.weight_decay == options_of(MRORegressor(), n_rows, (1,)).weight_decay


def test_a_decay_of_ones_own_is_that_of_all_weights():
    assert options_of(MRORegressor(weight_decay=3.0), 60, (7, 8)).interaction_decay == 1.0


def make_net(**params):
    terms = interaction_terms(["a", "t", "v"], 3)
    net = MRONet(
        in_features={"a": 3, "t": 2, "v": 4}, terms=terms, n_outputs=1, n_members=2,
        input_scaling=None, staged=True, stop_gradient=True, hidden=(5, 4), activation="relu",
        tensor_dim=4, **{"fusion": "concat", "share_encoders": False} | params,
    )  # fmt: skip
    net.reset_parameters([torch.Generator().manual_seed(e) for e in range(2)])
    return net


def test_the_weights_are_those_of_interactions_and_all_of_them():
    net = make_net()
    rng = np.random.default_rng(0)
    X = {name: torch.tensor(rng.normal(size=(6, d))).float() for name, d in net.in_features.items()}
    before = net(X).values.detach()
    decay_interactions(net.interaction_weights(), [1.0, 2.0], [0.5, 1.0])
    after = net(X).values
    assert torch.equal(after[0], before[0])
    assert torch.equal(after[1, :3], before[1, :3])  # modalities alone
    assert before[1, 3:].abs().amax(dim=(1, 2)).amin() > 0
    assert after[1, 3:].abs().amax() == 0


@pytest.mark.parametrize("params", [{"fusion": "tensor"}, {"share_encoders": True}])
def test_embeddings_are_not_crowded(params):
    assert make_net(**params).interaction_weights() == []


def test_a_step_shrinks_by_the_factor():
    weight = torch.full((3, 2), 2.0)
    decay_interactions([weight], [1.0, 3.0, 5.0], [0.1, 0.1, 0.5])
    expected = [2.0, 2.0 * 0.8, 0.0]  # not beyond zero
    np.testing.assert_allclose(weight[:, 0], expected, rtol=1e-6)


def fit(**params):
    X, y = vectors()
    common = {"max_epochs": 8, "hidden_layer_sizes": (6,), "dtype": "float64", "batch_size": 30}
    return MRORegressor(random_state=0, **common | params).fit(X, y), X


@pytest.mark.parametrize("optimization", ["mro", "smro", "joint"])
def test_both_engines_decay_alike(optimization):
    model, X = fit(optimization=optimization)
    by_skorch, _ = fit(optimization=optimization, net_params={"callbacks": []})
    np.testing.assert_allclose(model.predict(X), by_skorch.predict(X), atol=1e-9)


@pytest.mark.parametrize("optimization", ["mro", "smro"])
def test_modalities_alone_do_not_hear_of_it(monkeypatch, optimization):
    params = {"optimization": optimization, "max_grad_norm": None}  # which is that of all weights
    more, X = fit(**params)
    monkeypatch.setattr(MRORegressor, "_interaction_decay", lambda self, n_rows: 1.0)
    as_others, _ = fit(**params)
    values, others = more.decompose(X).values, as_others.decompose(X).values
    np.testing.assert_array_equal(values[:, :3], others[:, :3])
    assert np.abs(values[:, 3:6] - others[:, 3:6]).max() > 0
    assert np.abs(values[:, 6] - others[:, 6]).max() > 0


def test_a_net_of_one_interaction_decays_as_one(monkeypatch):
    single, X = fit(optimization="single")
    monkeypatch.setattr(MRORegressor, "_interaction_decay", lambda self, n_rows: 1.0)
    assert np.abs(single.predict(X) - fit(optimization="single")[0].predict(X)).max() > 0


@pytest.mark.parametrize(
    "own",
    [
        {"optimizer": torch.optim.AdamW},
        {"optimizer__weight_decay": 0.1},
        {"optimizer__param_groups": [("*mlps*", {"weight_decay": 0.0})]},
    ],
    ids=str,
)
def test_a_decay_of_ones_own_is_what_it_says(monkeypatch, own):
    theirs, X = fit(net_params=own)
    monkeypatch.setattr(MRORegressor, "_interaction_decay", lambda self, n_rows: 1.0)
    same, _ = fit(net_params=own)
    np.testing.assert_array_equal(theirs.predict(X), same.predict(X))


def test_frozen_weights_stay():
    model, _ = fit(net_params={"callbacks": [Freezer("block.mlps*")]})
    start, _ = fit(net_params={"callbacks": [Freezer("block.mlps*")]}, max_epochs=1)
    weights, drawn = (dict(own.module_.named_parameters()) for own in (model, start))
    assert torch.equal(weights["block.mlps.first.0"], drawn["block.mlps.first.0"])


@pytest.mark.parametrize("method", [SMURFRegressor, InTenseRegressor])
def test_other_methods_decay_as_before(method):
    assert method()._interaction_decay(60) == 1.0
