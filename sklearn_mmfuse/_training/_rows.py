"""Rows as whole tensors: those of one net, and those of many members side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sklearn_mmfuse._training._sending import Sent, hand_over, room_on, send
from sklearn_mmfuse.nets import Inputs, RowView

__all__ = ["MemberRows", "Rows", "move_rows"]


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
    def n_modalities(self) -> int:
        """How many modalities the inputs have."""
        return len(self.blocks)

    @property
    def X(self) -> Mapping[str, Tensor]:  # noqa: N802 - scikit-learn's name for the data
        """The inputs, where they are; a copy of those that were picked."""
        if self.picked is None:
            return self.blocks
        return {name: block.index_select(0, self.picked) for name, block in self.blocks.items()}

    @property
    def inputs_in_place(self) -> Inputs:
        """The inputs, of which pieces are copied when their turn comes."""
        return {name: RowView(block, self.picked) for name, block in self.blocks.items()}

    @property
    def numbers(self) -> Tensor:
        """Which rows of the inputs are meant, `(n,)`."""
        if self.picked is not None:
            return self.picked
        return torch.arange(len(self), device=next(iter(self.blocks.values())).device)

    def gathered(self) -> Rows:
        """Return these rows with inputs of their own."""
        return replace(self, blocks=self.X, picked=None)

    def sent(self) -> Sent:
        """Return the inputs on their way to where the rest is."""
        return send(self.blocks, self.picked, self.y.device) if self.on_host else Sent(self.X)

    def to(self, device: torch.device) -> Rows:
        """Return these rows on a device, or all but inputs that it has no room for."""
        return move_rows([self], device)[0]

    def to_without_inputs(self, device: torch.device) -> Rows:
        """Return these rows with all but the inputs on a device."""
        return replace(self._map(lambda tensor, dim: tensor.to(device), inputs=False), on_host=True)

    @property
    def n_bytes(self) -> int:
        """How much memory the inputs take."""
        return len(self) * sum(block[0].nbytes for block in self.blocks.values())

    def double(self) -> Rows:
        """Return these rows in float64, but for the inputs: nets read them in their own type."""
        return self._map(lambda tensor, dim: tensor.double(), inputs=False)

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


@dataclass(frozen=True)
class MemberRows:
    """The rows of many members side by side, equally many of each.

    Members pick from the same inputs, which are there once, or each from inputs of its own.

    **Shape**: `blocks` `(N, *sample)` of each member and modality; `picked`, `y` and `weight`
    `(E, n)`; `offset` `(E, n, C)` or None; `present` `(E, n, M)` or None; `inputs`
    `(E, n, *sample)` per modality, where they have been gathered.
    """

    blocks: Sequence[Mapping[str, Tensor]]
    picked: Tensor
    y: Tensor
    weight: Tensor
    offset: Tensor | None = None
    present: Tensor | None = None
    inputs: Mapping[str, Tensor] | None = None
    on_host: bool = False

    @classmethod
    def of(cls, rows: Sequence[Rows]) -> MemberRows:
        """Return the rows of all members."""
        first, present = rows[0], None
        if any(own.present is not None for own in rows):
            ones = first.weight.new_ones(len(first), len(first.blocks))
            present = torch.stack([ones if own.present is None else own.present for own in rows])
        offsets = [own.offset for own in rows if own.offset is not None]
        return cls(
            [own.blocks for own in rows],
            torch.stack([own.numbers for own in rows]),
            torch.stack([own.y for own in rows]),
            torch.stack([own.weight for own in rows]),
            torch.cat(offsets) if offsets else None,
            present,
            on_host=first.on_host,
        )

    def __len__(self) -> int:
        return self.y.shape[1]

    @property
    def n_modalities(self) -> int:
        """How many modalities the inputs have."""
        return len(self.blocks[0])

    @property
    def X(self) -> Mapping[str, Tensor]:  # noqa: N802 - scikit-learn's name for the data
        """The inputs, `(E, n, *sample)`, where they are."""
        if self.inputs is not None:
            return self.inputs
        pieces, start = [], 0
        for _, run in groupby(self.blocks, key=id):
            blocks, *others = run
            stop = start + 1 + len(others)
            pieces.append(_gather(blocks, self.picked[start:stop]))
            start = stop
        return pieces[0] if len(pieces) == 1 else _side_by_side(pieces)

    @property
    def inputs_in_place(self) -> Inputs:
        """The inputs: of members with rows of their own there is no place where they all are."""
        return self.X

    def gathered(self) -> MemberRows:
        """Return these rows with inputs that need not be gathered again."""
        return replace(self, inputs=self.X)

    def sent(self) -> Sent:
        """Return the inputs on their way to where the rest is."""
        return send(self.X, None, self.y.device) if self.on_host else Sent(self.X)

    def take(self, rows: Tensor) -> MemberRows:
        """Return the given rows of each, `(E, k)`; inputs are read when they are needed."""
        first = len(self) * torch.arange(len(rows)).unsqueeze(1)
        flat = (rows + first).flatten()
        there = {device: hand_over(flat, device) for device in {self.picked.device, self.y.device}}

        def taken(tensor: Tensor) -> Tensor:
            own = tensor.flatten(0, 1).index_select(0, there[tensor.device])
            return own.unflatten(0, rows.shape)

        return self._map(taken, inputs=False)

    def slice(self, start: int, stop: int) -> MemberRows:
        """Return a contiguous piece of each, without a copy."""
        return self._map(lambda tensor: tensor.narrow(1, start, stop - start))

    def keep(self, members: Tensor) -> MemberRows:
        """Return the rows of some members."""
        kept = self._map(lambda tensor: tensor[hand_over(members, tensor.device)])
        return replace(kept, blocks=[self.blocks[e] for e in members.tolist()])

    def _map(self, function: Any, *, inputs: bool = True) -> MemberRows:
        """Return rows of which each tensor is another; inputs that were gathered, or none."""

        def maybe(tensor: Tensor | None) -> Any:
            return None if tensor is None else function(tensor)

        gathered = self.inputs if inputs else None
        return replace(
            self,
            picked=function(self.picked),
            y=function(self.y),
            weight=function(self.weight),
            offset=maybe(self.offset),
            present=maybe(self.present),
            inputs=None if gathered is None else {n: function(x) for n, x in gathered.items()},
        )


def _gather(blocks: Mapping[str, Tensor], picked: Tensor) -> dict[str, Tensor]:
    """Return what some members `(E, n)` pick from the same inputs, `(E, n, *sample)`."""
    flat = picked.flatten()
    return {
        name: block.index_select(0, flat).unflatten(0, picked.shape)
        for name, block in blocks.items()
    }


def _side_by_side(pieces: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the inputs of all members; sequences are padded to the longest."""
    together = {}
    for name in pieces[0]:
        own = [piece[name] for piece in pieces]
        if len({x.shape[2:] for x in own}) > 1:
            n_steps = max(x.shape[2] for x in own)
            own = [F.pad(x, (0, 0, 0, n_steps - x.shape[2]), value=torch.nan) for x in own]
        together[name] = torch.cat(own)
    return together


