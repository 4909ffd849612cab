"""Penalties: pure functions of a net's output, one number per member."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from sklearn_mmfuse._terms import Term
from sklearn_mmfuse.losses._objective import Penalty
from sklearn_mmfuse.nets import FusionOutput

# Below this share of the target's variance a part is as good as absent.
FLOOR = 1e-2
# So many roundings after 0, n - 1 may be 0: there is one row, or one that has all the weight.
ROUNDINGS = 16

__all__ = ["SMURFPenalty", "SoftHGRPenalty", "weighted_covariance"]


def weighted_covariance(
    values: Tensor, weight: Tensor, present: Tensor | None = None, *, unbiased: bool = True
) -> Tensor:
    """Return sample covariances (n - 1) of variables over weighted rows.

    Weights say how reliable a row is: only their ratios matter, and with equal ones this is the
    usual sample covariance. `unbiased=False` divides by n. Of variables that some rows lack
    (zeros in `present`), every covariance is that of the rows which have both.

    **Shape**: `(..., K, B)`, `(..., 1, B)` or `(B,)`, and `(..., K, B)`, to `(..., K, K)`.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.losses import weighted_covariance
    >>> weighted_covariance(torch.tensor([[1.0, 2.0, 3.0]]), torch.ones(3))
    tensor([[1.]])
    """
    if present is not None:
        return _pairwise_covariance(values, weight, present.to(values.dtype), unbiased)
    share = torch.atleast_2d(weight / weight.sum(dim=-1, keepdim=True))
    centered = values - values @ share.transpose(-1, -2)
    covariance = (centered * share) @ centered.transpose(-1, -2)
    return _unbiased(covariance, (share**2).sum(dim=-1, keepdim=True)) if unbiased else covariance


def _pairwise_covariance(values: Tensor, weight: Tensor, present: Tensor, unbiased: bool) -> Tensor:
    weighted = present * weight  # (K, B)
    transposed = present.transpose(-1, -2)
    total = weighted @ transposed  # of the rows that have both, (K, K)
    safe = total.clamp_min(torch.finfo(total.dtype).tiny)
    values = values * present
    mean = (values * weight) @ transposed / safe  # of the first over the rows that have both
    covariance = (values * weight) @ values.transpose(-1, -2) / safe
    covariance = covariance - mean * mean.transpose(-1, -2)
    covariance = covariance * (total > 0)  # pairs that no row has are uncorrelated
    squares = (weighted * weight) @ transposed / safe / safe  # whose square would be 0
    return _unbiased(covariance, squares) if unbiased else covariance


def _unbiased(covariance: Tensor, squares: Tensor) -> Tensor:
    """Return covariances divided by n - 1; what a single row tells, nothing, is 0."""
    freedom = 1.0 - squares
    some = freedom > ROUNDINGS * torch.finfo(freedom.dtype).eps
    return torch.where(some, covariance / torch.where(some, freedom, 1.0), 0.0)


class SMURFPenalty(Penalty):
    """`reg_lambda (L_uncor + L_cor)` (SMURF, eqs. 4, 7, 8 and 12 to 15).

    L_uncor, the mean of |cov(unique, redundant)| over the redundant terms, each with the unique
    term of its own modalities; L_cor, the mean of `-cov + var var / 2` over the pairs of redundant
    terms that are each other's partner; both averaged over classes.

    NOTE[DIFF] Logits are centered over classes first: a softmax does not see what they share, which
    L_cor would reward. Eq. 30 prints the covariances of L_uncor without absolute values; eq. 12 has
    them, and so has the authors' code.

    NOTE[DIFF] `balance` measures everything in units of the parts' own spread. As printed, L_cor
    rewards a pair for growing, up to var = 1 whatever the target's scale, and the unique parts then
    take the surplus back: for y = u_A + u_B + r_AB the best redundant parts hold a part of u_A. In
    units of the (detached) mean variance of the pair nothing is gained by growing; L_uncor becomes
    the mean |correlation|, which ignores parts that are as good as absent; and
    `(var - var)^2 / 4` per pair makes both parts equally large, without which (a y_IJ, y_JI / a)
    were as good for any a.

    Parameters
    ----------
    terms : sequence of Term
        Of the net.
    reg_lambda : float
        The weight of the penalty.
    balance : bool
        Whether to measure parts in units of themselves and make those of a pair equally large.
    """

    def __init__(self, terms: Sequence[Term], *, reg_lambda: float, balance: bool) -> None:
        super().__init__(reg_lambda, key=("SMURF", tuple(terms), balance))
        self.balance = balance
        redundant = [term for term in terms if term.kind == "redundant"]
        position = {term: i for i, term in enumerate(terms)}
        uncorrelated = [(position[Term(t.modalities, "unique")], position[t]) for t in redundant]
        correlated = [
            (position[one], position[other])
            for one, other in combinations(redundant, 2)
            if (one.modalities, one.partner) == (other.partner, other.modalities)
        ]
        self.uncorrelated = torch.tensor(uncorrelated, dtype=torch.long).reshape(-1, 2).T
        self.correlated = torch.tensor(correlated, dtype=torch.long).reshape(-1, 2).T

    def __call__(self, output: FusionOutput, weight: Tensor) -> Tensor:
        """Return the penalty of every member, `(E,)`."""
        values = output.values
        if values.shape[-1] > 1:
            values = values - values.mean(dim=-1, keepdim=True)
        # In units of themselves n or n - 1 makes no difference, but to weights that repeat rows.
        present = output.aux.get("present_terms")
        if weight.dim() > 1:  # of every member; the same for all its outputs
            weight = weight[:, None, None]
        if present is not None and present.dim() > 2:
            present = present.unsqueeze(1)
        covariance = weighted_covariance(
            values.permute(0, 3, 1, 2), weight, present, unbiased=not self.balance
        )  # (E, C, T, T)
        variance = covariance.diagonal(dim1=-2, dim2=-1)
        if self.correlated.device != values.device:  # once, and not in every step
            self.uncorrelated = self.uncorrelated.to(values.device)
            self.correlated = self.correlated.to(values.device)
        unique, redundant = self.uncorrelated
        one, other = self.correlated
        apart = covariance[..., unique, redundant].abs()
        together = covariance[..., one, other]
        var_one, var_other = variance[..., one], variance[..., other]
        if self.balance:
            size = variance + FLOOR
            apart = apart / (size[..., unique] * size[..., redundant]).sqrt()
            unit = (size[..., one] + size[..., other]).detach() / 2
            var_one, var_other, together = var_one / unit, var_other / unit, together / unit
        pairs = var_one * var_other / 2 - together
        if self.balance:
            pairs = pairs + (var_one - var_other) ** 2 / 4
        loss = apart.mean(dim=-1) + pairs.mean(dim=-1)
        return self.reg_lambda * loss.mean(dim=-1)


class SoftHGRPenalty(Penalty):
    """`-reg_lambda` times the mean soft-HGR between the embeddings of all pairs of modalities.

    `tr cov(f, g) - tr(cov(f) cov(g)) / 2` (Wang et al., 2019), the objective of the E-HGR baseline:
    what modalities have in common is sought in their embeddings, not in their contributions.

    NOTE[DIFF] The authors of SMURF take half of each embedding; here the whole, divided by its
    width, so that `reg_lambda` means the same for any.

    Parameters
    ----------
    reg_lambda : float
        The weight of the penalty.
    """

    def __init__(self, *, reg_lambda: float) -> None:
        super().__init__(reg_lambda, key=("soft-HGR",))

    def __call__(self, output: FusionOutput, weight: Tensor) -> Tensor:
        """Return the penalty of every member, `(E,)`."""
        embeddings = output.aux["embeddings"]  # (E, M, B, H)
        n_modalities, width = embeddings.shape[1], embeddings.shape[3]
        stacked = embeddings.transpose(2, 3).flatten(1, 2)  # (E, M * H, B)
        present = output.aux.get("present")
        if present is not None:
            present = present.repeat_interleave(width, dim=-2)
        if weight.dim() > 1:
            weight = weight.unsqueeze(1)
        covariance = weighted_covariance(stacked, weight, present)
        covariance = covariance.unflatten(2, (n_modalities, width)).unflatten(
            1, (n_modalities, width)
        )  # (E, M, H, M, H)
        pairs = [
            covariance[:, i, :, j].diagonal(dim1=1, dim2=2).sum(dim=-1)
            - (covariance[:, i, :, i] * covariance[:, j, :, j].transpose(1, 2)).sum(dim=(1, 2)) / 2
            for i, j in combinations(range(n_modalities), 2)
        ]
        return -self.reg_lambda / width * torch.stack(pairs).mean(dim=0)
