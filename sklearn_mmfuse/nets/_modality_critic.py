"""A critic of modalities as they are, which knows where one ends and the next begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklearn_mmfuse.nets._critic import Critic, bounded
from sklearn_mmfuse.nets._layers import GroupLinear, uniform_fan_in_

__all__ = ["ModalityCritic"]

WIDTH = 32  # of an embedding


class _Embedding(nn.Module):
    """A linear map and a small perceptron, added up: `(1, B, d)` to `(1, B, WIDTH)`."""

    def __init__(self, in_features: int) -> None:
        super().__init__()

        def linear(d_in: int, d_out: int) -> GroupLinear:
            return GroupLinear(n_members=1, n_groups=1, in_features=d_in, out_features=d_out)

        self.straight = linear(in_features, WIDTH)
        self.first, self.second = linear(in_features, WIDTH), linear(WIDTH, WIDTH)
        self.alone = linear(WIDTH, 1)
        self.square = nn.Parameter(torch.zeros(WIDTH))

    def reset_parameters(self, generator: torch.Generator) -> None:
        for layer in (self.straight, self.first, self.second):
            layer.reset_parameters([generator])
        nn.init.zeros_(self.alone.weight)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embedding, and what it says alone, `(1, B)`."""
        hidden = F.gelu(self.first(x))
        embedded = self.straight(x) + self.second(hidden)
        alone = (embedded.square() - 1.0) @ self.square + self.alone(hidden).squeeze(-1)
        return embedded, alone


class ModalityCritic(nn.Module):
    """`T = perceptron(x) + sum_(i<j) e_i^T C_ij e_j + sum_i u_i(x_i)`, between -6 and 8.

    Dependence of many weakly related features is a sum of many products, which a perceptron on all
    of them learns from few rows only by chance; the bilinear terms have it from the start. T is
    zero before training.

    **Shape**: `{name: (B, d)}` to parts `(3, B)` and T `(B,)`.

    Parameters
    ----------
    in_features : mapping of str to int
        The width of each modality.
    hidden : sequence of int
        Hidden layers of the perceptron.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._modality_critic import ModalityCritic
    >>> critic = ModalityCritic({"a": 3, "v": 2}, hidden=[8])
    >>> critic({"a": torch.zeros(5, 3), "v": torch.zeros(5, 2)}).shape
    torch.Size([5])
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, in_features: Mapping[str, int], hidden: Sequence[int]) -> None:
        super().__init__()
        self.names = tuple(in_features)
        self.perceptron = Critic(
            in_features=sum(in_features.values()),
            hidden=hidden,
            n_members=1,
            lipschitz=False,
            output="free",
        )
        self.embeddings = nn.ModuleList(_Embedding(width) for width in in_features.values())
        n_pairs = len(self.names) * (len(self.names) - 1) // 2
        self.pairs = nn.Parameter(torch.zeros(n_pairs, WIDTH, WIDTH))
        self.register_buffer("scale", torch.ones(3))
        self.register_buffer("shift", torch.zeros(()))

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw fresh parameters."""
        self.perceptron.reset_parameters([generator])
        self.perceptron.silence()
        for embedding in self.embeddings:
            assert isinstance(embedding, _Embedding)
            embedding.reset_parameters(generator)
            # Wide enough that products of a few features are there to be weighed.
            uniform_fan_in_(embedding.straight.weight.data, 1, [generator])
            width = embedding.straight.weight.shape[2]
            embedding.straight.weight.data.mul_((3.0 / width) ** 0.5)
        nn.init.zeros_(self.pairs)

    def embed(self, x: Mapping[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return embeddings and what they say alone: of each modality, once for all shuffles."""
        both = [
            embedding(x[name].unsqueeze(0))
            for name, embedding in zip(self.names, self.embeddings, strict=True)
        ]
        return [e.squeeze(0) for e, _ in both], [alone.squeeze(0) for _, alone in both]

    def parts(
        self,
        x: Mapping[str, Tensor],
        embedded: tuple[list[Tensor], list[Tensor]],
        orders: Tensor | None = None,
    ) -> Tensor:
        """Return the perceptron, the pairs and what modalities say alone, `(3, B)`.

        With `orders` `(M, B)`, of shuffled rows.
        """
        vectors, alone = embedded
        rows = [x[name] for name in self.names]
        if orders is not None:
            rows = [row[order] for row, order in zip(rows, orders, strict=True)]
            vectors = [vector[order] for vector, order in zip(vectors, orders, strict=True)]
            alone = [one[order] for one, order in zip(alone, orders, strict=True)]
        pairs = sum(
            ((vectors[i] @ weight) * vectors[j]).sum(dim=-1)
            for (i, j), weight in zip(combinations(range(len(rows)), 2), self.pairs, strict=True)
        )
        assert isinstance(pairs, Tensor)
        perceptron = self.perceptron(torch.cat(rows, dim=-1).unsqueeze(0)).squeeze(0)
        return torch.stack([perceptron, pairs, torch.stack(alone).sum(dim=0)])

    def join(self, parts: Tensor) -> Tensor:
        """Return T, `(B,)`, for what `parts` returned."""
        return bounded(self.scale @ parts + self.shift)

    def forward(self, x: Mapping[str, Tensor], orders: Tensor | None = None) -> Tensor:
        """Return T."""
        return self.join(self.parts(x, self.embed(x), orders))