def move_rows(rows: Sequence[Rows], device: torch.device) -> list[Rows]:
    """Return rows on a device, or all but their inputs if it has no room for those of all.

    Inputs that several pick from are moved once.
    """
    readers: dict[int, dict[int, Rows]] = {}
    for own in rows:
        readers.setdefault(id(own.blocks), {})[id(own)] = own
    groups = [list(group.values()) for group in readers.values()]
    if sum(map(_n_bytes, groups)) > room_on(device):
        there = {id(own): own.to_without_inputs(device) for group in groups for own in group}
    elif device == rows[0].y.device:
        return list(rows)
    else:
        there = {number: own for group in groups for number, own in _moved(group, device)}
    return [there[id(own)] for own in rows]


def _moved(readers: Sequence[Rows], device: torch.device) -> Iterator[tuple[int, Rows]]:
    """Yield the readers of the same inputs on a device, by the id of what they were."""
    blocks: dict[str, Tensor] = {}
    if _read_all(readers):
        blocks = {name: block.to(device) for name, block in readers[0].blocks.items()}
    for own in readers:
        there = own.to_without_inputs(device)
        if blocks:
            picked = None if own.picked is None else own.picked.to(device)
            yield id(own), replace(there, blocks=blocks, picked=picked, on_host=False)
        else:
            X = {name: x.to(device) for name, x in own.X.items()}
            yield id(own), replace(there, blocks=X, picked=None, on_host=False)


def _n_bytes(readers: Sequence[Rows]) -> int:
    """Return how much memory what is moved of the same inputs takes."""
    if _read_all(readers):
        return sum(block.nbytes for block in readers[0].blocks.values())
    return sum(own.n_bytes for own in readers)


def _read_all(readers: Sequence[Rows]) -> bool:
    """Whether the same inputs are moved as a whole: what each picks would not take less."""
    return sum(map(len, readers)) >= len(next(iter(readers[0].blocks.values())))
