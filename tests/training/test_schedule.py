from fnmatch import fnmatch

import numpy as np
import pytest
import torch
from skorch.callbacks import LRScheduler

from sklearn_mmfuse import MROClassifier, MRORegressor
from sklearn_mmfuse._training._member_optimizer import MemberAdamW
from sklearn_mmfuse._training._schedule import decay_at, step_size_factor
from tests.estimators._data import make_blocks, make_target


def test_cosine_rises_for_a_tenth_and_falls_to_nothing():
    factors = [step_size_factor("cosine", t) for t in np.linspace(0, 1, 1001)]
    assert factors[0] == 0.0
    assert max(factors) == factors[100] == 1.0
    assert abs(factors[-1]) < 1e-12
    assert (np.diff(factors[:101]) > 0).all()
    assert (np.diff(factors[100:]) < 0).all()
    assert step_size_factor("constant", 0.3) == 1.0


def test_every_member_follows_a_schedule_of_its_own_length():
    ends, rates = [4, 10], [0.1, 0.02]
    start = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    net = torch.nn.Module()
    net.weight = torch.nn.Parameter(start.clone())
    optimizer = MemberAdamW(net, rates, [0.5, 0.5], decays={}, schedule="cosine", n_steps=ends)
    for _ in range(4):
        net.weight.grad = None
        (net.weight**3).sum().backward()
        optimizer.step()
    for e in range(2):
        weight = torch.nn.Parameter(start[e].clone())
        single = torch.optim.AdamW([weight], lr=rates[e], weight_decay=0.5)

        def factor(step, end=ends[e]):
            return step_size_factor("cosine", (step + 0.5) / end)

        policy = torch.optim.lr_scheduler.LambdaLR(single, factor)
        for _ in range(4):
            single.zero_grad()
            (weight**3).sum().backward()
            single.step()
            policy.step()
        torch.testing.assert_close(net.weight[e], weight, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
@pytest.mark.parametrize("optimization", ["mro", "smro"])
def test_both_engines_follow_it(schedule, optimization):
    blocks = make_blocks(60)
    y = make_target(blocks, "binary")
    model = MROClassifier(
        learning_rate_schedule=schedule,
        optimization=optimization,
        batch_size=16,
        max_epochs=6,
        dtype="float64",
        random_state=0,
    )
    ours = model.fit(blocks, y).predict_proba(blocks)
    by_skorch = model.set_params(net_params={}).fit(blocks, y).predict_proba(blocks)
    np.testing.assert_allclose(ours, by_skorch, atol=1e-10)


def test_what_decays_late_decays_in_the_second_half_only():
    ends = [4, 10]
    net = torch.nn.Module()
    net.early, net.late = (torch.nn.Parameter(torch.ones(2, 3)) for _ in range(2))
    optimizer = MemberAdamW(net, [0.1, 0.1], [0.5, 0.5], decays={"late": "late"}, n_steps=ends)
    expected = torch.ones(2, 3)
    for step in range(4):
        for parameter in net.parameters():
            parameter.grad = torch.zeros_like(parameter)  # nothing but decay moves them
        optimizer.step()
        for e, end in enumerate(ends):
            progress = (step + 0.5) / end
            expected[e] *= 1 - 0.1 * decay_at("late", progress, weight_decay=0.5, learning_rate=0.1)
    torch.testing.assert_close(net.late.data, expected)
    torch.testing.assert_close(net.early.data, torch.full((2, 3), 0.95**4))
    assert (expected[0] < 1).all()
    assert (expected[1] == 1).all()  # four steps of ten


def test_late_decay_does_not_overshoot():
    at_most = {"weight_decay": 8.0, "learning_rate": 0.1}
    assert decay_at("late", 0.9, **at_most) == 10.0  # to zero, where 16 would be beyond
    assert decay_at("late", 0.5, **at_most) == decay_at("never", 0.9, **at_most) == 0.0
    assert decay_at("always", 0.9, **at_most) == 8.0
    assert decay_at("late", 0.9, weight_decay=8.0, learning_rate=0.5) == 8.0  # the user's own
    blocks = make_blocks(80)
    y = make_target(blocks, "regression")
    params = {"learning_rate": 0.13, "learning_rate_schedule": "constant", "random_state": 0}
    for own in ({}, {"net_params": {}}):
        assert MRORegressor(**params, **own).fit(blocks, y).score(blocks, y) > 0


def test_weights_of_products_decay_late():
    blocks = make_blocks(40)
    net = (
        MRORegressor(max_epochs=1, random_state=0)
        .fit(blocks, make_target(blocks, "regression"))
        .module_
    )
    late = {own for own, kind in net.decays.items() if kind == "late"}
    names = {n for n, _ in net.named_parameters() if any(fnmatch(n, own) for own in late)}
    own = {"weights.0", "weights.1", "readout"}
    assert names == {f"block.products.{name}" for name in own}


def test_a_single_step_moves():
    blocks = make_blocks(20)
    y = make_target(blocks, "regression")
    model = MRORegressor(max_epochs=1, random_state=0)
    first = model.fit(blocks, y).predict(blocks)
    assert not np.allclose(
        first, model.set_params(learning_rate=1e-12).fit(blocks, y).predict(blocks)
    )


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, 8.0),
        ({"batch_size": 10}, 8.0 / 6),
        ({"batch_size": 59}, 8.0),  # the last row joins the first batch
        ({"batch_size": 58}, 4.0),
        ({"hidden_layer_sizes": (256, 16)}, 2.0),
        ({"hidden_layer_sizes": (128,)}, 8.0),
        ({"hidden_layer_sizes": ()}, 8.0 / 64),
        ({"weight_decay": 0.25}, 0.25),
    ],
)
def test_auto_decays_by_epoch(params, expected):
    model = MRORegressor(**params)
    model.modality_shapes_ = {"a": (1,)}
    options = model._training_options(60, torch.device("cpu"))
    assert options.weight_decay == pytest.approx(expected)


def test_a_scheduler_of_the_users_needs_a_constant_one():
    blocks = make_blocks(40)
    y = make_target(blocks, "regression")
    mine = LRScheduler(policy="StepLR", step_size=2, gamma=0.1)
    model = MRORegressor(net_params={"callbacks": [("mine", mine)]}, max_epochs=4, random_state=0)
    with pytest.raises(ValueError, match="learning_rate_schedule='constant'"):
        model.fit(blocks, y)
    assert not hasattr(model, "module_")
    model.set_params(learning_rate_schedule="constant").fit(blocks, y)
    unscheduled = MRORegressor(learning_rate_schedule="constant", max_epochs=4, random_state=0)
    assert not np.allclose(model.predict(blocks), unscheduled.fit(blocks, y).predict(blocks))
