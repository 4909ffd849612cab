"""Many small multilayer perceptrons over sets of modalities, computed as few large products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from sklearn_mmfuse.nets._layers import ACTIVATIONS, GroupLinear, MaskReader, uniform_fan_in_

__all__ = ["GroupMLPs"]


class GroupMLPs(nn.Module):
    """G multilayer perceptrons, each on the concatenation of its own modalities.

    `W [x_a, x_b] = W_a x_a + W_b x_b`, so every perceptron that reads a modality shares one wide
    first product with it; the later layers are one batched product over all perceptrons.

    **Shape**: `{name: (B, d) or (E, B, d)}` to `(E, G, B, n_outputs)`.

    Parameters
    ----------
    in_features : mapping of str to int
        The width of each modality.
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
    >>> from sklearn_mmfuse.nets._encoders import GroupMLPs
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
    ) -> None:
        super().__init__()
        widths = [*hidden, n_outputs]
        self.groups = tuple(groups)
        self._names = [name for name in in_features if any(name in group for group in groups)]
        self._fan_in = [sum(in_features[name] for name in group) for group in groups]
        self._activation = ACTIVATIONS[activation]
        # A ParameterList, not a ParameterDict: modality names may hold any character.
        self.first = nn.ParameterList(
            torch.zeros(n_members, in_features[name], self._n_readers(name), widths[0])
            for name in self._names
        )
        self.first_bias = nn.Parameter(torch.zeros(n_members, len(groups), 1, widths[0]))
        self.later = nn.ModuleList(
            GroupLinear(
                n_members=n_members, n_groups=len(groups), in_features=d_in, out_features=d_out
            )
            for d_in, d_out in pairwise(widths)
        )

    def _n_readers(self, name: str) -> int:
        return sum(name in group for group in self.groups)

    @property
    def n_mask_units(self) -> int:
        """Hidden units per member and row."""
        return len(self.groups) * sum(layer.weight.shape[2] for layer in self._later_layers())

    def _later_layers(self) -> list[GroupLinear]:
        return [layer for layer in self.later if isinstance(layer, GroupLinear)]

    def reset_parameters(self, generators: Sequence[torch.Generator]) -> None:
        """Draw the weights as one linear layer per group would have them; biases are zero."""
        readers = dict.fromkeys(self._names, 0)
        weights = dict(zip(self._names, self.first, strict=True))
        for group, fan_in in zip(self.groups, self._fan_in, strict=True):
            for name in group:
                uniform_fan_in_(weights[name].data[:, :, readers[name]], fan_in, generators)
                readers[name] += 1
        nn.init.zeros_(self.first_bias)
        for layer in self._later_layers():
            layer.reset_parameters(generators)

    def forward(self, x: Mapping[str, Tensor], drop: MaskReader | None = None) -> Tensor:
        """Return the outputs of all perceptrons."""
        drop = drop or MaskReader(None)
        hidden = self._first_layer(x)
        n_members, n_groups = hidden.shape[:2]
        hidden = hidden.flatten(0, 1)
        for layer in self.later:
            hidden = layer(drop(self._activation(hidden)))
        return hidden.unflatten(0, (n_members, n_groups))

    def _first_layer(self, x: Mapping[str, Tensor]) -> Tensor:
        """Return the first products of all groups, `(E, G, B, H)`."""
        parts = {
            name: iter(
                torch.matmul(x[name], weight.flatten(2))  # (E, B, readers * H)
                .unflatten(2, weight.shape[2:])
                .unbind(2)
            )
            for name, weight in zip(self._names, self.first, strict=True)
        }
        summed = []
        for group in self.groups:
            first, *others = (next(parts[name]) for name in group)
            summed.append(sum(others, start=first))
        return torch.stack(summed, dim=1) + self.first_bias
