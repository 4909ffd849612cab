"""MFN: recurrent nets side by side, and a memory of what changed in several of them at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from sklearn_mmfuse.nets._encoders import CopiedWeights
from sklearn_mmfuse.nets._fusions._aligned import AlignedFusion, align
from sklearn_mmfuse.nets._fusions._base import Brought, FusionSetting
from sklearn_mmfuse.nets._layers import ACTIVATIONS, MaskReader

__all__ = ["MFNFusion"]

State = tuple[Tensor, Tensor, Tensor]


class MFNFusion(AlignedFusion):
    """The Memory Fusion Network: an LSTM per modality and a gated memory across them.

    At step t the cell states c of all LSTMs, those of t - 1 and of t side by side, are attended to,
    `c_hat = c * softmax(D_a(c))`; the memory becomes `u_t = g_1 * u_(t-1) + g_2 * tanh(D_u(c_hat))`
    with gates `g = sigmoid(D_g(c_hat))`. Last outputs and last memory are read.

    Zadeh, Liang, Mazumder, Poria, Cambria and Morency. Memory Fusion Network for Multi-view
    Sequential Learning. AAAI 2018, eqs. 1-7. D are perceptrons with one hidden layer.

    Parameters
    ----------
    setting : FusionSetting
        Looks at the option `state_dim`: the width of each LSTM, of the memory, and of the hidden
        layers of D.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._fusions import FusionSetting, MFNFusion
    >>> setting = FusionSetting({"a": 3, "v": 2}, {}, (8,), "relu", n_outputs=1, n_members=1,
    ...                         options={"state_dim": 4})
    >>> mfn = MFNFusion(setting)
    >>> mfn.combine(mfn.bring({"a": torch.zeros(5, 7, 3), "v": torch.zeros(5, 7, 2)})).shape
    torch.Size([1, 5, 12])
    """

    def __init__(self, setting: FusionSetting) -> None:
        width, n_modalities = int(setting.options["state_dim"]), len(setting.names)
        super().__init__(setting, (n_modalities + 1) * width)
        self.state_dim, self.n_modalities = width, n_modalities
        self._activation = ACTIVATIONS[setting.activation]
        both = 2 * n_modalities * width
        inputs = {
            f"input_{i}": (setting.in_features[name], 4 * width)
            for i, name in enumerate(setting.names)
        }
        states = {f"state_{i}": (width, 4 * width) for i in range(n_modalities)}
        layers = {
            "attend_1": (both, width),
            "attend_2": (width, both),
            "say_1": (both, 3 * width),  # the hidden layers of the proposal and of both gates
            "propose_2": (width, width),
            "keep_2": (width, width),
            "take_2": (width, width),
        }
        biases = {f"input_{i}": (1, 4 * width) for i in range(n_modalities)}
        biases |= {key: (1, shape[1]) for key, shape in layers.items()}
        self.weights = CopiedWeights(
            n_members=setting.n_members,
            n_copies=1,
            weights={**inputs, **states, **layers},
            biases=biases,
        )

    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """Draw fresh parameters; member e draws from `generators[e]` alone."""
        self.weights.reset_copy(0, generators)
        super().reset_parameters(generators)

    def _linear(self, key: str, x: Tensor) -> Tensor:
        return torch.baddbmm(self.weights.bias(key), x, self.weights.weight(key))

    def _perceive(self, steps: dict[str, Tensor]) -> Tensor:
        """Return what every step adds to the gates of its LSTM, `(E, M, B, T, 4 H)`."""
        products = []
        for position, name in enumerate(self.names):
            x = steps[name].expand(len(self.weights.weight("attend_1")), -1, -1, -1)
            entering = self._linear(f"input_{position}", x.flatten(1, 2))
            products.append(entering.unflatten(1, x.shape[1:3]))
        return torch.stack(products, dim=1)

    def combine(self, brought: Brought, drop: MaskReader | None = None) -> Tensor:
        """Return the last outputs of all LSTMs and the last memory."""
        steps, valid = align(brought)
        entering = self._perceive(steps)
        n_members, _, n_rows, n_steps, _ = entering.shape
        zero = entering.new_zeros(n_members, self.n_modalities, n_rows, self.state_dim)
        state = (zero, zero, zero[:, 0])
        weight = torch.stack([self.weights.weight(f"state_{i}") for i in range(self.n_modalities)])
        weight = weight.transpose(0, 1)  # (E, M, H, 4 H)
        for t in range(n_steps):
            here = valid[:, :, t, None]
            moved = self._step(entering[:, :, :, t] + torch.matmul(state[0], weight), state)
            outputs, cells = (
                torch.where(here.unsqueeze(1), new, old)
                for new, old in zip(moved[:2], state[:2], strict=True)
            )
            state = (outputs, cells, torch.where(here, moved[2], state[2]))
        return torch.cat([_side_by_side(state[0]), state[2]], dim=-1)

    def _step(self, gates: Tensor, state: State) -> State:
        _, before, memory = state
        enter, forget, new, leave = gates.chunk(4, dim=-1)
        cells = torch.sigmoid(forget) * before + torch.sigmoid(enter) * torch.tanh(new)
        outputs = torch.sigmoid(leave) * torch.tanh(cells)
        both = torch.cat([_side_by_side(before), _side_by_side(cells)], dim=-1)
        scores = self._linear("attend_2", self._activation(self._linear("attend_1", both)))
        attended = both * scores.softmax(dim=-1)
        hidden = self._activation(self._linear("say_1", attended))
        propose, keep, take = (
            self._linear(key, part)
            for key, part in zip(
                ("propose_2", "keep_2", "take_2"), hidden.chunk(3, dim=-1), strict=True
            )
        )
        memory = torch.sigmoid(keep) * memory + torch.sigmoid(take) * torch.tanh(propose)
        return outputs, cells, memory


def _side_by_side(x: Tensor) -> Tensor:
    """Return `(E, M, B, H)` as `(E, B, M * H)`."""
    return x.transpose(1, 2).flatten(2)
