"""Which product of linear maps of modalities rows tell of, if of any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

__all__ = ["Product", "find_product", "rank_one"]

N_FOLDS = 5
MIN_CORRELATION = 0.55  # products that tell less are learned better among all else
MIN_T = 5.0
SWEEPS = 10


@dataclass(frozen=True)
class Product:
    """`outputs * prod_m (x_m @ directions[m])`, `(n, C)`.

    **Shape**: `directions` `(d_m,)` per modality; `outputs` `(C,)`.
    """

    directions: tuple[Tensor, ...]
    outputs: Tensor

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """All that is multiplied."""
        return (*self.directions, self.outputs)

    def __call__(self, features: Sequence[Tensor]) -> Tensor:
        """Return the product for rows of features, `(n, d_m)` per modality."""
        factors = (x @ u for x, u in zip(features, self.directions, strict=True))
        return reduce(torch.mul, factors).unsqueeze(1) * self.outputs

    def balanced(self) -> Product:
        """Return the same product, of parts of one norm."""
        norms = torch.stack([part.norm() for part in self.parts])
        tiny = torch.finfo(norms.dtype).tiny
        factors = norms.clamp_min(tiny).log().mean().exp() / norms.clamp_min(tiny)
        *directions, outputs = (part * f for part, f in zip(self.parts, factors, strict=True))
        return Product(tuple(directions), outputs)

    def normalized(self, features: Sequence[Tensor]) -> Product:
        """Return the same product, of factors whose mean square over rows is 1."""
        pairs = zip(features, self.directions, strict=True)
        sizes = torch.stack([(x @ u).square().mean().sqrt() for x, u in pairs])
        sizes = sizes.clamp_min(torch.finfo(sizes.dtype).tiny)
        units = (u / size for u, size in zip(self.directions, sizes, strict=True))
        return Product(tuple(units), self.outputs * sizes.prod())

    def of_scaled(self, sizes: Sequence[Tensor]) -> Product:
        """Return the product that is the same of features times `sizes`, `(d_m,)` each."""
        directions = (u / size for u, size in zip(self.directions, sizes, strict=True))
        return Product(tuple(directions), self.outputs)


def find_product(features: Sequence[Tensor], slope: Tensor, curvature: Tensor) -> Product | None:
    """Return the product along which a loss falls fastest, or None where it tells too little.

    It is the best approximation of rank one to the tensor of moments
    `sum_i slope_ic x_1ia x_2ib ...`. Found in four fifths of the rows, it must be correlated with
    the slopes of the fifth that it was not found in, over all five together by `MIN_CORRELATION`,
    and by `MIN_T` times what chance does.

    Parameters
    ----------
    features : sequence of Tensor
        `(n, d_m)` for each modality.
    slope : Tensor
        `(n, C)`: how fast the loss of a row falls with its raw predictions.
    curvature : Tensor
        `(n,)`: the second derivative, at most.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse._training._product_search import find_product
    >>> draws = torch.Generator().manual_seed(0)
    >>> a, v = (torch.randn(200, d, generator=draws).double() for d in (3, 2))
    >>> slope = (a[:, 1] * v[:, 0]).unsqueeze(1)
    >>> found = find_product([a, v], slope, torch.ones(200))
    >>> int(found.directions[0].abs().argmax()), int(found.directions[1].abs().argmax())
    (1, 0)
    >>> find_product([a, v], slope.flip(0), torch.ones(200)) is None
    True
    """
    least = max(MIN_CORRELATION, MIN_T / len(slope) ** 0.5)
    if least >= 1.0:  # no correlation of so few rows is enough
        return None
    fold = torch.arange(len(slope)) % N_FOLDS
    own = torch.stack([_moments([x[fold == k] for x in features], slope[fold == k])
                       for k in range(N_FOLDS)])  # fmt: skip
    total = own.sum(dim=0, keepdim=True)
    outputs, *directions = rank_one(torch.cat([total - own, total]))
    elsewhere = [(x * u[fold]).sum(dim=1) for x, u in zip(features, directions, strict=True)]
    value, asked = reduce(torch.mul, elsewhere), (slope * outputs[fold]).sum(dim=1)
    correlation = (value * asked).sum() / (value.norm() * asked.norm())
    if not correlation > least:
        return None
    found = Product(tuple(u[-1] for u in directions), outputs[-1]).normalized(features)
    value = found(features)
    step = (slope * value).sum() / (curvature.unsqueeze(1) * value.square()).sum()
    return Product(found.directions, found.outputs * step)


def _moments(features: Sequence[Tensor], slope: Tensor) -> Tensor:
    """Return `sum_i slope_ic x_1ia x_2ib ...`, `(C, d_1, d_2, ...)`."""
    joint = slope
    for x in features[:-1]:
        joint = joint.unsqueeze(-1) * x.view(len(x), *[1] * (joint.dim() - 1), -1)
    return torch.tensordot(joint, features[-1], dims=([0], [0]))


def rank_one(tensors: Tensor) -> list[Tensor]:
    """Return unit vectors whose outer product comes close to each tensor, up to a factor.

    By the higher-order power method, from the leading vector of every unfolding (De Lathauwer, De
    Moor and Vandewalle 2000).

    **Shape**: `(K, d_0, d_1, ...)` to `(K, d_0)`, `(K, d_1)`, ...
    """
    modes = range(1, tensors.dim())
    unfolded = [tensors.movedim(mode, 1).flatten(2) for mode in modes]
    vectors = [torch.linalg.eigh(m @ m.mT).eigenvectors[..., -1] for m in unfolded]
    for _ in range(SWEEPS):
        for i, matrix in enumerate(unfolded):
            others = vectors[:i] + vectors[i + 1 :]
            joint = reduce(lambda a, b: (a.unsqueeze(2) * b.unsqueeze(1)).flatten(1), others)
            moved = (matrix @ joint.unsqueeze(2)).squeeze(2)
            tiny = torch.finfo(moved.dtype).tiny
            vectors[i] = moved / moved.norm(dim=1, keepdim=True).clamp_min(tiny)
    return vectors
