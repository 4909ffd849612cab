"""LMF: the linear map of the outer product, by factors of low rank instead of by the product."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from sklearn_mmfuse._terms import Term
from sklearn_mmfuse.nets._fusions._base import Brought, FusionSetting, JointFusion
from sklearn_mmfuse.nets._layers import MaskReader, uniform_fan_in_
from sklearn_mmfuse.nets._separable import MultilinearTerm, SeparableTerm

__all__ = ["LowRankFusion"]

WIDTH = 64  # of the fused representation, where there is no hidden layer to be as wide as


class LowRankFusion(JointFusion):
    """`h = sum_r w_r prod_m (W_m^r [z_m, 1])`, a map of TFN's outer product that is never formed.

    Liu, Shen, Lakshminarasimhan, Liang, Zadeh and Morency. Efficient Low-rank Multimodal Fusion
    with Modality-Specific Factors. ACL 2018, eqs. 4-6. The outputs are linear in h, and so in the
    embedding of each modality: pure effects are exact at no cost.

    Parameters
    ----------
    setting : FusionSetting
        Looks at the options `tensor_dim`, the width of an embedding, and `rank`.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._fusions import FusionSetting, LowRankFusion
    >>> setting = FusionSetting({"a": 3, "v": 2}, {}, (8,), "relu", n_outputs=1, n_members=1,
    ...                         options={"tensor_dim": 4, "rank": 2})
    >>> LowRankFusion(setting).embed({"a": torch.zeros(5, 3), "v": torch.zeros(5, 2)}).shape
    torch.Size([1, 1, 5, 8])
    """

    def __init__(self, setting: FusionSetting) -> None:
        width = setting.hidden[-1] if setting.hidden else WIDTH
        super().__init__(setting, width, hidden=())
        tensor_dim, rank = int(setting.options["tensor_dim"]), int(setting.options["rank"])
        self.rank = rank
        n_members, n_modalities = setting.n_members, len(setting.names)
        self.encoders = setting.mlps([(name,) for name in setting.names], n_outputs=tensor_dim)
        self.factors = nn.Parameter(
            torch.zeros(n_members, n_modalities, tensor_dim + 1, rank * width)
        )
        self.rank_weights = nn.Parameter(torch.zeros(n_members, 1, rank, 1))
        self.rank_bias = nn.Parameter(torch.zeros(n_members, 1, width))

    @property
    def n_mask_units(self) -> int:
        """Hidden units per member and row that a dropout mask must cover."""
        return self.encoders.n_mask_units

    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """Draw fresh parameters; member e draws from `generators[e]` alone."""
        self.encoders.reset_parameters(generators)
        for position in range(self.factors.shape[1]):
            factor = self.factors.data[:, position]
            uniform_fan_in_(factor, 1, generators)  # a product of small factors would vanish
        uniform_fan_in_(self.rank_weights.data, self.rank, generators)
        nn.init.zeros_(self.rank_bias)
        super().reset_parameters(generators)

    def bring(self, x: Brought, drop: MaskReader | None = None) -> dict[str, Tensor]:
        """Return each modality's factors, `(E, B, rank * width)`."""
        embedded = F.pad(self.encoders(x, drop), (0, 1), value=1.0)  # (E, M, B, D + 1)
        return dict(zip(self.names, torch.matmul(embedded, self.factors).unbind(1), strict=True))

    def combine(self, brought: Brought, drop: MaskReader | None = None) -> Tensor:
        """Return the sum over ranks of the products of the factors."""
        product, *others = (brought[name] for name in self.names)
        for other in others:
            product = product * other
        ranked = product.unflatten(-1, (self.rank, self.width))
        return (ranked * self.rank_weights).sum(dim=-2) + self.rank_bias

    def separate(self, x: Brought, terms: Sequence[Term]) -> Sequence[SeparableTerm]:
        """Return the outputs as what is linear in each modality's factors."""
        return [MultilinearTerm(terms, self.names, self.bring(x), self._outputs, 1)]
