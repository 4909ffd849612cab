"""Batches of many members: those of every stream by itself, side by side."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_mmfuse._training._batches import BatchSampler, Draws
from sklearn_mmfuse._training._member_batches import MemberBatches
from sklearn_mmfuse._training._rows import MemberRows, Rows, move_rows

META = torch.device("meta")


def source(n, n_steps, seed):
    rng = torch.Generator().manual_seed(seed)
    return {
        "a": torch.rand(n, 3, generator=rng),
        "t": torch.rand(n, n_steps, 2, generator=rng),
    }


def rows_of(stream, n, blocks, *, gaps=False, offset=False):
    """Return n rows, picked from a source, with targets that tell which."""
    rng = torch.Generator().manual_seed(stream)
    n_there = len(blocks["a"])
    picked = torch.randint(n_there, (n,), generator=rng)
    present = torch.ones(n, 2)
    present[::3, stream % 2] = 0
    return Rows(
        blocks,
        picked.float() + 100 * stream,
        torch.rand(n, generator=rng),
        torch.rand(1, n, 2, generator=rng) if offset else None,
        present if gaps else None,
        picked,
    )


def draws_of(stream, dropout, modality_dropout):
    return Draws(
        torch.Generator().manual_seed(stream),
        dropout=dropout,
        n_mask_units=5,
        modality_dropout=modality_dropout,
    )


def one(value, member):
    """Return what a batch holds for a member, without padding."""
    return None if value is None else value[member]


def assert_same(ours, theirs):
    """Compare what is meant: None is ones, and NaN steps are padding."""
    if theirs is None:
        assert ours is None or (ours == 1).all()
    elif theirs.ndim == 3 and ours.shape[1] > theirs.shape[1]:
        assert ours[:, theirs.shape[1] :].isnan().all()
        torch.testing.assert_close(ours[:, : theirs.shape[1]], theirs, rtol=0, atol=0)
    else:
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def assert_batch_of(ours, member, theirs):
    """Hold the part of a member against the batch of its stream alone."""
    assert_same(one(ours["weight"], member), theirs["weight"])
    for name in ("present", "recorded"):
        assert_same(one(ours[name], member), theirs[name])
    mask = theirs["mask"]
    assert_same(one(ours["mask"], member), None if mask is None else mask[0])
    for name, x in theirs["X"].items():
        assert_same(ours["X"][name][member], x)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(2, 23),
    batch_size=st.integers(2, 12),
    reads=st.lists(st.integers(0, 2), min_size=1, max_size=5),
    n_sources=st.integers(1, 3),
    gaps=st.lists(st.booleans(), min_size=3, max_size=3),
    offset=st.booleans(),
    dropout=st.lists(st.sampled_from([0.0, 0.2, 0.5]), min_size=3, max_size=3),
    lost=st.lists(st.sampled_from([0.0, 0.4]), min_size=3, max_size=3),
    penalty=st.sampled_from([0, 15]),
    kept=st.sets(st.integers(0, 4), min_size=1),
)
def test_members_read_what_their_streams_say(
    n, batch_size, reads, n_sources, gaps, offset, dropout, lost, penalty, kept
):
    sources, streams = [source(30, 2 + number, number) for number in range(n_sources)], range(3)
    offset = offset and len(reads) == 3  # of each member its own
    reads = [0, 1, 2] if offset else [0, 1, *reads]
    rows = [rows_of(s, n, sources[s % n_sources], gaps=gaps[s], offset=offset) for s in streams]
    sizes = {"batch_size": batch_size, "penalty_batch_size": penalty}

    def draws():
        return [draws_of(s, dropout[s], lost[s]) for s in streams]

    alone = [BatchSampler(r, draws=d, **sizes) for r, d in zip(rows, draws(), strict=True)]
    ours = MemberBatches(rows, draws(), reads, **sizes)
    for _ in range(2):  # all members, then some
        epoch = [list(sampler) for sampler in alone]
        for b, (inputs, target) in enumerate(ours):
            for member, stream in enumerate(reads):
                expected, y = epoch[stream][b]
                assert_same(target[member], y)
                assert_batch_of(inputs, member, expected)
                if expected["offset"] is not None:
                    assert_same(inputs["offset"][member], expected["offset"][0])
                if expected["penalty"] is not None:
                    assert_batch_of(inputs["penalty"], member, expected["penalty"])
        assert b == len(epoch[0]) - 1
        left = sorted(member for member in kept if member < len(reads)) or [0]
        ours.take(torch.tensor(left))
        reads = [reads[member] for member in left]


def test_what_is_shared_is_there_once():
    blocks = source(20, 3, 0)
    rows = [rows_of(0, 12, blocks)]
    draws = [draws_of(0, 0.5, 0.0)]
    for inputs, target in MemberBatches(rows, draws, [0, 0, 0], batch_size=5):
        assert inputs["X"]["a"].shape == (len(target), 3)
        assert inputs["mask"].shape == (3, 5 * len(target))
        assert inputs["mask"].stride(0) == 0


def test_a_single_batch_is_gathered_once():
    rows = [rows_of(s, 12, source(20, 3, 0)) for s in range(2)]
    batches = MemberBatches(rows, [draws_of(s, 0.5, 0.0) for s in range(2)], [0, 1], batch_size=12)
    ((first, _),), ((again, _),) = batches, batches
    assert first["X"]["a"].data_ptr() == again["X"]["a"].data_ptr()
    assert not torch.equal(first["mask"], again["mask"])
    batches.take(torch.tensor([1]))
    ((left, _),) = batches
    torch.testing.assert_close(left["X"]["a"][0], first["X"]["a"][1])


def test_members_of_one_source_are_gathered_together():
    blocks = source(20, 3, 0)
    together = MemberRows.of([rows_of(s, 12, blocks, gaps=s == 1, offset=True) for s in range(3)])
    assert together.present.shape == (3, 12, 2)
    assert together.offset.shape == (3, 12, 2)
    assert (together.present[0] == 1).all()
    numbers = torch.tensor([[3, 1], [0, 0], [11, 2]])
    taken = together.take(numbers)
    assert len(taken) == 2
    for s in range(3):
        alone = rows_of(s, 12, blocks, gaps=s == 1, offset=True).take(numbers[s])
        for name, x in alone.X.items():
            torch.testing.assert_close(taken.X[name][s], x)
        torch.testing.assert_close(taken.y[s], alone.y)
        torch.testing.assert_close(taken.offset[s], alone.offset[0])


@pytest.mark.parametrize(("n", "once"), [(12, True), (6, False)])
def test_inputs_that_several_read_are_moved_once(n, once):
    blocks = source(20, 3, 0)
    rows = [rows_of(s, n, blocks) for s in range(3)]
    moved = move_rows([*rows, rows[0]], META)
    assert moved[3] is moved[0]
    assert len({id(own.blocks) for own in moved}) == (1 if once else 3)
    for own in moved:
        assert own.y.device == own.X["t"].device == META
        assert own.X["t"].shape == (n, 3, 2)


def test_room_is_needed_for_what_is_moved(monkeypatch):
    blocks = source(20, 3, 0)
    every = sum(x.nbytes for x in blocks.values())
    asked = "sklearn_mmfuse._training._rows.room_on"
    for n, needed in ((12, every), (6, 3 * 6 * every // 20)):
        rows = [rows_of(s, n, blocks) for s in range(3)]
        for room in (needed, needed - 1):
            monkeypatch.setattr(asked, lambda device, room=room: room)
            on_host = [own.on_host for own in move_rows(rows, META)]
            assert on_host == [room < needed] * 3


def test_padding_joins_sequences_of_sources():
    rows = [rows_of(s, 4, source(20, 2 + s, s)) for s in range(2)]
    X = MemberRows.of(rows).X
    assert X["t"].shape == (2, 4, 3, 2)
    assert np.isnan(X["t"][0, :, 2].numpy()).all()
    torch.testing.assert_close(X["t"][0, :, :2], rows[0].X["t"])
    torch.testing.assert_close(X["t"][1], rows[1].X["t"])
