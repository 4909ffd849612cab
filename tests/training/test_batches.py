"""Batches cover every row once, never hold a single row, and draw from their own generator."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_mmfuse._training._batches import BatchSampler, Draws, draw_mask
from sklearn_mmfuse._training._rows import Rows


def rows(n):
    index = torch.arange(n, dtype=torch.float32)
    return Rows({"a": index[:, None], "b": index[:, None] * 2}, index, index, index[None, :, None])


@settings(max_examples=60, deadline=None)
@given(n=st.integers(2, 70), batch_size=st.integers(1, 80), seed=st.integers(0, 9))
def test_an_epoch_is_a_permutation_in_step(n, batch_size, seed):
    sampler = BatchSampler(
        rows(n), batch_size=batch_size, draws=Draws(torch.Generator().manual_seed(seed))
    )
    batches = list(sampler)
    seen = torch.cat([target for _, target in batches])
    assert sorted(seen.tolist()) == list(range(n))
    for inputs, target in batches:
        assert torch.equal(inputs["X"]["a"][:, 0], target)
        assert torch.equal(inputs["X"]["b"][:, 0], 2 * target)
        assert torch.equal(inputs["offset"][0, :, 0], target)
        assert torch.equal(inputs["weight"], target)
        assert len(target) > 1 or batch_size == 1


def test_a_last_single_row_joins_the_batch_before():
    assert [len(y) for _, y in BatchSampler(rows(9), batch_size=4)] == [4, 5]


def test_without_draws_rows_keep_their_order_and_nothing_is_dropped():
    sampler = BatchSampler(rows(10), batch_size=4)
    inputs, target = next(iter(sampler))
    assert inputs["mask"] is None
    assert target.tolist() == [0, 1, 2, 3]


def test_masks_keep_the_expectation():
    generator = torch.Generator().manual_seed(0)
    draws = Draws(generator, dropout=0.25, n_mask_units=50)
    sampler = BatchSampler(rows(1000), batch_size=1000, draws=draws)
    ((inputs, _),) = sampler
    mask = inputs["mask"]
    assert mask.shape == (1, 50_000)
    torch.testing.assert_close(mask.unique(), torch.tensor([0.0, 1 / 0.75]))
    assert abs(float(mask.mean()) - 1) < 0.01


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 50),
    keep=st.one_of(st.just(1e-9), st.just(1 - 1e-9), st.floats(0.01, 0.99)),
    seed=st.integers(0, 2**16),
)
def test_a_mask_has_two_values(n, keep, seed):
    like = torch.zeros(0, dtype=torch.float64)
    first, again = (
        draw_mask(n, keep, torch.Generator().manual_seed(seed), like=like) for _ in range(2)
    )
    assert first.shape == (n,)
    assert torch.equal(first, again)
    share = min(max(round(keep * 2**16), 1), 2**16 - 1) / 2**16  # with which a unit is kept
    assert set(first.tolist()) <= {0.0, 1.0 / share}


def test_units_of_a_mask_are_independent():
    # Four of them come from one random number.
    for keep in (0.05, 0.3, 0.9):
        mask = draw_mask(400_000, keep, torch.Generator().manual_seed(0), like=torch.zeros(0))
        kept = (mask > 0).double().reshape(-1, 8)
        expected = torch.full((8,), keep, dtype=torch.float64)
        torch.testing.assert_close(kept.mean(0), expected, atol=0.01, rtol=0)
        torch.testing.assert_close(mask.mean(), torch.ones(()), atol=0.02, rtol=0)
        covariance = torch.cov(kept.T) - torch.diag(expected * (1 - expected))
        assert covariance.abs().max() < 0.01
    assert draw_mask(8, 1.0, torch.Generator(), like=torch.zeros(0)) is None


def test_picked_rows_are_read_only_when_they_are_needed():
    whole = rows(10)
    some = whole.take(torch.tensor([7, 2, 5, 3]))
    assert some.blocks["a"] is whole.blocks["a"]
    assert some.X["a"][:, 0].tolist() == some.y.tolist() == [7, 2, 5, 3]
    again = some.take(torch.tensor([3, 0])).slice(0, 2)
    assert again.X["b"][:, 0].tolist() == [6, 14]
    assert again.offset[0, :, 0].tolist() == again.y.tolist() == [3, 7]
    assert whole.slice(2, 4).X["a"][:, 0].tolist() == [2, 3]
    own = some.gathered()
    assert own.picked is None
    assert some.double().y.dtype == torch.float64
    assert some.double().blocks is some.blocks
    view = again.inputs_in_place["b"]
    assert view.block is whole.blocks["b"]
    torch.testing.assert_close(view.narrow(0, 1, 1), again.X["b"][1:])
    torch.testing.assert_close(view[torch.tensor([1])].narrow(0, 0, 1), again.X["b"][1:])
    assert whole.inputs_in_place["a"].narrow(0, 4, 2).data_ptr() == whole.X["a"][4:].data_ptr()
    with pytest.raises(ValueError, match="axis 0; got 1"):
        view.narrow(1, 0, 1)
    assert own.X["a"][:, 0].tolist() == [7, 2, 5, 3]
