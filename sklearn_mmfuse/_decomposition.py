"""The one explanation object: which term contributed how much to which prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from sklearn_mmfuse._links import LINKS
from sklearn_mmfuse._terms import Term

__all__ = ["Decomposition"]


@dataclass(frozen=True, repr=False)
class Decomposition:
    """A prediction as a sum: one addend per term, and a bias.

    `values.sum(axis=1) + bias` is the raw prediction: the prediction itself in regression (in the
    units of `y`), the log-odds of the second class in binary and one logit per class in multiclass
    classification.

    Parameters
    ----------
    values : ndarray of shape (n_samples, n_terms, n_outputs)
        The contribution of each term.
    bias : ndarray of shape (n_outputs,)
        What is predicted before any modality is read.
    terms : sequence of Term
        The addends; `str(term)` is `"audio × text"`.
    link : {"identity", "logit", "softmax"}
        What turns the raw prediction into the reported one.
    outputs : sequence of str
        One name per raw output: the classes, or the target.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfuse import Decomposition
    >>> from sklearn_mmfuse._terms import Term
    >>> parts = Decomposition(np.array([[[1.0], [0.5]], [[3.0], [-0.5]]]), np.array([10.0]),
    ...                       [Term(["audio"]), Term(["text", "audio"])], "identity", ["y"])
    >>> parts
    <Decomposition of 2 samples: audio, audio × text>
    >>> parts.sum().ravel()
    array([11.5, 12.5])
    >>> parts.to_frame()
       audio  audio × text  bias
    0    1.0           0.5  10.0
    1    3.0          -0.5  10.0
    """

    values: NDArray[np.float64]
    bias: NDArray[np.float64]
    terms: tuple[Term, ...]
    link: str
    outputs: tuple[str, ...]

    def __init__(
        self,
        values: ArrayLike,
        bias: ArrayLike,
        terms: Sequence[Term],
        link: str,
        outputs: Sequence[Any],
    ) -> None:
        values, bias = np.asarray(values, dtype=np.float64), np.asarray(bias, dtype=np.float64)
        expected = (len(terms), len(outputs))
        if values.ndim != 3 or values.shape[1:] != expected or bias.shape != expected[1:]:
            raise ValueError(
                f"A decomposition into {expected[0]} terms and {expected[1]} outputs needs values "
                f"of shape (n_samples, {expected[0]}, {expected[1]}) and a bias of shape "
                f"({expected[1]},); got {values.shape} and {bias.shape}."
            )
        if link not in LINKS:
            raise ValueError(f"link must be one of {sorted(LINKS)}; got {link!r}.")
        for name, value in (
            ("values", values),
            ("bias", bias),
            ("terms", tuple(terms)),
            ("link", link),
            ("outputs", tuple(str(output) for output in outputs)),
        ):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        names = ", ".join(str(term) for term in self.terms)
        outputs = f", {len(self.outputs)} outputs" if len(self.outputs) > 1 else ""
        return f"<Decomposition of {len(self)} samples{outputs}: {names}>"

    def sum(self) -> NDArray[np.float64]:
        """Return the raw prediction, `(n_samples, n_outputs)`."""
        return self.values.sum(axis=1) + self.bias

    def predict(self) -> NDArray[np.float64]:
        """Return the prediction on its reported scale: class probabilities, or the target."""
        return np.asarray(LINKS[self.link].inverse(self.sum()), dtype=np.float64)

    def by_order(self) -> dict[int, NDArray[np.float64]]:
        """Return, for each order, the sum of its terms, `(n_samples, n_outputs)`; no bias."""
        orders = np.array([term.order for term in self.terms])
        return {
            int(order): self.values[:, orders == order].sum(axis=1) for order in np.unique(orders)
        }

    def center(self, sample_weight: ArrayLike | None = None) -> Decomposition:
        """Give every term mean zero over these samples and move the means into the bias.

        The sum does not change. Estimators return contributions centered over their training rows.
        """
        weights = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        means = np.average(self.values, axis=0, weights=weights)
        return replace(self, values=self.values - means, bias=self.bias + means.sum(axis=0))

    def to_frame(self, index: Any = None) -> pd.DataFrame:
        """Return a row per sample and a column per term, and one for the bias; rows add up.

        With several outputs the columns have two levels, `(output, term)`.
        """
        columns = [str(term) for term in self.terms] + ["bias"]
        bias = np.broadcast_to(self.bias, (len(self), 1, len(self.outputs)))
        table = np.concatenate([self.values, bias], axis=1)  # (n, terms + 1, outputs)
        if len(self.outputs) == 1:
            return pd.DataFrame(table[:, :, 0], columns=columns, index=index)
        names = pd.MultiIndex.from_product([self.outputs, columns], names=["output", "term"])
        flat = table.transpose(0, 2, 1).reshape(len(self), -1)
        return pd.DataFrame(flat, columns=names, index=index)
