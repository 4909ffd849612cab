"""The batches of many members in step: one stream that all of them read, or one for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from sklearn_mmfuse._training._batches import Batch, BatchSampler, Draws, MemberDraws
from sklearn_mmfuse._training._rows import MemberRows, Rows
from sklearn_mmfuse._training._sending import hand_over

__all__ = ["MemberBatches"]


class MemberBatches:
    """Cuts the rows of many members into batches of equal size.

    Members that are trained on the same rows in the same order get `(B, ...)` once for all of them;
    others `(E, B, ...)`. Masks are always `(E, units)`.

    Parameters
    ----------
    rows : sequence of Rows
        Those of every stream; of equally many rows.
    draws : sequence of Draws
        What is random about every stream; empty where nothing is.
    reads : sequence of int
        Which stream each member reads.
    batch_size, penalty_batch_size : int
        As for `BatchSampler`.
    """

    def __init__(
        self,
        rows: Sequence[Rows],
        draws: Sequence[Draws],
        reads: Sequence[int],
        *,
        batch_size: int,
        penalty_batch_size: int = 0,
    ) -> None:
        self.shared = len(rows) == 1
        self._members = list(range(len(reads)))
        self._sizes = {"batch_size": batch_size, "penalty_batch_size": penalty_batch_size}
        if self.shared:
            drawn = draws[0] if draws else None
            self._sampler = BatchSampler(rows[0], draws=drawn, **self._sizes)
        else:
            own = MemberRows.of([rows[number] for number in reads])
            self._cut(own, MemberDraws(draws, reads) if draws else None)

    def _cut(self, rows: MemberRows, draws: MemberDraws | None) -> None:
        self._sampler = BatchSampler(rows, draws=draws, **self._sizes)

    @property
    def n_batches(self) -> int:
        """How many batches there are in an epoch."""
        return len(self._sampler)

    @property
    def rows(self) -> Rows | MemberRows:
        """All rows; `(E, n, ...)` of members that have their own."""
        return self._sampler.rows

    def take(self, kept: Tensor) -> None:
        """Go on with some members only."""
        self._members = [self._members[i] for i in kept.tolist()]
        rows, draws = self._sampler.rows, self._sampler.draws
        if isinstance(rows, MemberRows):
            assert not isinstance(draws, Draws)
            self._cut(rows.keep(kept), None if draws is None else draws.keep(kept))

    def __iter__(self) -> Iterator[Batch]:
        if not self.shared:
            yield from self._sampler
            return
        for inputs, target in self._sampler:
            yield self._of_members(inputs), target

    def _of_members(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return a batch that all members share, with what is of each as those left have it."""
        mask, offset = inputs["mask"], inputs.get("offset")
        penalty = inputs.get("penalty")
        return inputs | {
            "mask": None if mask is None else mask.expand(len(self._members), -1),
            "offset": None if offset is None else offset[self._numbers(offset.device)],
            "penalty": None if penalty is None else self._of_members(penalty),
        }

    def _numbers(self, device: torch.device) -> Tensor:
        return hand_over(torch.tensor(self._members), device)
