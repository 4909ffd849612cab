"""Made-up data in which what matters differs from sample to sample."""

from __future__ import annotations

from numbers import Integral

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from sklearn_mmfuse._data import MultimodalData
from sklearn_mmfuse._decomposition import Decomposition
from sklearn_mmfuse._random import Seed, generator
from sklearn_mmfuse._terms import Term
from sklearn_mmfuse.datasets._interactions import check_count, check_noise

__all__ = ["make_switching"]

HEIGHT = 3.0  # of the feature that tells a label


def make_switching(
    n_samples: int = 1000,
    *,
    n_classes: int = 6,
    noise: float = 0.5,
    random_state: Seed = None,
) -> Bunch:
    """Make a context modality that says which of two others holds the label.

    "first" and "second" each show a label of their own; the sign of "context" says which of the
    two is the class. Without the context, no more than half of the signal is left.

    Parameters
    ----------
    n_samples : int, default=1000
        Rows.
    n_classes : int, default=6
        Classes, at least 2; each modality shows one as a feature of 3 instead of 0.
    noise : float, default=0.5
        Standard deviation of the noise on these features.
    random_state : int, RandomState or None, default=None
        Seeds the draws; None takes fresh entropy.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        `data` (MultimodalData: context (n, 1), first and second (n, n_classes)); `target`, the
        classes from 0; `relevant`, for each row the modality that holds it; `labels`, a DataFrame
        of what both show; `contributions`, the true Decomposition of the indicators of the
        classes; `DESCR`.

    Examples
    --------
    >>> from sklearn_mmfuse.datasets import make_switching
    >>> toy = make_switching(100, random_state=0)
    >>> toy.contributions
    <Decomposition of 100 samples, 6 outputs: first, second, context × first, context × second>
    >>> bool((toy.contributions.sum().argmax(axis=1) == toy.target).all())
    True
    """
    check_count("n_samples", n_samples)
    if isinstance(n_classes, bool) or not isinstance(n_classes, Integral) or n_classes < 2:
        raise ValueError(f"n_classes must be an integer of at least 2; got {n_classes!r}.")
    check_noise(noise)
    rng = generator(random_state)
    context = rng.normal(size=(n_samples, 1))
    which = (context[:, 0] <= 0).astype(np.intp)
    labels = rng.randint(n_classes, size=(n_samples, 2))
    shown = np.eye(n_classes)[labels]
    features = HEIGHT * shown + noise * rng.normal(size=shown.shape)
    names = ["first", "second"]
    # 1[y = j] = 1 / J + (a + b) / 2 + s (a - b) / 2, with a and b the centered indicators of both.
    alone = (shown - 1.0 / n_classes).transpose(1, 0, 2) / 2
    sign = (1.0 - 2.0 * which)[:, np.newaxis]
    addends = [*alone, sign * alone[0], -sign * alone[1]]
    terms = [*(Term([name]) for name in names), *(Term(["context", name]) for name in names)]
    return Bunch(
        data=MultimodalData(context=context, first=features[:, 0], second=features[:, 1]),
        target=labels[np.arange(n_samples), which],
        relevant=np.array(names)[which],
        labels=pd.DataFrame(labels, columns=names),
        contributions=Decomposition(
            np.stack(addends, axis=1),
            np.full(n_classes, 1.0 / n_classes),
            terms,
            "identity",
            range(n_classes),
        ),
        DESCR=(
            f"{n_classes} classes; the class is the label that 'first' shows where context > 0, "
            "and the one that 'second' shows elsewhere."
        ),
    )
