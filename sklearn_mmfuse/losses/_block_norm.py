"""The block q-norm of multiple kernel learning: its proximal step, and the relevances it implies.

With `q = 2 p / (p + 1)`, minimizing the loss plus `Lambda * (sum_I ||w_I||^q)^(2 / q)` is the same
as weighing blocks by `sqrt(beta_I)` under `||beta||_p <= 1` and plain weight decay (Theorem 1 of
the InTense paper).
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["block_relevances", "shrink_blocks"]

OUTER_STEPS = 200
NEWTON_STEPS = 10
CLOSE = 1e-10  # of logarithms


def block_relevances(norms: Tensor, p: float) -> Tensor:
    """Return the optimal weights `beta` of blocks with these norms; `||beta||_p = 1`.

    `beta_I = ||w_I||^(2 / (p + 1)) / (sum_J ||w_J||^(2 p / (p + 1)))^(1 / p)` (Proposition A.3).

    NOTE[DIFF] Eq. 4 prints p / (p + 1) as the exponent above, with which `||beta||_p` is not 1.

    **Shape**: `(..., T)` to `(..., T)`; zeros where all norms are zero.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.losses import block_relevances
    >>> block_relevances(torch.tensor([3.0, 1.0]), p=1.0)
    tensor([0.7500, 0.2500])
    """
    largest = norms.amax(dim=-1, keepdim=True)
    relative = norms / torch.where(largest > 0, largest, 1.0)  # powers of tiny norms underflow
    total = relative.pow(2 * p / (p + 1)).sum(dim=-1, keepdim=True).pow(1 / p)
    return relative.pow(2 / (p + 1)) / torch.where(total > 0, total, 1.0)


def shrink_blocks(norms: Tensor, step: Tensor, q: float) -> Tensor:
    """Return the norms after a proximal step on `step * (sum norm^q)^(2 / q)`, exactly.

    Blocks keep their direction. With q = 1 small blocks become exactly zero: all are lowered by
    `2 * step * S`, where S is what the norms add up to afterwards.

    **Shape**: norms `(R, T)` and steps `(R, 1)` to `(R, T)`.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.losses import shrink_blocks
    >>> shrink_blocks(torch.tensor([[3.0, 1.0]]), torch.tensor([[0.5]]), q=1.0)
    tensor([[1.5000, 0.0000]])
    """
    if not bool((step > 0).any()):
        return norms
    if q == 1:
        ordered = norms.sort(dim=-1, descending=True).values.cumsum(dim=-1)
        count = torch.arange(1, norms.shape[-1] + 1).to(norms)
        # With the k largest blocks left, S = (their sum) / (1 + 2 step k); the true k has the
        # largest S.
        total = (ordered / (1 + 2 * step * count)).amax(dim=-1, keepdim=True)
        return (norms - 2 * step * total).clamp_min(0.0)
    # All blocks are lowered along one slope, which depends on the norms afterwards: the smaller
    # they are, the smaller it is. Its logarithm is found by Newton's method within a bracket.
    tiny = torch.finfo(norms.dtype).tiny
    high = (2 * step * _norm(norms, q).pow(2 - q)).clamp_min(tiny).log()
    low = _implied_slope(norms, high, step, q)[0]
    slope = high
    for turn in range(OUTER_STEPS):
        implied, derivative = _implied_slope(norms, slope, step, q)
        if ((implied - slope).abs() <= CLOSE).all():
            break
        low, high = (
            torch.where(implied > slope, slope, low),
            torch.where(implied > slope, high, slope),
        )
        newton = slope - (implied - slope) / (derivative - 1)
        inside = (newton >= low) & (newton <= high) & (turn % 4 < 3)  # else halve the bracket
        slope = torch.where(inside, newton, (low + high) / 2)
    return _lower(norms, slope, q)


def _implied_slope(norms: Tensor, slope: Tensor, step: Tensor, q: float) -> tuple[Tensor, Tensor]:
    """Return the log slope that lowered norms imply, and its derivative by the log slope."""
    lowered = _lower(norms, slope, q)
    power = lowered.pow(q)
    total = power.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(norms.dtype).tiny)
    implied = (2 * step).log() + (2 - q) / q * total.log()
    # Of what a norm gives up, the part that its own fall takes back.
    given = slope.exp() * lowered.pow(q - 1)
    relative = given / (lowered + (q - 1) * given).clamp_min(torch.finfo(norms.dtype).tiny)
    change = -(power * relative).sum(dim=-1, keepdim=True) / total
    return implied, (2 - q) * change


def _norm(norms: Tensor, q: float) -> Tensor:
    return norms.pow(q).sum(dim=-1, keepdim=True).pow(1 / q)


def _lower(norms: Tensor, slope: Tensor, q: float) -> Tensor:
    """Return x >= 0 with `x + exp(slope) * x^(q - 1) = norms`.

    By Newton's method for log x: the logarithm of a sum of two powers is convex in it, with slopes
    between q - 1 and 1, so that a start above the root converges from above, and quickly.
    """
    if q == 2:
        return norms / (1 + slope.exp())
    target = norms.clamp_min(torch.finfo(norms.dtype).tiny).log()
    x = torch.minimum(target, (target - slope) / (q - 1))
    for _ in range(NEWTON_STEPS):
        power = slope + (q - 1) * x
        share = torch.sigmoid(x - power)
        x = x - (torch.logaddexp(x, power) - target) / (share + (1 - share) * (q - 1))
    return torch.where(norms > 0, x.exp(), 0.0)
