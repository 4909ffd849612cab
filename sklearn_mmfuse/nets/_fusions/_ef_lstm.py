"""EF-LSTM: one recurrent net over the modalities side by side at every step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from sklearn_mmfuse.nets._encoders import EncoderSpec, LSTMEncoder
from sklearn_mmfuse.nets._fusions._aligned import AlignedFusion, align
from sklearn_mmfuse.nets._fusions._base import Brought, FusionSetting
from sklearn_mmfuse.nets._layers import MaskReader

__all__ = ["EFLSTMFusion"]


class EFLSTMFusion(AlignedFusion):
    """An LSTM on the concatenation of all modalities at every time step.

    The simplest recurrent baseline of Tsai et al. (2019, 2020) and of Colombo et al. (2021).

    Parameters
    ----------
    setting : FusionSetting
        Looks at the option `state_dim`, the width of the LSTM.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._fusions import EFLSTMFusion, FusionSetting
    >>> setting = FusionSetting({"a": 3, "v": 2}, {}, (8,), "relu", n_outputs=1, n_members=1,
    ...                         options={"state_dim": 4})
    >>> EFLSTMFusion(setting).embed({"a": torch.zeros(5, 7, 3), "v": torch.zeros(5, 7, 2)}).shape
    torch.Size([1, 1, 5, 8])
    """

    def __init__(self, setting: FusionSetting) -> None:
        width, reads = int(setting.options["state_dim"]), sum(setting.in_features.values())
        super().__init__(setting, width)
        self.lstm = LSTMEncoder(
            EncoderSpec("lstm", (None, reads), width),
            n_members=setting.n_members,
            n_copies=1,
            activation=setting.activation,
        )

    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """Draw fresh parameters; member e draws from `generators[e]` alone."""
        self.lstm.reset_copy(0, generators)
        super().reset_parameters(generators)

    def combine(self, brought: Brought, drop: MaskReader | None = None) -> Tensor:
        """Return the last output of the LSTM."""
        steps, valid = align(brought)
        together = torch.cat([steps[name] for name in self.names], dim=-1)
        together = together.masked_fill(~valid.unsqueeze(-1), torch.nan)
        n_members = len(next(self.lstm.parameters()))  # those that are left
        return self.lstm(together.expand(n_members, -1, -1, -1))
