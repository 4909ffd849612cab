"""Gated recurrent nets over the time steps of a sequence."""

from __future__ import annotations

import torch
from torch import Tensor

from sklearn_mmfuse.nets._encoders._base import EncoderSpec, WeightedEncoder, split_padding

__all__ = ["GRUEncoder", "LSTMEncoder"]


class _Recurrent(WeightedEncoder):
    """Layers of gated units; padded steps leave the state as it is, so the last one is read.

    **Shape**: `(E * R, B, T, d)` to `(E * R, B, width)`.

    Parameters
    ----------
    spec : EncoderSpec
        Option `n_layers`.
    n_members, n_copies : int
        E and R.
    activation : str
        Unused: gates have their own.
    """

    at_once = False
    n_gates: int

    def __init__(
        self, spec: EncoderSpec, *, n_members: int, n_copies: int, activation: str
    ) -> None:
        self.width, self.n_layers = spec.width, int(dict(spec.options).get("n_layers", 1))
        width, n_features = spec.width, int(spec.shape[-1] or 0)
        weights, biases = {}, {}
        for layer in range(self.n_layers):
            reads = width if layer else n_features
            weights[f"input_{layer}"] = (reads, self.n_gates * width)
            weights[f"state_{layer}"] = (width, self.n_gates * width)
            biases[f"input_{layer}"] = (1, self.n_gates * width)
            biases[f"state_{layer}"] = (1, self.n_gates * width)
        super().__init__(n_members=n_members, n_copies=n_copies, weights=weights, biases=biases)

    def step(self, entering: Tensor, kept: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the next state from the gates' products with the input and the last output."""
        raise NotImplementedError

    def start(self, zero: Tensor) -> tuple[Tensor, ...]:
        """Return the first state, of zeros; its first entry is the output."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Return the output after the last step that is not padding."""
        x, valid = split_padding(x)
        n_steps = x.shape[2]
        for layer in range(self.n_layers):
            # One product for all steps; only what depends on the state is left to the loop.
            entering = torch.baddbmm(
                self.bias(f"input_{layer}"), x.flatten(1, 2), self.weight(f"input_{layer}")
            ).unflatten(1, (-1, n_steps))
            weight, bias = self.weight(f"state_{layer}"), self.bias(f"state_{layer}")
            state = self.start(x.new_zeros(*x.shape[:2], self.width))
            outputs = []
            for t in range(n_steps):
                kept = torch.baddbmm(bias, state[0], weight)
                moved = self.step(entering[:, :, t], kept, state)
                here = valid[:, :, t, None]
                state = tuple(
                    torch.where(here, new, old) for new, old in zip(moved, state, strict=True)
                )
                outputs.append(state[0])
            x = torch.stack(outputs, dim=2)
        return state[0]


class GRUEncoder(_Recurrent):
    """A gated recurrent unit; see `torch.nn.GRU` for its equations.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._encoders import EncoderSpec, GRUEncoder
    >>> spec = EncoderSpec("gru", shape=(None, 3), width=8)
    >>> gru = GRUEncoder(spec, n_members=1, n_copies=2, activation="relu")
    >>> gru(torch.zeros(2, 5, 10, 3)).shape
    torch.Size([2, 5, 8])
    """

    n_gates = 3

    def start(self, zero: Tensor) -> tuple[Tensor, ...]:
        """Return the first state."""
        return (zero,)

    def step(self, entering: Tensor, kept: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the next state."""
        (reset, update, new), (kept_reset, kept_update, kept_new) = (
            gates.chunk(3, dim=-1) for gates in (entering, kept)
        )
        candidate = torch.tanh(new + torch.sigmoid(reset + kept_reset) * kept_new)
        return (torch.lerp(candidate, state[0], torch.sigmoid(update + kept_update)),)


class LSTMEncoder(_Recurrent):
    """A long short-term memory; see `torch.nn.LSTM` for its equations.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._encoders import EncoderSpec, LSTMEncoder
    >>> spec = EncoderSpec("lstm", shape=(None, 3), width=8)
    >>> lstm = LSTMEncoder(spec, n_members=1, n_copies=2, activation="relu")
    >>> lstm(torch.zeros(2, 5, 10, 3)).shape
    torch.Size([2, 5, 8])
    """

    n_gates = 4

    def start(self, zero: Tensor) -> tuple[Tensor, ...]:
        """Return the first state: output and memory."""
        return zero, zero

    def step(self, entering: Tensor, kept: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the next state."""
        enter, forget, new, leave = (entering + kept).chunk(4, dim=-1)
        memory = torch.sigmoid(forget) * state[1] + torch.sigmoid(enter) * torch.tanh(new)
        return torch.sigmoid(leave) * torch.tanh(memory), memory
