"""Rows as whole tensors, and the batches cut from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sklearn_mmfuse._training._sending import Sent, hand_over, one_ahead, room_on, send

__all__ = ["BatchSampler", "Rows", "batch_bounds", "draw_mask"]

LEVELS = 2**16  # of a number of 16 bits

Batch = tuple[dict[str, Any], Tensor]


@dataclass(frozen=True)
class Rows:
    """Training rows: inputs, targets, weights, and what earlier nets already predict.

    Inputs stay where they are, for instance in a file that is mapped into memory: rows are numbers
    of rows in them until they are read. On a device that has no room for them they are `on_host`,
    and everything else is on the device.

    **Shape**: `blocks` `(N, *sample)` per modality, of which `picked` `(n,)` are meant, or all;
    `y` and `weight` `(n,)`; `offset` `(E, n, C)` or None; `present` `(n, M)`, zeros where a row
    lacks a modality, or None where no row does.
    """

    blocks: Mapping[str, Tensor]
    y: Tensor
    weight: Tensor
    offset: Tensor | None = None
    present: Tensor | None = None
    picked: Tensor | None = None
    on_host: bool = False

    def __len__(self) -> int:
        return len(self.y)

    @property
    def X(self) -> Mapping[str, Tensor]:  # noqa: N802 - scikit-learn's name for the data
        """The inputs, where they are; a copy of those that were picked."""
        if self.picked is None:
            return self.blocks
        return {name: block.index_select(0, self.picked) for name, block in self.blocks.items()}

    def gathered(self) -> Rows:
        """Return these rows with inputs of their own."""
        return replace(self, blocks=self.X, picked=None)

    def sent(self) -> Sent:
        """Return the inputs on their way to where the rest is."""
        return send(self.blocks, self.picked, self.y.device) if self.on_host else Sent(self.X)

    def to(self, device: torch.device) -> Rows:
        """Return these rows on a device, or all but inputs that it has no room for."""
        if self.n_bytes > room_on(device):
            return replace(
                self._map(lambda tensor, dim: tensor.to(device), inputs=False), on_host=True
            )
        if device == self.y.device:
            return self
        return self.gathered()._map(lambda tensor, dim: tensor.to(device))

    @property
    def n_bytes(self) -> int:
        """How much memory the inputs take."""
        return len(self) * sum(block[0].nbytes for block in self.blocks.values())

    def double(self) -> Rows:
        """Return these rows in float64."""
        return self.gathered()._map(lambda tensor, dim: tensor.double())

    def take(self, rows: Tensor) -> Rows:
        """Return the given rows, in the given order; inputs are read when they are needed."""
        there = hand_over(rows, next(iter(self.blocks.values())).device)
        picked = there if self.picked is None else self.picked.index_select(0, there)
        here = hand_over(rows, self.y.device)
        taken = self._map(lambda tensor, dim: tensor.index_select(dim, here), inputs=False)
        return replace(taken, picked=picked)

    def slice(self, start: int, stop: int) -> Rows:
        """Return a contiguous piece, without a copy."""
        return self._map(lambda tensor, dim: tensor.narrow(dim, start, stop - start))

    def _map(self, function: Any, *, inputs: bool = True) -> Rows:
        """Return rows of which each tensor is another; of inputs, what tells which are meant."""

        def maybe(tensor: Tensor | None, dim: int = 0) -> Any:
            return None if tensor is None else function(tensor, dim)

        mapped = replace(
            self,
            y=function(self.y, 0),
            weight=function(self.weight, 0),
            offset=maybe(self.offset, 1),
            present=maybe(self.present),
        )
        if not inputs:
            return mapped
        if self.picked is not None:
            return replace(mapped, picked=function(self.picked, 0))
        return replace(mapped, blocks={n: function(block, 0) for n, block in self.blocks.items()})


class BatchSampler:
    """Cuts rows into batches, anew each epoch; an epoch shuffles whole tensors once.

    Parameters
    ----------
    rows : Rows
        What to cut.
    batch_size : int
        A last batch of a single row joins the one before: it has no variance.
    generator : torch.Generator or None
        Shuffles and draws dropout masks; None keeps the order and draws nothing.
    dropout : float
        The probability that a hidden unit is dropped.
    n_mask_units : int
        Hidden units per row that a mask must cover.
    modality_dropout : float, default=0.0
        The probability that a row loses a modality; it keeps all if it would lose the last.
    penalty_batch_size : int, default=0
        Rows that come with every batch for penalties to be computed on, when more than the batch
        has: a covariance needs more rows than a gradient.
    """

    def __init__(
        self,
        rows: Rows,
        *,
        batch_size: int,
        generator: torch.Generator | None = None,
        dropout: float = 0.0,
        n_mask_units: int = 0,
        modality_dropout: float = 0.0,
        penalty_batch_size: int = 0,
    ) -> None:
        self.rows = rows
        larger = penalty_batch_size > batch_size and len(rows) > batch_size
        self.penalty_batch_size = min(penalty_batch_size, len(rows)) if larger else 0
        self.generator = generator
        self.keep = 1.0 - dropout
        self.n_mask_units = n_mask_units
        self.modality_dropout = modality_dropout
        self.bounds = batch_bounds(len(rows), batch_size)
        if len(self.bounds) == 1:
            self.rows = rows.gathered()  # once, and not in every step

    def __len__(self) -> int:
        return len(self.bounds)

    def __iter__(self) -> Iterator[Batch]:
        batches = self._batches()
        return map(_received, one_ahead(batches) if self.rows.on_host else batches)

    def _batches(self) -> Iterator[Batch]:
        """Yield batches whose inputs are on their way."""
        rows = self.rows
        if self.generator is not None and len(self.bounds) > 1:
            order = torch.randperm(len(rows), generator=self.generator)
            rows = rows.take(order)
        for start, stop in self.bounds:
            piece = rows.slice(start, stop) if len(self.bounds) > 1 else rows
            batch = self._inputs(piece)
            batch |= {"offset": piece.offset, "penalty": self._penalty_batch()}
            yield batch, piece.y

    def _inputs(self, rows: Rows) -> dict[str, Any]:
        """Return what the net reads of some rows."""
        mask, present = self._mask(len(rows)), self._present(rows)
        return {
            "X": rows.sent(),
            "weight": rows.weight,
            "mask": mask,
            "present": present,
            "recorded": rows.present,  # without what was lost for this step
        }

    def _penalty_batch(self) -> dict[str, Any] | None:
        size = self.penalty_batch_size
        if size == 0:
            return None
        rows = self.rows
        if size < len(rows):
            picked = torch.randperm(len(rows), generator=self.generator)[:size]
            rows = rows.take(picked)
        return self._inputs(rows)

    def _present(self, rows: Rows) -> Tensor | None:
        """Return which modalities the rows have, and have not lost."""
        if self.generator is None or self.modality_dropout == 0.0:
            return rows.present
        shape = (len(rows), len(rows.blocks))
        kept = torch.empty(shape, dtype=rows.weight.dtype)
        kept.bernoulli_(1.0 - self.modality_dropout, generator=self.generator)
        kept = hand_over(kept, rows.weight.device)
        if rows.present is None:
            return torch.where(kept.any(dim=1, keepdim=True), kept, torch.ones_like(kept))
        left = kept * rows.present
        return torch.where(left.any(dim=1, keepdim=True), left, rows.present)

    def _mask(self, n_rows: int) -> Tensor | None:
        if self.generator is None:
            return None
        n_units = n_rows * self.n_mask_units
        mask = draw_mask(n_units, self.keep, self.generator, like=self.rows.weight)
        return None if mask is None else mask.unsqueeze(0)


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
    kept = min(max(round(keep * LEVELS), 1), LEVELS - 1)
    numbers = torch.empty(-(-n_units // 4), dtype=torch.int64)
    numbers.random_(torch.iinfo(torch.int64).min, None, generator=generator)  # all 64 bits
    units = numbers.view(torch.int16)[:n_units]
    if like.device.type == "cpu":
        mask = torch.empty(n_units, dtype=like.dtype)
        torch.lt(units, kept - LEVELS // 2, out=mask)
    else:  # a byte for each on their way
        mask = hand_over(units < kept - LEVELS // 2, like.device).to(like.dtype)
    return mask.mul_(LEVELS / kept)
