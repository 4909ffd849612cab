"""From a raw prediction to what is reported, and back: numpy twins of the losses' links."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

__all__ = ["LINKS", "IdentityLink", "Link", "LogitLink", "SigmoidLink", "SoftmaxLink"]

Array = NDArray[np.floating]


class Link(Protocol):
    """Maps raw predictions `(n, n_raw)` to predictions `(n, n_predicted)`."""

    name: str

    def inverse(self, raw: Array) -> Array:
        """Return the prediction of a raw prediction."""
        ...


class IdentityLink:
    """The raw prediction is the prediction: regression."""

    name = "identity"

    def inverse(self, raw: Array) -> Array:
        """Return `raw`, `(n, C)` to `(n, C)`."""
        return raw


class LogitLink:
    """One logit for the second of two classes."""

    name = "logit"

    def inverse(self, raw: Array) -> Array:
        """Return the probabilities of both classes, `(n, 1)` to `(n, 2)`."""
        positive = expit(raw[:, 0])
        return np.column_stack([1.0 - positive, positive])


class SigmoidLink:
    """One logit per label, of which a sample may have several."""

    name = "sigmoid"

    def inverse(self, raw: Array) -> Array:
        """Return the probability of each label, `(n, C)` to `(n, C)`."""
        return expit(raw)


class SoftmaxLink:
    """One logit per class."""

    name = "softmax"

    def inverse(self, raw: Array) -> Array:
        """Return the probabilities of the classes, `(n, C)` to `(n, C)`."""
        return softmax(raw, axis=1)


LINKS: dict[str, Link] = {
    link.name: link for link in (IdentityLink(), LogitLink(), SigmoidLink(), SoftmaxLink())
}
