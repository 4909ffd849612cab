"""Self-attention over the time steps of a sequence."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from sklearn_mmfuse.nets._encoders._base import EncoderSpec, WeightedEncoder, split_padding
from sklearn_mmfuse.nets._layers import ACTIVATIONS

__all__ = ["TransformerEncoder"]


class TransformerEncoder(WeightedEncoder):
    """Layers of self-attention, normalized before each of their halves; steps are averaged.

    **Shape**: `(E * R, B, T, d)` to `(E * R, B, width)`.

    Parameters
    ----------
    spec : EncoderSpec
        Options `n_layers` and `n_heads`, which divides the width.
    n_members, n_copies : int
        E and R.
    activation : str
        Of the perceptron in each layer, which is twice as wide.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._encoders import EncoderSpec, TransformerEncoder
    >>> spec = EncoderSpec("transformer", shape=(None, 3), width=8)
    >>> transformer = TransformerEncoder(spec, n_members=1, n_copies=2, activation="relu")
    >>> transformer(torch.zeros(2, 5, 10, 3)).shape
    torch.Size([2, 5, 8])
    """

    def __init__(
        self, spec: EncoderSpec, *, n_members: int, n_copies: int, activation: str
    ) -> None:
        options, width = dict(spec.options), spec.width
        self.n_layers = int(options.get("n_layers", 2))
        self.n_heads = int(options.get("n_heads", math.gcd(4, width)))
        self._activation = ACTIVATIONS[activation]
        weights: dict[str, tuple[int, ...]] = {"input": (int(spec.shape[-1] or 0), width)}
        biases: dict[str, tuple[int, ...]] = {"input": (1, width)}
        for layer in range(self.n_layers):
            sizes = {"qkv": (width, 3 * width), "mixed": (width, width)}
            sizes |= {"wide": (width, 2 * width), "narrow": (2 * width, width)}
            weights |= {f"{key}_{layer}": size for key, size in sizes.items()}
            biases |= {f"{key}_{layer}": (1, size[1]) for key, size in sizes.items()}
            for half in ("attention", "perceptron"):
                biases |= {f"gain_{half}_{layer}": (1, width), f"shift_{half}_{layer}": (1, width)}
        biases |= {"gain_out": (1, width), "shift_out": (1, width)}
        super().__init__(n_members=n_members, n_copies=n_copies, weights=weights, biases=biases)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean over the steps that are not padding."""
        x, valid = split_padding(x)
        shape = x.shape[1:3]
        hidden = self._linear("input", x.flatten(1, 2))
        hidden = hidden + _positions(shape[1], hidden).repeat(shape[0], 1)
        attended = valid | ~valid.any(dim=2, keepdim=True)  # a row of padding alone stays finite
        for layer in range(self.n_layers):
            normed = self._norm(f"attention_{layer}", hidden)
            mixed = self._attend(self._linear(f"qkv_{layer}", normed), attended)
            hidden = hidden + self._linear(f"mixed_{layer}", mixed)
            wide = self._linear(f"wide_{layer}", self._norm(f"perceptron_{layer}", hidden))
            hidden = hidden + self._linear(f"narrow_{layer}", self._activation(wide))
        steps = self._norm("out", hidden).unflatten(1, shape) * valid.unsqueeze(-1)
        return steps.sum(dim=2) / valid.sum(dim=2).clamp_min(1).unsqueeze(-1)

    def _linear(self, key: str, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias(key), x, self.weight(key))

    def _norm(self, key: str, x: Tensor) -> Tensor:
        normed = F.layer_norm(x, x.shape[-1:])
        return normed * self.bias(f"gain_{key}") + self.bias(f"shift_{key}")

    def _attend(self, qkv: Tensor, attended: Tensor) -> Tensor:
        n_copies, n_rows, n_steps = attended.shape
        heads = qkv.view(n_copies * n_rows, n_steps, 3, self.n_heads, -1).transpose(1, 3)
        mask = attended.view(n_copies * n_rows, 1, 1, n_steps)
        query, key, value = heads.unbind(2)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return mixed.transpose(1, 2).reshape(n_copies, n_rows * n_steps, -1)


def _positions(n_steps: int, like: Tensor) -> Tensor:
    """Return sines and cosines that tell the steps apart, `(T, width)`."""
    width = like.shape[-1]
    steps, pairs = (torch.arange(n).to(like) for n in (n_steps, (width + 1) // 2))
    angle = steps.unsqueeze(1) * torch.exp(-2 * math.log(10_000.0) / width * pairs)
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :width]
