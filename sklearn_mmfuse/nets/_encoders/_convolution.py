"""Convolutions over the time steps of a sequence, or over the pixels of an image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from sklearn_mmfuse.nets._encoders._base import EncoderSpec, WeightedEncoder, split_padding
from sklearn_mmfuse.nets._layers import ACTIVATIONS

__all__ = ["Conv1dEncoder", "Conv2dEncoder"]

# An image is pooled until its sides are no longer than this; then its pixels are read one by one.
GRID = 4


class Conv1dEncoder(WeightedEncoder):
    """Filters slid along a sequence; of each, the largest response: "does the motif occur?".

    **Shape**: `(E * R, B, T, d)` to `(E * R, B, width)`.

    Parameters
    ----------
    spec : EncoderSpec
        Options `kernel_size` (steps a filter sees) and `n_layers`.
    n_members, n_copies : int
        E and R.
    activation : str
        After each layer.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._encoders import Conv1dEncoder, EncoderSpec
    >>> spec = EncoderSpec("conv1d", shape=(None, 4), width=8)
    >>> conv = Conv1dEncoder(spec, n_members=1, n_copies=2, activation="relu")
    >>> conv(torch.zeros(2, 5, 100, 4)).shape
    torch.Size([2, 5, 8])
    """

    def __init__(
        self, spec: EncoderSpec, *, n_members: int, n_copies: int, activation: str
    ) -> None:
        options, width = dict(spec.options), spec.width
        self.n_layers = int(options.get("n_layers", 1))
        self.kernel_size = int(options.get("kernel_size", 7))
        self._activation = ACTIVATIONS[activation]
        widths = [int(spec.shape[-1] or 0), *[width] * self.n_layers]
        super().__init__(
            n_members=n_members,
            n_copies=n_copies,
            weights={
                str(layer): (self.kernel_size * reads, writes)
                for layer, (reads, writes) in enumerate(pairwise(widths))
            },
            biases={str(layer): (1, width) for layer in range(self.n_layers)},
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the largest response of every filter of the last layer."""
        x, valid = split_padding(x)
        here = valid.unsqueeze(-1)
        for layer in range(self.n_layers - 1):
            windows = self._windows(x)
            responses = torch.baddbmm(
                self.bias(str(layer)), windows.flatten(1, 2), self.weight(str(layer))
            )
            x = self._activation(responses.unflatten(1, x.shape[1:3])) * here
        largest = self._largest(self._windows(x), here, str(self.n_layers - 1))
        # A row of padding alone gives what zeros give.
        return self._activation(largest.masked_fill(~here.any(dim=2), 0.0))

    def _windows(self, x: Tensor) -> Tensor:
        """Return what filters see at every step, `(N, B, T, d * k)`; zeros beyond the ends."""
        before = (self.kernel_size - 1) // 2
        padded = F.pad(x, (0, 0, before, self.kernel_size - 1 - before))
        return padded.unfold(2, self.kernel_size, 1).flatten(3)

    def _largest(self, windows: Tensor, here: Tensor, key: str) -> Tensor:
        """Return the largest response of each filter, `(N, B, H)`.

        Where it occurs is found without a gradient; only the windows found are multiplied again.
        The gradient is the same, and a training step takes less than half the time.
        """
        weight = self.weight(key)
        with torch.no_grad():
            responses = torch.bmm(windows.flatten(1, 2), weight).unflatten(1, windows.shape[1:3])
            where = responses.masked_fill_(~here, -torch.inf).max(dim=2).indices
        seen = windows.gather(2, where.unsqueeze(-1).expand(-1, -1, -1, windows.shape[3]))
        return (seen * weight.transpose(1, 2).unsqueeze(1)).sum(dim=3) + self.bias(key)


class Conv2dEncoder(WeightedEncoder):
    """Blocks of a 3 x 3 convolution and a pooling, then a linear layer on what is left.

    **Shape**: `(E * R, B, C, H, W)` to `(E * R, B, width)`.

    Parameters
    ----------
    spec : EncoderSpec
        Option `channels`, the widths of the blocks.
    n_members, n_copies : int
        E and R.
    activation : str
        After each layer.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._encoders import Conv2dEncoder, EncoderSpec
    >>> spec = EncoderSpec("conv2d", shape=(1, 8, 8), width=16)
    >>> conv = Conv2dEncoder(spec, n_members=1, n_copies=2, activation="relu")
    >>> conv(torch.zeros(2, 5, 1, 8, 8)).shape
    torch.Size([2, 5, 16])
    """

    def __init__(
        self, spec: EncoderSpec, *, n_members: int, n_copies: int, activation: str
    ) -> None:
        channels: Sequence[int] = dict(spec.options).get("channels", (16, 32))
        n_colors, *sides = (int(size or 0) for size in spec.shape)
        self._activation = ACTIVATIONS[activation]
        weights: dict[str, tuple[int, ...]] = {}
        biases: dict[str, tuple[int, ...]] = {}
        for block, (reads, writes) in enumerate(pairwise([n_colors, *channels])):
            weights[f"block_{block}"] = (9 * reads, writes)
            biases[f"block_{block}"] = (writes,)
            sides = [side // 2 if side > GRID else side for side in sides]
        self.grid = (min(sides[0], GRID), min(sides[1], GRID))
        n_left = (list(channels)[-1] if channels else n_colors) * self.grid[0] * self.grid[1]
        weights["linear"], biases["linear"] = (n_left, spec.width), (1, spec.width)
        self.n_blocks = len(channels)
        super().__init__(n_members=n_members, n_copies=n_copies, weights=weights, biases=biases)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of every image."""
        # Grouped convolutions of many copies are slower than one after the other.
        pixels = torch.stack([self._blocks(image, n) for n, image in enumerate(x.unbind(0))])
        return self._activation(torch.baddbmm(self.bias("linear"), pixels, self.weight("linear")))

    def _blocks(self, image: Tensor, copy: int) -> Tensor:
        for block in range(self.n_blocks):
            weight = self.weight(f"block_{block}")[copy].T.unflatten(1, (-1, 3, 3))
            image = F.conv2d(image, weight, self.bias(f"block_{block}")[copy], padding=1)
            image = self._activation(image)
            halves = [2 if side > GRID else 1 for side in image.shape[2:]]
            if max(halves) > 1:
                image = F.max_pool2d(image, halves)
        return F.adaptive_avg_pool2d(image, self.grid).flatten(1)
