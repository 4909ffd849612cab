"""Batches cover every row once, never hold a single row, and draw from their own generator."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_mmfuse._training._batches import BatchSampler, Rows


def rows(n):
    index = torch.arange(n, dtype=torch.float32)
    return Rows({"a": index[:, None], "b": index[:, None] * 2}, index, index, index[None, :, None])


@settings(max_examples=60, deadline=None)
@given(n=st.integers(2, 70), batch_size=st.integers(1, 80), seed=st.integers(0, 9))
def test_an_epoch_is_a_permutation_in_step(n, batch_size, seed):
    sampler = BatchSampler(
        rows(n), batch_size=batch_size, generator=torch.Generator().manual_seed(seed)
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


def test_without_a_generator_rows_keep_their_order_and_nothing_is_dropped():
    sampler = BatchSampler(rows(10), batch_size=4, dropout=0.5, n_mask_units=3)
    inputs, target = next(iter(sampler))
    assert inputs["mask"] is None
    assert target.tolist() == [0, 1, 2, 3]


def test_masks_keep_the_expectation():
    generator = torch.Generator().manual_seed(0)
    sampler = BatchSampler(
        rows(1000), batch_size=1000, generator=generator, dropout=0.25, n_mask_units=50
    )
    ((inputs, _),) = sampler
    mask = inputs["mask"]
    assert mask.shape == (1, 50_000)
    torch.testing.assert_close(mask.unique(), torch.tensor([0.0, 1 / 0.75]))
    assert abs(float(mask.mean()) - 1) < 0.01


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
    assert own.double().X["a"].dtype == torch.float64
    assert own.X["a"][:, 0].tolist() == [7, 2, 5, 3]
