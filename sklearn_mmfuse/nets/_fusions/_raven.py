"""RAVEN: words whose meaning is shifted by how they are said."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from sklearn_mmfuse.nets._encoders import CopiedWeights, EncoderSpec, LSTMEncoder
from sklearn_mmfuse.nets._fusions._aligned import AlignedFusion, align, word_steps
from sklearn_mmfuse.nets._fusions._base import Brought, FusionSetting
from sklearn_mmfuse.nets._layers import ACTIVATIONS, MaskReader

__all__ = ["RavenFusion", "shift_words"]


def shift_words(words: Tensor, shift: Tensor, scale: float, said: Tensor) -> Tensor:
    """Return `words + a * shift`, `a = min(scale * |word| / |shift|, 1)`, at every step.

    The shift is never longer than `scale` times the word itself; where no word is said, a is 1:
    what else is there must be heard.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._fusions._raven import shift_words
    >>> said = torch.tensor([True])
    >>> shift_words(torch.tensor([[3.0, 4.0]]), torch.tensor([[10.0, 0.0]]), 1.0, said)
    tensor([[8., 4.]])
    """
    tiny = torch.finfo(words.dtype).eps
    long = (words.square().sum(dim=-1, keepdim=True) + tiny**2).sqrt()
    far = (shift.square().sum(dim=-1, keepdim=True) + tiny).sqrt()
    far_enough = (scale * long / far).clamp_max(1.0)
    return words + torch.where(said.unsqueeze(-1), far_enough, 1.0) * shift


class RavenFusion(AlignedFusion):
    """The Recurrent Attended Variation Embedding Network: an LSTM over shifted words.

    At every step each other modality m is read by a layer, `h_m`, and weighed by a gate that also
    sees the word, `g_m = sigmoid(w_m [h_m, e] + b_m)`; the word is shifted by
    `sum_m g_m W_m h_m + b`, no further than `shift` times its own length.

    Wang, Shen, Liu, Liang, Zadeh and Morency. Words Can Shift: Dynamically Adjusting Word
    Representations Using Nonverbal Behaviors. AAAI 2019, eqs. 3-7.

    NOTE[DIFF] In RAVEN the other modalities are sampled more often than words are said, and an
    LSTM over the span of a word returns h_m. Here sequences are aligned, one vector per word, and a
    layer takes the place of that LSTM.

    Parameters
    ----------
    setting : FusionSetting
        Looks at the options `language`, which modality the words are; `state_dim`, the width of the
        LSTM and of h; `shift`.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._fusions import FusionSetting, RavenFusion
    >>> setting = FusionSetting({"audio": 3, "text": 2}, {}, (8,), "relu", n_outputs=1, n_members=1,
    ...                         options={"state_dim": 4, "language": "text", "shift": 1.0})
    >>> raven = RavenFusion(setting)
    >>> raven.embed({"audio": torch.zeros(5, 7, 3), "text": torch.zeros(5, 7, 2)}).shape
    torch.Size([1, 1, 5, 8])
    """

    has_language = True

    def __init__(self, setting: FusionSetting) -> None:
        width = int(setting.options["state_dim"])
        super().__init__(setting, width)
        self.language = str(setting.options["language"])
        self.shift = float(setting.options["shift"])
        self.others = tuple(name for name in setting.names if name != self.language)
        self._activation = ACTIVATIONS[setting.activation]
        n_words = setting.in_features[self.language]
        weights, biases = {}, {"shift": (1, n_words)}
        for i, name in enumerate(self.others):
            weights[f"read_{i}"] = (setting.in_features[name], width)
            weights[f"gate_{i}"] = (width + n_words, 1)
            weights[f"shift_{i}"] = (width, n_words)
            biases |= {f"read_{i}": (1, width), f"gate_{i}": (1, 1)}
        self.weights = CopiedWeights(
            n_members=setting.n_members, n_copies=1, weights=weights, biases=biases
        )
        self.lstm = LSTMEncoder(
            EncoderSpec("lstm", (None, n_words), width),
            n_members=setting.n_members,
            n_copies=1,
            activation=setting.activation,
        )

    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """Draw fresh parameters; member e draws from `generators[e]` alone."""
        self.weights.reset_copy(0, generators)
        self.lstm.reset_copy(0, generators)
        super().reset_parameters(generators)

    def combine(self, brought: Brought, drop: MaskReader | None = None) -> Tensor:
        """Return the last output of the LSTM over shifted words."""
        steps, valid = align(brought)
        n_members = len(self.weights.bias("shift"))
        flat = {name: x.expand(n_members, -1, -1, -1).flatten(1, 2) for name, x in steps.items()}
        said = word_steps(brought[self.language], valid).expand(n_members, -1, -1).flatten(1)
        words = shift_words(flat[self.language], self._shift(flat), self.shift, said)
        words = words.unflatten(1, valid.shape[1:])
        return self.lstm(words.masked_fill(~valid.unsqueeze(-1), torch.nan))

    def _shift(self, steps: dict[str, Tensor]) -> Tensor:
        """Return where each word is shifted to, `(E, B * T, d)`."""
        words = steps[self.language]
        total = self.weights.bias("shift").expand_as(words)
        for i, name in enumerate(self.others):
            read = torch.baddbmm(
                self.weights.bias(f"read_{i}"), steps[name], self.weights.weight(f"read_{i}")
            )
            read = self._activation(read)
            seen = torch.cat([read, words], dim=-1)
            gate = torch.matmul(seen, self.weights.weight(f"gate_{i}"))
            gate = torch.sigmoid(gate + self.weights.bias(f"gate_{i}"))
            total = total + gate * torch.matmul(read, self.weights.weight(f"shift_{i}"))
        return total
