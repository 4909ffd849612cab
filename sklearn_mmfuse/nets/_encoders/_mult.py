"""MulT: the sequences of a subset of modalities attend to each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklearn_mmfuse.nets._encoders._attention import AttentionLayers, sine_positions
from sklearn_mmfuse.nets._encoders._base import CopiedWeights, EncoderSpec, split_padding

__all__ = ["MulTEncoder"]

KERNEL_SIZE = 3
MAX_HELD = 2**22  # numbers that one layer holds at once, in prediction


class MulTEncoder(nn.Module):
    """The Multimodal Transformer of Tsai et al. (2019), for many subsets at once.

    In each subset, a convolution brings every modality to a common width; each modality attends to
    each other one, whatever their lengths; what came of it is added to its own steps, these attend
    to each other, and the last one that is no padding is read. A modality alone attends to itself
    only.

    NOTE[DIFF] The streams that a modality receives from the others are mapped to `width` together
    before self-attention; in MulT they stay side by side, which makes a vector as wide as there are
    others. Attention is not causal: only the last step is read, after all others.

    **Shape**: `{name: (1 or E, B, T, d)}` to `{name: (E, R, B, width)}`, R subsets that read it;
    steps that are NaN are padding.

    Parameters
    ----------
    specs : mapping of str to EncoderSpec
        What attends to each other; of equal width and options `n_layers`, `n_heads` and
        `kernel_size`, the steps that the convolution sees.
    groups : sequence of tuple of str
        The subsets; names that are not in `specs` are not looked at.
    n_members : int
        E.
    activation : str
        Of the perceptrons between attention.

    References
    ----------
    Tsai, Bai, Liang, Kolter, Morency and Salakhutdinov. Multimodal Transformer for Unaligned
    Multimodal Language Sequences. ACL 2019.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._encoders import EncoderSpec, MulTEncoder
    >>> specs = {"a": EncoderSpec("mult", (None, 3), 8), "t": EncoderSpec("mult", (None, 2), 8)}
    >>> mult = MulTEncoder(specs, groups=[("a",), ("a", "t")], n_members=1, activation="relu")
    >>> out = mult({"a": torch.zeros(1, 5, 20, 3), "t": torch.zeros(1, 5, 9, 2)})
    >>> out["a"].shape, out["t"].shape
    (torch.Size([1, 2, 5, 8]), torch.Size([1, 1, 5, 8]))
    """

    at_once = True

    def __init__(
        self,
        specs: Mapping[str, EncoderSpec],
        *,
        groups: Sequence[tuple[str, ...]],
        n_members: int,
        activation: str,
    ) -> None:
        super().__init__()
        self.specs, self.activation = dict(specs), activation
        first = next(iter(specs.values()))
        options, self.width = dict(first.options), first.width
        self.kernel_size = int(options.get("kernel_size", KERNEL_SIZE))
        self.n_layers = int(options.get("n_layers", 2))
        self.groups = [tuple(name for name in group if name in specs) for group in groups]
        self.readers = {
            name: [i for i, group in enumerate(self.groups) if name in group] for name in specs
        }
        self.pairs = {
            pair: [i for i, group in enumerate(self.groups) if set(pair) <= set(group)]
            for pair in permutations(specs, 2)
        }
        self.pairs = {pair: both for pair, both in self.pairs.items() if both}

        def layers(n_copies: int) -> AttentionLayers:
            return AttentionLayers(
                n_members=n_members,
                n_copies=n_copies,
                width=self.width,
                n_layers=self.n_layers,
                n_heads=int(options.get("n_heads", math.gcd(4, self.width))),
                activation=activation,
            )

        def linear(n_copies: int, reads: int) -> CopiedWeights:
            return CopiedWeights(
                n_members=n_members,
                n_copies=n_copies,
                weights={"map": (reads, self.width)},
                biases={"map": (1, self.width)},
            )

        for position, (pair, both) in enumerate(self.pairs.items()):
            for role, name in zip(("target", "source"), pair, strict=True):
                copies = torch.tensor([self.readers[name].index(group) for group in both])
                self.register_buffer(f"{role}_{position}", copies, persistent=False)
        self.inputs = nn.ModuleList(
            linear(len(readers), self.kernel_size * int(specs[name].shape[-1] or 0))
            for name, readers in self.readers.items()
        )
        self.across = nn.ModuleList(layers(len(both)) for both in self.pairs.values())
        self.joins = nn.ModuleList(linear(len(both), self.width) for both in self.pairs.values())
        self.alone = nn.ModuleList(layers(len(readers)) for readers in self.readers.values())

    @property
    def n_members(self) -> int:
        """E."""
        return len(next(self.parameters()))

    @property
    def n_mask_units(self) -> int:
        """Outputs per member and row."""
        return self.width * sum(len(readers) for readers in self.readers.values())

    def reset_slot(self, group: int, name: str, generators: Sequence[torch.Generator]) -> None:
        """Draw fresh parameters for what a modality is to one of the groups."""
        for bank, copy in self._copies(group, name):
            bank.reset_copy(copy, generators)

    def _copies(self, group: int, name: str) -> Iterator[tuple[CopiedWeights, int]]:
        """Yield all banks that a modality of a group has a copy in, and which."""
        position, copy = list(self.readers).index(name), self.readers[name].index(group)
        banks: list[tuple[nn.Module, int]] = [(self.inputs[position], copy)]
        for place, ((target, _), both) in enumerate(self.pairs.items()):
            if target == name and group in both:
                banks.append((self.across[place], both.index(group)))
                banks.append((self.joins[place], both.index(group)))
        for bank, number in [*banks, (self.alone[position], copy)]:
            assert isinstance(bank, CopiedWeights)
            yield bank, number

    def part(self, group: int) -> MulTEncoder:
        """Return the encoder of one group alone, with the same parameters."""
        names = self.groups[group]
        part = MulTEncoder(
            {name: spec for name, spec in self.specs.items() if name in names},
            groups=[names],
            n_members=self.n_members,
            activation=self.activation,
        ).to(next(self.parameters()))
        for name in names:
            own, whole = part._copies(0, name), self._copies(group, name)
            for (bank, _), (other, copy) in zip(own, whole, strict=True):
                bank.load_copy(other, copy)
        return part

    def cost(self, x: Mapping[str, Tensor]) -> int:
        """Return about how many small perceptrons one row costs, of 20,000 operations each."""
        width, steps = self.width, {name: block.shape[2] for name, block in x.items()}
        streams = [(name, name, len(readers)) for name, readers in self.readers.items()]
        streams += [(target, source, len(both)) for (target, source), both in self.pairs.items()]
        operations = sum(
            copies * steps[target] * self.n_layers * (16 * width**2 + 4 * width * steps[source])
            for target, source, copies in streams
        )
        return 1 + operations // 20_000

    def forward(self, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a vector per subset and modality that it reads.

        In prediction, rows are read in pieces: attention holds much more than its inputs.
        """
        n_rows = next(iter(x.values())).shape[1]
        copies = max(len(readers) for readers in self.readers.values())
        held = self.n_members * copies * self.width * sum(block.shape[2] for block in x.values())
        at_once = n_rows if torch.is_grad_enabled() else max(1, MAX_HELD // held)
        pieces = [
            self._encode({name: block[:, start : start + at_once] for name, block in x.items()})
            for start in range(0, n_rows, at_once)
        ]
        if len(pieces) == 1:
            return pieces[0]
        return {name: torch.cat([piece[name] for piece in pieces], dim=2) for name in pieces[0]}

    def _encode(self, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        steps, valid = {}, {}
        for (name, readers), convolution in zip(self.readers.items(), self.inputs, strict=True):
            zeroed, here = split_padding(x[name])
            shape = (self.n_members, len(readers), *here.shape[1:])
            valid[name] = here.unsqueeze(1).expand(shape)
            steps[name] = self._convolve(zeroed, convolution, shape)
        received = self._attend_across(steps, valid)
        out = {}
        for name, layers in zip(self.readers, self.alone, strict=True):
            here = valid[name].flatten(0, 1)
            attended = layers((steps[name] + received[name]).flatten(0, 1), attended=here)
            last = (here.sum(dim=2) - 1).clamp_min(0)[..., None, None]
            read = attended.gather(2, last.expand(-1, -1, 1, self.width)).squeeze(2)
            read = read * here.any(dim=2, keepdim=True)
            out[name] = read.unflatten(0, (self.n_members, -1))
        return out

    def _convolve(self, x: Tensor, weights: nn.Module, shape: tuple[int, ...]) -> Tensor:
        """Return steps `(E, R, B, T, width)` that know their neighbors and where they are."""
        assert isinstance(weights, CopiedWeights)
        before = (self.kernel_size - 1) // 2
        padded = F.pad(x, (0, 0, before, self.kernel_size - 1 - before))
        windows = padded.unfold(2, self.kernel_size, 1).flatten(3).flatten(1, 2)
        windows = windows.unsqueeze(1).expand(shape[0], shape[1], -1, -1).flatten(0, 1)
        steps = torch.baddbmm(weights.bias("map"), windows, weights.weight("map")).view(*shape, -1)
        return steps + sine_positions(shape[-1], steps)

    def _attend_across(
        self, steps: Mapping[str, Tensor], valid: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return what the steps of each modality receive from the others in each group."""
        received = {name: torch.zeros_like(own) for name, own in steps.items()}
        for position, (target, source) in enumerate(self.pairs):
            layers, join = self.across[position], self.joins[position]
            assert isinstance(join, CopiedWeights)
            mine, theirs = getattr(self, f"target_{position}"), getattr(self, f"source_{position}")
            told = valid[source].index_select(1, theirs)
            attended = layers(
                steps[target].index_select(1, mine).flatten(0, 1),
                source=steps[source].index_select(1, theirs).flatten(0, 1),
                attended=told.flatten(0, 1),
            )
            joined = torch.baddbmm(join.bias("map"), attended.flatten(1, 2), join.weight("map"))
            joined = joined.view(self.n_members, -1, *steps[target].shape[2:])
            joined = joined * told.any(dim=3)[..., None, None]  # of padding alone, nothing
            received[target] = received[target].index_add(1, mine, joined)
        return received
