"""Layers of attention over time steps, in many copies at once."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from sklearn_mmfuse.nets._encoders._base import CopiedWeights
from sklearn_mmfuse.nets._layers import ACTIVATIONS

__all__ = ["AttentionLayers", "sine_positions"]


class AttentionLayers(CopiedWeights):
    """A transformer for each of E x R copies, normalized before each half of a layer.

    Steps attend to those of the same sequence, or to those of a source that all layers read as it
    is (the cross-modal attention of MulT).

    **Shape**: `(E * R, B, T, width)` to the same.

    Parameters
    ----------
    n_members, n_copies : int
        E and R.
    width, n_layers, n_heads : int
        Sizes; heads divide the width.
    activation : str
        Of the perceptron in each layer, which is twice as wide.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._encoders._attention import AttentionLayers
    >>> layers = AttentionLayers(n_members=1, n_copies=2, width=8, n_layers=1, n_heads=2,
    ...                          activation="relu")
    >>> text, audio = torch.zeros(2, 5, 10, 8), torch.zeros(2, 5, 30, 8)
    >>> layers(text, source=audio, attended=torch.ones(2, 5, 30, dtype=torch.bool)).shape
    torch.Size([2, 5, 10, 8])
    """

    def __init__(
        self,
        *,
        n_members: int,
        n_copies: int,
        width: int,
        n_layers: int,
        n_heads: int,
        activation: str,
    ) -> None:
        self.n_layers, self.n_heads = n_layers, n_heads
        self._activation = ACTIVATIONS[activation]
        sizes = {"query": (width, width), "key_value": (width, 2 * width), "mixed": (width, width)}
        sizes |= {"wide": (width, 2 * width), "narrow": (2 * width, width)}
        weights: dict[str, tuple[int, ...]] = {}
        biases: dict[str, tuple[int, ...]] = {}
        for layer in range(n_layers):
            weights |= {f"{key}_{layer}": size for key, size in sizes.items()}
            biases |= {f"{key}_{layer}": (1, size[1]) for key, size in sizes.items()}
            for half in ("attention", "perceptron"):
                biases |= {f"gain_{half}_{layer}": (1, width), f"shift_{half}_{layer}": (1, width)}
        biases |= {"gain_out": (1, width), "shift_out": (1, width)}
        super().__init__(n_members=n_members, n_copies=n_copies, weights=weights, biases=biases)

    def forward(self, x: Tensor, *, attended: Tensor, source: Tensor | None = None) -> Tensor:
        """Return the steps of `x`, each knowing of those it attended to.

        `attended` `(E * R, B, T)` says which steps of the source, or of `x` itself, are no padding.
        """
        shape = x.shape
        # Where there is nothing but padding, all of it is attended to: the result stays finite.
        attended = attended | ~attended.any(dim=2, keepdim=True)
        mask = attended.flatten(0, 1)[:, None, None]
        hidden = x.flatten(1, 2)
        told = None if source is None else source.flatten(1, 2)
        for layer in range(self.n_layers):
            query = self._norm(f"attention_{layer}", hidden)
            key_value = query if told is None else self._norm(f"attention_{layer}", told)
            mixed = self._attend(
                self._linear(f"query_{layer}", query),
                self._linear(f"key_value_{layer}", key_value),
                mask,
                shape,
            )
            hidden = hidden + self._linear(f"mixed_{layer}", mixed)
            wide = self._linear(f"wide_{layer}", self._norm(f"perceptron_{layer}", hidden))
            hidden = hidden + self._linear(f"narrow_{layer}", self._activation(wide))
        return self._norm("out", hidden).view(shape)

    def _linear(self, key: str, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias(key), x, self.weight(key))

    def _norm(self, key: str, x: Tensor) -> Tensor:
        normed = F.layer_norm(x, x.shape[-1:])
        return normed * self.bias(f"gain_{key}") + self.bias(f"shift_{key}")

    def _attend(self, query: Tensor, key_value: Tensor, mask: Tensor, shape: torch.Size) -> Tensor:
        n = shape[0] * shape[1]  # sequences
        heads = query.view(n, -1, self.n_heads, shape[3] // self.n_heads).transpose(1, 2)
        key, value = key_value.view(n, -1, 2, *heads.shape[1::2]).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(heads, key, value, attn_mask=mask)
        return mixed.transpose(1, 2).reshape(query.shape)


def sine_positions(n_steps: int, like: Tensor) -> Tensor:
    """Return sines and cosines that tell the steps apart, `(T, width)`."""
    width = like.shape[-1]
    steps, pairs = (
        torch.arange(n, dtype=like.dtype, device=like.device) for n in (n_steps, (width + 1) // 2)
    )
    angle = steps.unsqueeze(1) * torch.exp(-2 * math.log(10_000.0) / width * pairs)
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :width]
