"""Lower bounds of how much modalities depend on each other, from what a critic says of them.

T scores rows as they are ("joint") and rows whose modalities were shuffled independently, which
are draws from the product of the marginals.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["DEPENDENCIES", "DependencyGain", "dependency_bound", "shuffled_term"]

DEPENDENCIES = ("wasserstein", "kl", "f")
KEEP = 0.9  # of the moving average, per step


def shuffled_term(dependency: str, shuffled: Tensor, share: Tensor) -> Tensor:
    """Return what is subtracted from the mean of T over joint rows.

    "kl" `log E_q[e^T]` (Donsker and Varadhan; Colombo et al., 2021, eq. 6); "f" `E_q[e^(T - 1)]`
    (Nguyen, Wainwright and Jordan; eq. 7); "wasserstein" `E_q[T]` (Kantorovich and Rubinstein;
    eq. 8).

    NOTE[DIFF] Eq. 7 prints the exponent `T^-1` and eq. 8 the logarithm of the mean; both have no
    finite supremum, and neither is the result it cites.

    **Shape**: T `(..., B)`, and the rows' shares `(B,)` or the same, which add up to 1, to `(...)`.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.losses import shuffled_term
    >>> shuffled_term("kl", torch.zeros(4), torch.full((4,), 0.25))
    tensor(0.)
    """
    if dependency == "wasserstein":
        return (shuffled * share).sum(dim=-1)
    log_mean = torch.logsumexp(shuffled + share.log(), dim=-1)
    return log_mean if dependency == "kl" else (log_mean - 1.0).exp()


def dependency_bound(
    dependency: str, joint: Tensor, shuffled: Tensor, shares: tuple[Tensor, Tensor]
) -> Tensor:
    """Return the bound: `E_p[T]` less `shuffled_term`.

    **Shape**: T of joint and of shuffled rows `(..., B)`, the shares of both, to `(...)`.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.losses import dependency_bound
    >>> half = torch.full((2,), 0.5)
    >>> dependency_bound("wasserstein", torch.tensor([1.0, 2.0]), torch.zeros(2), (half, half))
    tensor(1.5000)
    """
    return (joint * shares[0]).sum(dim=-1) - shuffled_term(dependency, shuffled, shares[1])


class DependencyGain:
    """The bound with an unbiased gradient, for training.

    The gradient of `log E_q[e^T]` divides by a mean over few rows, which is biased; a moving
    average over steps takes its place (Belghazi et al., 2018). The two other bounds are linear in
    means.

    Parameters
    ----------
    dependency : {"wasserstein", "kl", "f"}
        Which bound.

    Attributes
    ----------
    average : Tensor of shape (E,) or None
        Of log E_q[e^T], where that is needed, once there is one.
    """

    def __init__(self, dependency: str) -> None:
        self.dependency = dependency
        self.average: Tensor | None = None

    def __call__(
        self,
        joint: Tensor,
        shuffled: Tensor,
        shares: tuple[Tensor, Tensor],
        *,
        update: bool,
        before: Tensor | None = None,
    ) -> Tensor:
        """Return what to climb, `(E,)`; `update` moves the average on.

        From `before`, where a step may be repeated: a copy of the average, in memory of its own.
        """
        if self.dependency != "kl":
            return dependency_bound(self.dependency, joint, shuffled, shares)
        log_mean = torch.logsumexp(shuffled + shares[1].log(), dim=-1)
        if self.average is None:
            self.average = log_mean.detach().clone()
        elif update:  # in place: a step that was recorded leaves it where it is
            before = self.average if before is None else before
            kept, new = before + math.log(KEEP), log_mean.detach() + math.log(1.0 - KEEP)
            self.average.copy_(torch.logaddexp(kept, new))
        mean = (joint * shares[0]).sum(dim=-1)
        gain, bound = mean - (log_mean - self.average).exp(), mean - log_mean
        return gain + (bound - gain).detach()  # the value of the one, the gradient of the other

    def take(self, kept: Tensor) -> None:
        """Go on with some members only."""
        if self.average is not None:
            self.average = self.average[kept]
