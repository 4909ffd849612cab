"""Many small multilayer perceptrons over sets of modalities, computed as few large products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklearn_mmfuse._terms import Term
from sklearn_mmfuse.nets._encoders import Encoder, EncoderSpec, MulTEncoder, make_encoder
from sklearn_mmfuse.nets._group_kernels import Wiring, run_layers
from sklearn_mmfuse.nets._layers import (
    ACTIVATIONS,
    GroupLinear,
    MaskReader,
    of_members,
    uniform_fan_in_,
)
from sklearn_mmfuse.nets._separable import JointTerm, SumTerm

__all__ = ["GroupMLPs"]


@dataclass(frozen=True)
class _Slots:
    """A bank of encoders: what they are, and `(group, modality)` of each copy."""

    spec: EncoderSpec
    readers: list[tuple[int, str]]


class GroupMLPs(nn.Module):
    """G multilayer perceptrons, each on the concatenation of its own modalities.

    `W [x_a, x_b] = W_a x_a + W_b x_b`, so every perceptron that reads a modality shares one wide
    first product with it; the later layers are one batched product over all perceptrons.

    **Shape**: `{name: (B, *sample) or (E, B, *sample)}` to `(E, G, B, n_outputs)`.

    Parameters
    ----------
    in_features : mapping of str to int
        The width of each modality, of what its encoder returns where it has one.
    encoders : mapping of str to EncoderSpec, optional
        What reads the modalities that are no feature vectors: every group has a copy of its own.
    groups : sequence of tuple of str
        The modalities that each perceptron reads; a group may occur several times.
    hidden : sequence of int
        Widths of the hidden layers; none makes the maps linear.
    n_outputs, n_members : int
        Outputs of each perceptron, and E.
    activation : str
        Applied after each hidden layer.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._group_mlps import GroupMLPs
    >>> mlps = GroupMLPs(in_features={"a": 3, "v": 5}, groups=[("a",), ("v",), ("a", "v")],
    ...                  hidden=[8], n_outputs=2, n_members=4, activation="relu")
    >>> mlps({"a": torch.zeros(10, 3), "v": torch.zeros(10, 5)}).shape
    torch.Size([4, 3, 10, 2])
    """

    def __init__(
        self,
        *,
        in_features: Mapping[str, int],
        groups: Sequence[tuple[str, ...]],
        hidden: Sequence[int],
        n_outputs: int,
        n_members: int,
        activation: str,
        encoders: Mapping[str, EncoderSpec] | None = None,
    ) -> None:
        super().__init__()
        widths = [*hidden, n_outputs]
        self.groups = tuple(groups)
        self._names = [name for name in in_features if any(name in group for group in groups)]
        self._fan_in = [sum(in_features[name] for name in group) for group in groups]
        self._activation = ACTIVATIONS[activation]
        self._wiring = Wiring.of(
            [[self._names.index(name) for name in group] for group in groups],
            n_modalities=len(self._names),
            activation=self._activation,
        )
        self._readers = [self._add_readers(position) for position in range(len(self._names))]
        # A ParameterList, not a ParameterDict: modality names may hold any character.
        self.first = nn.ParameterList(
            torch.zeros(n_members, in_features[name], len(getattr(self, readers)) * widths[0])
            for name, readers in zip(self._names, self._readers, strict=True)
        )
        self.first_bias = nn.Parameter(torch.zeros(n_members, 1, len(groups), widths[0]))
        self._gains = {name: spec.gain for name, spec in (encoders or {}).items()}
        self._slots = self._find_slots(encoders or {})
        self.banks = nn.ModuleList(
            make_encoder(
                slots.spec, n_members=n_members, n_copies=len(slots.readers), activation=activation
            )
            for slots in self._slots
        )
        joint = {n: s for n, s in (encoders or {}).items() if n in self._names and s.is_joint}
        self._joint = tuple(joint)
        self.together = (
            MulTEncoder(joint, groups=groups, n_members=n_members, activation=activation)
            if joint
            else None
        )
        self.later = nn.ModuleList(
            GroupLinear(
                n_members=n_members, n_groups=len(groups), in_features=d_in, out_features=d_out
            )
            for d_in, d_out in pairwise(widths)
        )

    def _add_readers(self, position: int) -> str:
        """Keep which groups read a modality as a buffer, so that it follows the net's device."""
        name = self._names[position]
        readers = [i for i, group in enumerate(self.groups) if name in group]
        self.register_buffer(f"readers_{position}", torch.tensor(readers), persistent=False)
        return f"readers_{position}"

    def _find_slots(self, encoders: Mapping[str, EncoderSpec]) -> list[_Slots]:
        """Return, for each bank, which group reads which modality through a copy.

        Modalities whose encoders are alike share a bank, but for a user's modules: those might
        see that one sequence is padded to the length of another.
        """
        slots: dict[tuple[EncoderSpec, str], _Slots] = {}
        for position, group in enumerate(self.groups):
            for name in group:
                spec = encoders.get(name)
                if spec is not None and spec.is_bank and not spec.is_joint:
                    key = (spec, name if callable(spec.kind) else "")
                    slots.setdefault(key, _Slots(spec, [])).readers.append((position, name))
        return list(slots.values())

    @property
    def n_mask_units(self) -> int:
        """Hidden units per member and row."""
        hidden = len(self.groups) * sum(layer.weight.shape[2] for layer in self._later_layers())
        encoded = sum(len(slots.readers) * slots.spec.width for slots in self._slots)
        return hidden + encoded + (self.together.n_mask_units if self.together else 0)

    def _banks(self) -> list[Encoder]:
        return [bank for bank in self.banks if isinstance(bank, Encoder)]

    def _later_layers(self) -> list[GroupLinear]:
        return [layer for layer in self.later if isinstance(layer, GroupLinear)]

    def reset_parameters(self, generators: Sequence[torch.Generator]) -> None:
        """Draw perceptron after perceptron, so that more groups leave the first ones as they are.

        Bounds are those of one linear layer per group; biases are zero.
        """
        n_hidden = self.first_bias.shape[3]
        blocks = {
            name: iter(weight.data.unflatten(2, (-1, n_hidden)).unbind(2))
            for name, weight in zip(self._names, self.first, strict=True)
        }
        encoders = {
            slot: (bank, copy)
            for bank, slots in zip(self._banks(), self._slots, strict=True)
            for copy, slot in enumerate(slots.readers)
        }
        for position, (group, fan_in) in enumerate(zip(self.groups, self._fan_in, strict=True)):
            for name in group:
                if (position, name) in encoders:
                    bank, copy = encoders[position, name]
                    bank.reset_copy(copy, generators)
                if self.together is not None and name in self._joint:
                    self.together.reset_slot(position, name, generators)
                block = next(blocks[name])
                uniform_fan_in_(block, fan_in, generators)
                block.div_(self._gains.get(name, 1.0))
            for layer in self._later_layers():
                weight = layer.weight.data[:, position]
                uniform_fan_in_(weight, weight.shape[1], generators)
        for bias in (self.first_bias, *(layer.bias for layer in self._later_layers())):
            nn.init.zeros_(bias)

    def weights_from(self, position: int) -> list[Tensor]:
        """Return views of what is trained of weights from a group on, `(E, ...)` each."""
        n_hidden = self.first_bias.shape[3]
        before = [sum(name in group for group in self.groups[:position]) for name in self._names]
        first = [
            weight.detach()[:, :, n_readers * n_hidden :]
            for weight, n_readers in zip(self.first, before, strict=True)
            if weight.requires_grad
        ]
        later = [layer.weight for layer in self._later_layers() if layer.weight.requires_grad]
        return [*first, *(weight.detach()[:, position:] for weight in later)]

    def silence_outputs(self) -> None:
        """Make every perceptron return zero, by its last layer alone."""
        last = [self.later[-1].weight] if self.later else list(self.first)
        for weight in last:
            assert isinstance(weight, Tensor)
            nn.init.zeros_(weight)

    def forward(self, x: Mapping[str, Tensor], drop: MaskReader | None = None) -> Tensor:
        """Return the outputs of all perceptrons."""
        if self._is_trained(drop):
            return self._run(x, drop, read=True)
        return self.read(self.embed(x, drop))

    def _is_trained(self, drop: MaskReader | None) -> bool:
        """Whether autograd is to record a pass over feature vectors, on a CPU.

        Its record of the plain code is slower there; elsewhere few large products are best.
        """
        return (
            torch.is_grad_enabled()
            and not self._slots
            and self.together is None
            and self.first_bias.device.type == "cpu"
            and not _differentiates(drop)
            and not torch.compiler.is_compiling()
        )

    def _run(self, x: Mapping[str, Tensor], drop: MaskReader | None, *, read: bool) -> Tensor:
        """Return what `embed` returns, or what all layers do, by a function of autograd's."""
        later = [(layer.weight, layer.bias) for layer in self._later_layers()]
        rows = [of_members(x[name], len(self.first_bias)) for name in self._names]
        masks = [
            _next_mask(drop, (*weight.shape[:2], rows[0].shape[1], weight.shape[2]), weight)
            for weight, _ in later
        ]
        used = later if read else later[:-1]
        return run_layers(self._wiring, rows, list(self.first), self.first_bias, used, masks)

    def embed(self, x: Mapping[str, Tensor], drop: MaskReader | None = None) -> Tensor:
        """Return what the last layer reads, `(E, G, B, H)`; without hidden layers the outputs."""
        if self._is_trained(drop):
            return self._run(x, drop, read=False)
        drop = drop or MaskReader(None)
        return self.combine(self.bring(x, drop), drop)

    def read(self, embedded: Tensor) -> Tensor:
        """Return the outputs for what `embed` returned."""
        if not self.later:
            return embedded
        out: Tensor = self.later[-1](embedded.flatten(0, 1))
        return out.unflatten(0, embedded.shape[:2])

    def bring(self, x: Mapping[str, Tensor], drop: MaskReader | None = None) -> dict[str, Tensor]:
        """Return what each modality adds to the first layers that read it, `(E, B, R, H)`.

        Of what is encoded together with others, the sequences `(1 or E, B, T, d)` as they are.
        """
        n_members = len(self.first_bias)
        encoded = self._encode(x, drop or MaskReader(None)) if self._slots else {}
        brought = {}
        for position, name in enumerate(self._names):
            if name in self._joint:
                brought[name] = x[name] if x[name].dim() == 4 else x[name].unsqueeze(0)
            elif name in encoded:  # by a copy for each reader
                brought[name] = self._add_up(position, torch.stack(encoded[name], dim=1))
            else:
                rows = of_members(x[name], n_members)
                product = torch.bmm(rows, self.first[position])
                brought[name] = product.unflatten(2, (-1, self.first_bias.shape[3]))
        return brought

    def _add_up(self, position: int, encoded: Tensor) -> Tensor:
        """Return the first products `(E, B, R, H)` of what R copies encoded, `(E, R, B, width)`."""
        weight = self.first[position].unflatten(2, (-1, self.first_bias.shape[3])).transpose(1, 2)
        return torch.matmul(encoded, weight).transpose(1, 2)

    def _products(
        self, brought: Mapping[str, Tensor], drop: MaskReader | None = None
    ) -> dict[str, Tensor]:
        """Return all first products, now that everything to be encoded together is there."""
        if self.together is None:
            return dict(brought)
        drop = drop or MaskReader(None)
        encoded = self.together({name: brought[name] for name in self._joint})
        products = {
            n: self._add_up(self._names.index(n), drop.to_mean(x)) for n, x in encoded.items()
        }
        return {**brought, **products}

    def combine(self, brought: Mapping[str, Tensor], drop: MaskReader | None = None) -> Tensor:
        """Return what `embed` returns, for what `bring` returned."""
        drop = drop or MaskReader(None)
        products = self._products(brought, drop)
        n_members, _, n_groups, n_hidden = self.first_bias.shape
        n_rows = brought[self._names[0]].shape[1]
        total = self.first_bias.expand(n_members, n_rows, n_groups, n_hidden).clone()
        for name, readers in zip(self._names, self._readers, strict=True):
            total.index_add_(2, getattr(self, readers), products[name])
        # Made contiguous: every later elementwise step is several times faster for it.
        hidden = total.transpose(1, 2).contiguous()
        shape = hidden.shape[:2]
        hidden = hidden.flatten(0, 1)
        for position, layer in enumerate(self.later):
            hidden = drop(self._activation(hidden))
            if position < len(self.later) - 1:
                hidden = layer(hidden)
        return hidden.unflatten(0, shape)

    def _encode(self, x: Mapping[str, Tensor], drop: MaskReader) -> dict[str, list[Tensor]]:
        """Return the encoded modalities, one `(E, B, width)` for each group that reads them."""
        n_members = len(self.first_bias)
        encoded: dict[str, list[Tensor]] = {}
        for bank, slots in zip(self._banks(), self._slots, strict=True):
            sample_dim, readers = len(slots.spec.shape), slots.readers
            rows = [
                x[name] if x[name].dim() > sample_dim + 1 else x[name].unsqueeze(0)
                for _, name in readers
            ]
            stacked = torch.stack(_equally_long(rows, slots.spec), dim=1)
            stacked = stacked.expand(n_members, *stacked.shape[1:]).flatten(0, 1)
            features = drop.to_mean(bank(stacked)).unflatten(0, (n_members, len(readers)))
            for (_, name), feature in zip(readers, features.unbind(1), strict=True):
                encoded.setdefault(name, []).append(feature)
        return encoded

    def separate(self, x: Mapping[str, Tensor], terms: Sequence[Term]) -> list[SumTerm | JointTerm]:
        """Return perceptron g as the function `terms[g]` of its modalities' first products.

        Where several modalities are encoded together, there is no such product of one of them.
        """
        brought = self.bring(x)
        products = self._products(brought)
        return [
            self._joint_term(g, term, brought)
            if sum(name in self._joint for name in group) > 1
            else self._sum_term(g, term, {n: products[n][:, :, self._slot(n, g)] for n in group})
            for g, (group, term) in enumerate(zip(self.groups, terms, strict=True))
        ]

    def _slot(self, name: str, group: int) -> int:
        """Return which of the readers of a modality a group is."""
        readers = getattr(self, self._readers[self._names.index(name)]).tolist()
        return int(readers.index(group))

    def _sum_term(self, g: int, term: Term, features: Mapping[str, Tensor]) -> SumTerm:
        later = [(layer.weight[:, g], layer.bias[:, g]) for layer in self._later_layers()]
        return SumTerm(term, features, self.first_bias[:, :, g], later, self._activation)

    def _joint_term(self, g: int, term: Term, brought: Mapping[str, Tensor]) -> JointTerm:
        assert self.together is not None
        part, perceptron, group = self.together.part(g), self._sum_term(g, term, {}), self.groups[g]
        n_hidden = self.first_bias.shape[3]
        weights = {
            name: self.first[self._names.index(name)].unflatten(2, (-1, n_hidden))[
                :, :, self._slot(name, g)
            ]
            for name in part.specs
        }
        features = {
            name: brought[name] if name in weights else brought[name][:, :, self._slot(name, g)]
            for name in group
        }

        def function(own: Mapping[str, Tensor]) -> Tensor:
            encoded = part({name: own[name] for name in weights})
            products = {n: torch.bmm(x[:, 0], weights[n]) for n, x in encoded.items()}
            return perceptron.read([products.get(name, own[name]) for name in group])

        cost = part.cost({name: brought[name] for name in weights})
        return JointTerm([term], group, features, function, cost)

    def joint_cost(self, brought: Mapping[str, Tensor]) -> int:
        """Return what all perceptrons together cost, in evaluations of a small one."""
        together = {name: brought[name] for name in self._joint}
        return len(self.groups) + (self.together.cost(together) if self.together else 0)


def _differentiates(drop: MaskReader | None) -> bool:
    """Return whether there is a mask that a gradient is asked of."""
    return drop is not None and drop(torch.empty(0)).requires_grad


def _next_mask(drop: MaskReader | None, shape: Sequence[int], like: Tensor) -> Tensor | None:
    """Return by what a reader multiplies the next units, or None."""
    if drop is None:
        return None
    ones = like.new_ones(()).expand(shape)
    mask = drop(ones)
    return None if mask is ones else mask


def _equally_long(rows: Sequence[Tensor], spec: EncoderSpec) -> list[Tensor]:
    """Pad sequences of several modalities, `(E, B, T, d)`, to the longest."""
    if len(spec.shape) != 2:
        return list(rows)
    n_steps = max(row.shape[2] for row in rows)
    return [F.pad(row, (0, 0, 0, n_steps - row.shape[2]), value=torch.nan) for row in rows]
