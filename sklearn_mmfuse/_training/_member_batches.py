"""The batches of many members in step: one stream that all of them read, or one for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sklearn_mmfuse._training._batches import Batch, BatchSampler, Rows
from sklearn_mmfuse._training._sending import hand_over

__all__ = ["MemberBatches", "stack_rows"]


class MemberBatches:
    """Cuts the rows of many members into batches of equal size.

    Members that are trained on the same rows in the same order get `(B, ...)` once for all of them;
    others `(E, B, ...)`. Masks are always `(E, units)`.

    Parameters
    ----------
    samplers : sequence of BatchSampler
        One for all members, or one for each; of equally many rows.
    n_members : int
        E.
    """

    def __init__(self, samplers: Sequence[BatchSampler], n_members: int) -> None:
        self._samplers = list(samplers)
        self._members = list(range(n_members))

    @property
    def shared(self) -> bool:
        """Whether one stream serves all members."""
        return len(self._samplers) == 1

    @property
    def n_batches(self) -> int:
        """How many batches there are in an epoch."""
        return len(self._samplers[0])

    @property
    def rows(self) -> Rows:
        """All rows; `(E, n, ...)` of members that have their own."""
        own = self._own()
        return own[0].rows if self.shared else stack_rows([sampler.rows for sampler in own])

    def take(self, kept: Tensor) -> None:
        """Go on with some members only."""
        self._members = [self._members[i] for i in kept.tolist()]

    def _own(self) -> list[BatchSampler]:
        return self._samplers if self.shared else [self._samplers[e] for e in self._members]

    def __iter__(self) -> Iterator[Batch]:
        if not self.shared:
            for batches in zip(*self._own(), strict=True):
                targets = torch.stack([target for _, target in batches])
                yield _side_by_side([inputs for inputs, _ in batches]), targets
            return
        for inputs, target in self._samplers[0]:
            yield self._of_members(inputs), target

    def _numbers(self, device: torch.device) -> Tensor:
        return hand_over(torch.tensor(self._members), device)

    def _of_members(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return a batch that all members share, with what is of each as those left have it."""
        mask, offset = inputs["mask"], inputs.get("offset")
        penalty = inputs.get("penalty")
        return inputs | {
            "mask": None if mask is None else mask.expand(len(self._members), -1),
            "offset": None if offset is None else offset[self._numbers(offset.device)],
            "penalty": None if penalty is None else self._of_members(penalty),
        }


def stack_rows(rows: Sequence[Rows]) -> Rows:
    """Return the rows of members, equally many of each, as one: `(E, n, ...)`."""
    offsets = [r.offset for r in rows if r.offset is not None]
    return Rows(
        _stack_blocks([r.X for r in rows]),
        torch.stack([r.y for r in rows]),
        torch.stack([r.weight for r in rows]),
        torch.cat(offsets) if offsets else None,
        _stack_or_ones(
            [r.present for r in rows], (len(rows[0]), len(rows[0].blocks)), rows[0].weight
        ),
    )


def _side_by_side(batches: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the batches of members, of equally many rows, as one `(E, B, ...)`."""
    first = batches[0]
    weight = torch.stack([batch["weight"] for batch in batches])
    shape = (weight.shape[1], len(first["X"]))
    masks = [batch["mask"] for batch in batches]
    n_units = max((mask.shape[1] for mask in masks if mask is not None), default=0)
    mask = _stack_or_ones([None if m is None else m[0] for m in masks], (n_units,), weight)
    offsets = [o for batch in batches if (o := batch.get("offset")) is not None]
    penalties = [p for batch in batches if (p := batch.get("penalty")) is not None]
    return {
        "X": _stack_blocks([batch["X"] for batch in batches]),
        "weight": weight,
        "mask": mask,
        "present": _stack_or_ones([batch["present"] for batch in batches], shape, weight),
        "recorded": _stack_or_ones([batch["recorded"] for batch in batches], shape, weight),
        "offset": torch.cat(offsets) if offsets else None,
        "penalty": _side_by_side(penalties) if penalties else None,
    }


def _stack_blocks(members: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    stacked = {}
    for name in members[0]:
        blocks = [own[name] for own in members]
        if len({block.shape for block in blocks}) > 1:  # sequences, padded to the longest
            n_steps = max(block.shape[1] for block in blocks)
            blocks = [F.pad(b, (0, 0, 0, n_steps - b.shape[1]), value=torch.nan) for b in blocks]
        stacked[name] = torch.stack(blocks)
    return stacked


def _stack_or_ones(
    values: Sequence[Tensor | None], shape: tuple[int, ...], like: Tensor
) -> Tensor | None:
    """Stack what some members may not need; None where none of them does."""
    if all(value is None for value in values):
        return None
    ones = like.new_ones(shape)
    return torch.stack([ones if value is None else value for value in values])
