"""The batches that rows are cut into, and what is random about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from sklearn_mmfuse._training._rows import MemberRows, Rows
from sklearn_mmfuse._training._sending import hand_over, one_ahead

__all__ = ["Batch", "BatchSampler", "Draws", "MemberDraws", "batch_bounds", "draw_mask"]

LEVELS = 2**16  # of a number of 16 bits

Batch = tuple[dict[str, Any], Tensor]


class Draws:
    """What is random about the batches of one stream; it is drawn on the CPU.

    Parameters
    ----------
    generator : torch.Generator
        Draws everything.
    dropout : float, default=0.0
        The probability that a hidden unit is dropped.
    n_mask_units : int, default=0
        Hidden units per row that a mask must cover.
    modality_dropout : float, default=0.0
        The probability that a row loses a modality; it keeps all if it would lose the last.
    """

    def __init__(
        self,
        generator: torch.Generator,
        *,
        dropout: float = 0.0,
        n_mask_units: int = 0,
        modality_dropout: float = 0.0,
    ) -> None:
        self.generator = generator
        self.keep = 1.0 - dropout
        self.n_mask_units = n_mask_units
        self.modality_dropout = modality_dropout

    def order(self, n_rows: int) -> Tensor:
        """Return the numbers of rows in random order."""
        return torch.randperm(n_rows, generator=self.generator)

    def mask(self, n_rows: int, like: Tensor) -> Tensor | None:
        """Return what hidden units are multiplied by, `(1, units)`; None drops none."""
        mask = draw_mask(n_rows * self.n_mask_units, self.keep, self.generator, like=like)
        return None if mask is None else mask.unsqueeze(0)

    def kept(self, n_rows: int, n_modalities: int, dtype: torch.dtype) -> Tensor | None:
        """Return ones for modalities that rows keep, `(n, M)`; None when none is lost."""
        if self.modality_dropout == 0.0:
            return None
        kept = torch.empty((n_rows, n_modalities), dtype=dtype)
        return kept.bernoulli_(1.0 - self.modality_dropout, generator=self.generator)


class MemberDraws:
    """What is random about the batches of many members, of whom some draw alike.

    Parameters
    ----------
    streams : sequence of Draws
        Of equally many `n_mask_units`.
    reads : sequence of int
        Which of them each member reads.
    """

    def __init__(self, streams: Sequence[Draws], reads: Sequence[int]) -> None:
        used = sorted(set(reads))
        self.streams = [streams[number] for number in used]
        self.reads = [used.index(number) for number in reads]

    def keep(self, members: Tensor) -> MemberDraws:
        """Return what some members draw."""
        return MemberDraws(self.streams, [self.reads[e] for e in members.tolist()])

    def order(self, n_rows: int) -> Tensor:
        """Return the numbers of the rows of each in random order, `(E, n)`."""
        return self._of_members(torch.stack([own.order(n_rows) for own in self.streams]))

    def mask(self, n_rows: int, like: Tensor) -> Tensor | None:
        """Return what hidden units are multiplied by, `(E, units)`; None drops none."""
        keeps, generators = zip(*((s.keep, s.generator) for s in self.streams), strict=True)
        masks = draw_masks(n_rows * self.streams[0].n_mask_units, keeps, generators, like=like)
        return None if masks is None else self._of_members(masks)

    def kept(self, n_rows: int, n_modalities: int, dtype: torch.dtype) -> Tensor | None:
        """Return ones for modalities that rows keep, `(E, n, M)`; None when none is lost."""
        drawn = [own.kept(n_rows, n_modalities, dtype) for own in self.streams]
        if all(kept is None for kept in drawn):
            return None
        ones = torch.ones((n_rows, n_modalities), dtype=dtype)
        return self._of_members(torch.stack([ones if kept is None else kept for kept in drawn]))

    def _of_members(self, drawn: Tensor) -> Tensor:
        if self.reads == list(range(len(self.streams))):
            return drawn
        return drawn.index_select(0, hand_over(torch.tensor(self.reads), drawn.device))


class BatchSampler:
    """Cuts rows into batches, anew each epoch; an epoch shuffles whole tensors once.

    Parameters
    ----------
    rows : Rows or MemberRows
        What to cut.
    batch_size : int
        A last batch of a single row joins the one before: it has no variance.
    draws : Draws or MemberDraws, optional
        Shuffles and draws dropout masks; None keeps the order and draws nothing.
    penalty_batch_size : int, default=0
        Rows that come with every batch for penalties to be computed on, when more than the batch
        has: a covariance needs more rows than a gradient.
    """

    def __init__(
        self,
        rows: Rows | MemberRows,
        *,
        batch_size: int,
        draws: Draws | MemberDraws | None = None,
        penalty_batch_size: int = 0,
    ) -> None:
        larger = penalty_batch_size > batch_size and len(rows) > batch_size
        self.penalty_batch_size = min(penalty_batch_size, len(rows)) if larger else 0
        self.draws = draws
        self.bounds = batch_bounds(len(rows), batch_size)
        # A single batch is gathered once, and not in every step.
        self.rows = rows.gathered() if len(self.bounds) == 1 else rows

    def __len__(self) -> int:
        return len(self.bounds)

    def __iter__(self) -> Iterator[Batch]:
        batches = self._batches()
        return map(_received, one_ahead(batches) if self.rows.on_host else batches)

    def _batches(self) -> Iterator[Batch]:
        """Yield batches whose inputs are on their way."""
        rows = self.rows
        if self.draws is not None and len(self.bounds) > 1:
            rows = rows.take(self.draws.order(len(rows)))
        for start, stop in self.bounds:
            piece = rows.slice(start, stop) if len(self.bounds) > 1 else rows
            batch = self._inputs(piece)
            batch |= {"offset": piece.offset, "penalty": self._penalty_batch()}
            yield batch, piece.y

    def _inputs(self, rows: Rows | MemberRows) -> dict[str, Any]:
        """Return what the net reads of some rows."""
        mask = None if self.draws is None else self.draws.mask(len(rows), like=rows.weight)
        present = self._present(rows)
        return {
            "X": rows.sent(),
            "weight": rows.weight,
            "mask": mask,
            "present": present,
            "recorded": rows.present,  # without what was lost for this step
        }

    def _penalty_batch(self) -> dict[str, Any] | None:
        size, rows = self.penalty_batch_size, self.rows
        if size == 0:
            return None
        if size < len(rows):
            assert self.draws is not None
            rows = rows.take(self.draws.order(len(rows))[..., :size])
        return self._inputs(rows)

    def _present(self, rows: Rows | MemberRows) -> Tensor | None:
        """Return which modalities the rows have, and have not lost."""
        if self.draws is None:
            return rows.present
        kept = self.draws.kept(len(rows), rows.n_modalities, rows.weight.dtype)
        if kept is None:
            return rows.present
        kept = hand_over(kept, rows.weight.device)
        if rows.present is None:
            return torch.where(kept.any(dim=-1, keepdim=True), kept, torch.ones_like(kept))
        left = kept * rows.present
        return torch.where(left.any(dim=-1, keepdim=True), left, rows.present)


def _received(batch: Batch) -> Batch:
    inputs, target = batch
    penalty = inputs["penalty"]
    more = {} if penalty is None else {"penalty": penalty | {"X": penalty["X"].receive()}}
    return inputs | {"X": inputs["X"].receive()} | more, target


def batch_bounds(n_rows: int, batch_size: int) -> list[tuple[int, int]]:
    """Return where batches begin and end; a last one of a single row joins the one before.

    Examples
    --------
    >>> from sklearn_mmfuse._training._batches import batch_bounds
    >>> batch_bounds(7, 3), batch_bounds(8, 3)
    ([(0, 3), (3, 7)], [(0, 3), (3, 6), (6, 8)])
    """
    starts = list(range(0, n_rows, batch_size))
    if len(starts) > 1 and n_rows - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], n_rows], strict=True))


def draw_mask(n_units: int, keep: float, generator: torch.Generator, like: Tensor) -> Tensor | None:
    """Return zeros and 1 / keep-probability for so many hidden units; None drops none.

    Four units share a random number of 64 bits, a fifth of the time of `bernoulli_`; the
    probability is rounded to a multiple of 2^-16, and never to 0 or 1.
    """
    if keep == 1.0 or n_units == 0:
        return None
    numbers = torch.empty(-(-n_units // 4), dtype=torch.int64)
    _draw(numbers, generator)
    kept = _kept_levels(keep)
    return _mask(numbers.view(torch.int16)[:n_units], kept - LEVELS // 2, LEVELS / kept, like)


def draw_masks(
    n_units: int, keeps: Sequence[float], generators: Sequence[torch.Generator], like: Tensor
) -> Tensor | None:
    """Return the masks of :func:`draw_mask` side by side, ones of those that drop nothing."""
    dropping = [row for row, keep in enumerate(keeps) if keep < 1.0]
    if n_units == 0 or not dropping:
        return None
    numbers = torch.empty((len(keeps), -(-n_units // 4)), dtype=torch.int64)
    for row in dropping:
        _draw(numbers[row], generators[row])
    kept = torch.tensor([[_kept_levels(keep)] for keep in keeps])
    below = (kept - LEVELS // 2).to(torch.int16)
    scale = hand_over((LEVELS / kept.double()).to(like.dtype), like.device)
    masks = _mask(numbers.view(torch.int16)[:, :n_units], below, scale, like)
    for row in set(range(len(keeps))) - set(dropping):
        masks[row].fill_(1.0)
    return masks


def _draw(numbers: Tensor, generator: torch.Generator) -> None:
    numbers.random_(torch.iinfo(torch.int64).min, None, generator=generator)  # all 64 bits


def _kept_levels(keep: float) -> int:
    return min(max(round(keep * LEVELS), 1), LEVELS - 1)


def _mask(units: Tensor, below: Any, scale: Any, like: Tensor) -> Tensor:
    """Return `scale` where numbers of 16 bits are below a limit, and zeros."""
    if like.device.type == "cpu":
        mask = torch.empty(units.shape, dtype=like.dtype)
        torch.lt(units, below, out=mask)
    else:  # a byte for each on their way
        mask = hand_over(units < below, like.device).to(like.dtype)
    return mask.mul_(scale)
