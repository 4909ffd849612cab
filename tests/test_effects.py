"""Pure effects against closed forms, for two to four modalities; draws against all combinations."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_mmfuse._effects import (
    Averaging,
    Pool,
    exact_cost,
    exact_effects,
    sampled_effects,
    subsets,
)

NAMES = ("a", "b", "c", "d")


def make_pool(n_modalities, n_rows=6, n_background=None, seed=0):
    rng = np.random.default_rng(seed)
    total = n_rows + (n_background or 0)
    data = {name: rng.normal(size=total) + i for i, name in enumerate(NAMES[:n_modalities])}
    return data, Pool(n_rows, n_background)


def evaluator(f, data):
    """Look modalities up in the pool; `f` maps one array per modality to one per output."""

    def evaluate(rows):
        return np.column_stack(f(*(data[name][rows[name]] for name in data)))

    return evaluate


def centered(data, pool):
    """Return, per modality, its rows minus the mean of the background, and that mean."""
    means = {name: x[pool.background].mean() for name, x in data.items()}
    return {name: x[: pool.n_rows] - means[name] for name, x in data.items()}, means


@pytest.mark.parametrize("n_background", [None, 4])
def test_a_product_of_two_modalities(n_background):
    data, pool = make_pool(2, n_background=n_background)
    x, mean = centered(data, pool)
    effects = exact_effects(evaluator(lambda a, b: [a * b], data), NAMES[:2], pool, 2)
    np.testing.assert_allclose(effects.constant, mean["a"] * mean["b"], atol=1e-12)
    np.testing.assert_allclose(effects.values["a",][:, 0], x["a"] * mean["b"], atol=1e-12)
    np.testing.assert_allclose(effects.values["b",][:, 0], x["b"] * mean["a"], atol=1e-12)
    np.testing.assert_allclose(effects.values["a", "b"][:, 0], x["a"] * x["b"], atol=1e-12)


@pytest.mark.parametrize("n_background", [None, 5])
def test_a_sum_of_products_of_three_modalities_with_two_outputs(n_background):
    data, pool = make_pool(3, n_background=n_background)
    x, mean = centered(data, pool)

    def f(a, b, c):
        value = a * b * c + a**2 - 3 * b
        return [value, 1 - 2 * value]

    effects = exact_effects(evaluator(f, data), NAMES[:3], pool, 3)
    squares = data["a"] ** 2
    truth = {
        ("a",): x["a"] * mean["b"] * mean["c"]
        + (squares[: pool.n_rows] - squares[pool.background].mean()),
        ("b",): x["b"] * (mean["a"] * mean["c"] - 3),
        ("c",): x["c"] * mean["a"] * mean["b"],
        ("a", "b"): x["a"] * x["b"] * mean["c"],
        ("a", "c"): x["a"] * x["c"] * mean["b"],
        ("b", "c"): x["b"] * x["c"] * mean["a"],
        ("a", "b", "c"): x["a"] * x["b"] * x["c"],
    }
    assert list(effects.values) == list(truth)
    for subset, value in truth.items():
        expected = np.column_stack([value, -2 * value])
        np.testing.assert_allclose(effects.values[subset], expected, atol=1e-10)


def test_four_modalities_with_one_interaction_of_each_order():
    data, pool = make_pool(4, n_rows=5)
    x, mean = centered(data, pool)
    f = evaluator(lambda a, b, c, d: [a * b * c * d + c * d + b], data)
    effects = exact_effects(f, NAMES, pool, 4)
    for subset, values in effects.values.items():
        kept = np.prod([x[name] for name in subset], axis=0)
        rest = np.prod([mean[name] for name in NAMES if name not in subset])
        expected = kept * rest
        if set(subset) <= {"c", "d"}:
            expected = expected + kept * np.prod([mean[m] for m in "cd" if m not in subset])
        if subset == ("b",):
            expected = expected + x["b"]
        np.testing.assert_allclose(values[:, 0], expected, atol=1e-10)


def test_what_no_formula_gives_equals_loops_written_out():
    data, pool = make_pool(3, n_rows=4)

    def f(a, b, c):
        logits = np.stack([a * b, np.sin(b * c), a - c])
        return list(np.exp(logits) / np.exp(logits).sum(axis=0))

    effects = exact_effects(evaluator(f, data), NAMES[:3], pool, 3)
    n = pool.n_rows
    table = np.empty((n, n, n, 3))
    for i, j, k in product(range(n), repeat=3):
        table[i, j, k] = f(data["a"][i], data["b"][j], data["c"][k])
    mean = table.mean(axis=(0, 1, 2))
    a = table.mean(axis=(1, 2)) - mean
    b = table.mean(axis=(0, 2)) - mean
    rows = np.arange(n)
    ab = table.mean(axis=2)[rows, rows] - a - b - mean
    np.testing.assert_allclose(effects.values["a",], a, atol=1e-12)
    np.testing.assert_allclose(effects.values["a", "b"], ab, atol=1e-12)
    total = effects.constant + sum(effects.values.values())
    np.testing.assert_allclose(total, table[rows, rows, rows], atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 5),
    st.one_of(st.none(), st.integers(1, 4)),
    st.integers(0, 2**31 - 1),
)
def test_effects_add_up_and_average_out(n_modalities, n_rows, n_background, seed):
    data, pool = make_pool(n_modalities, n_rows, n_background, seed)
    weights = np.random.default_rng(seed).normal(size=(n_modalities, 2))
    f = evaluator(lambda *x: list(np.tanh(weights.T @ np.stack(x))), data)
    names = NAMES[:n_modalities]
    everything = f(dict.fromkeys(names, np.arange(n_rows)))
    for effects in (
        exact_effects(f, names, pool, n_modalities),
        sampled_effects(
            f, names, pool, n_modalities, n_draws=7, random_state=np.random.RandomState(seed)
        ),
    ):
        total = effects.constant + sum(effects.values.values())
        np.testing.assert_allclose(total, everything, atol=1e-10)
    if n_background is None:  # the mean over the background is the mean over the rows
        exact = exact_effects(f, names, pool, n_modalities)
        for name in names:
            np.testing.assert_allclose(exact.values[name,].mean(axis=0), 0, atol=1e-10)


def test_the_stated_cost_is_the_number_of_evaluations():
    for n_background, max_order in product((None, 3), (1, 2, 3)):
        data, pool = make_pool(3, 4, n_background)
        counted = []

        def f(a, *others, counted=counted):
            counted.append(len(a))
            return [a]

        exact_effects(evaluator(f, data), NAMES[:3], pool, max_order)
        assert sum(counted) == exact_cost(3, pool, max_order)


def test_intervals_of_draws_cover_the_exact_effects():
    data, pool = make_pool(3, n_rows=8, seed=1)
    f = evaluator(lambda a, b, c: [np.exp(0.2 * a * b) * (2 + np.sin(c)), a * b * c], data)
    exact = exact_effects(f, NAMES[:3], pool, 3)
    hits = []
    for seed in range(200):
        found = sampled_effects(
            f, NAMES[:3], pool, 3, n_draws=300, random_state=np.random.RandomState(seed)
        )
        hits.append(
            [
                np.mean(np.abs(found.values[s] - exact.values[s]) <= 1.96 * found.errors[s])
                for s in subsets(NAMES[:3], 3)
            ]
        )
    coverage = np.mean(hits, axis=0)
    assert 0.93 <= coverage.mean() <= 0.97
    assert (np.abs(coverage - 0.95) < 0.03).all()


def test_draws_get_closer_with_their_number():
    data, pool = make_pool(2, n_rows=10)
    f = evaluator(lambda a, b: [np.exp(a * b / 3)], data)
    errors = [
        np.mean(sampled_effects(f, ("a", "b"), pool, 2, n_draws=n, random_state=rng).errors["a",])
        for n, rng in ((50, np.random.RandomState(0)), (5000, np.random.RandomState(0)))
    ]
    assert errors[1] < errors[0] / 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((-1, 10, 0), "max_evaluations must be"), ((10, 1, 0), "n_draws must be an integer of at")],
)
def test_a_budget_must_make_sense(arguments, message):
    with pytest.raises(ValueError, match=message):
        Averaging(*arguments)
