"""Made-up data whose true contributions are known: the papers' sanity checks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils import Bunch

from sklearn_mmfuse._data import MultimodalData
from sklearn_mmfuse._decomposition import Decomposition
from sklearn_mmfuse._random import Seed, generator
from sklearn_mmfuse._terms import Term

__all__ = [
    "make_additive",
    "make_bimodal",
    "make_redundant",
    "make_redundant_interactions",
    "make_trimodal",
]

FloatArray = NDArray[np.float64]

MODALITIES = ("acoustic", "text", "vision")


def make_additive(
    n_samples: int = 1000,
    *,
    n_features: int = 1,
    noise: float = 0.0,
    random_state: Seed = None,
) -> Bunch:
    """Make y = x_acoustic + x_text + x_vision: nothing needs two modalities.

    The unimodal sanity check of Woertwein et al. (2022, section 7).

    Parameters
    ----------
    n_samples : int, default=1000
        Rows.
    n_features : int, default=1
        Features of each modality, all N(0, 1); only the first one matters.
    noise : float, default=0.0
        Standard deviation of the noise added to the target.
    random_state : int, RandomState or None, default=None
        Seeds the draws; None takes fresh entropy.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        `data` (MultimodalData), `target` (n_samples,), `contributions` (the true Decomposition:
        its sum is the target without noise) and `DESCR`.

    References
    ----------
    Woertwein, Sheeber, Allen, Cohn and Morency. Beyond Additive Fusion: Learning Non-Additive
    Multimodal Interactions. Findings of EMNLP 2022.

    Examples
    --------
    >>> from sklearn_mmfuse.datasets import make_additive
    >>> toy = make_additive(200, random_state=0)
    >>> toy.contributions
    <Decomposition of 200 samples: acoustic, text, vision>
    >>> bool((toy.contributions.sum().ravel() == toy.target).all())
    True
    """
    return _make_products(
        "y = x_acoustic + x_text + x_vision", 1, n_samples, n_features, noise, random_state
    )


def make_bimodal(
    n_samples: int = 1000,
    *,
    n_features: int = 1,
    noise: float = 0.0,
    random_state: Seed = None,
) -> Bunch:
    """Make y = x_text x_vision + x_text x_acoustic + x_vision x_acoustic: all pairs, nothing else.

    The bimodal sanity check of Woertwein et al. (2022, section 7).

    Parameters
    ----------
    n_samples, n_features, noise, random_state
        As in :func:`make_additive`.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        As in :func:`make_additive`.

    Examples
    --------
    >>> from sklearn_mmfuse.datasets import make_bimodal
    >>> make_bimodal(200, random_state=0).contributions
    <Decomposition of 200 samples: acoustic × text, acoustic × vision, text × vision>
    """
    return _make_products(
        "y = x_text x_vision + x_text x_acoustic + x_vision x_acoustic",
        2,
        n_samples,
        n_features,
        noise,
        random_state,
    )


def make_trimodal(
    n_samples: int = 1000,
    *,
    n_features: int = 1,
    noise: float = 0.0,
    random_state: Seed = None,
) -> Bunch:
    """Make y = x_acoustic x_text x_vision: no pair of modalities tells anything.

    Parameters
    ----------
    n_samples, n_features, noise, random_state
        As in :func:`make_additive`.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        As in :func:`make_additive`.

    Examples
    --------
    >>> from sklearn_mmfuse.datasets import make_trimodal
    >>> make_trimodal(200, random_state=0).contributions
    <Decomposition of 200 samples: acoustic × text × vision>
    """
    return _make_products(
        "y = x_acoustic x_text x_vision", 3, n_samples, n_features, noise, random_state
    )


def _make_products(
    formula: str, order: int, n_samples: int, n_features: int, noise: float, random_state: Seed
) -> Bunch:
    """Make the sum of all products of `order` modalities' first features."""
    check_count("n_samples", n_samples)
    check_count("n_features", n_features)
    rng = generator(random_state)
    data = {name: rng.normal(size=(n_samples, n_features)) for name in MODALITIES}
    addends = {
        Term(subset): np.prod([data[name][:, 0] for name in subset], axis=0)
        for subset in combinations(MODALITIES, order)
    }
    descr = f"{formula}\n\nx is the first feature of a modality; all features are N(0, 1)."
    return _bunch(data, addends, noise, rng, descr)


def make_redundant(
    n_samples: int = 1000,
    *,
    n_modalities: int = 3,
    noise: float = 0.0,
    random_state: Seed = None,
) -> Bunch:
    """Make unique and pairwise redundant contributions (SMURF, eqs. 16-19).

    y = u_A + u_B + u_C + r_AB + r_AC + r_BC, all N(0, 1); A holds u_A, r_AB and r_AC, B and C in
    the same way.

    Parameters
    ----------
    n_samples : int, default=1000
        Rows.
    n_modalities : {2, 3}, default=3
        2 hides modality C while the target stays: r_AC is then unique to A, r_BC to B, and u_C
        cannot be predicted.
    noise : float, default=0.0
        Standard deviation of the noise added to the target.
    random_state : int, RandomState or None, default=None
        Seeds the draws; None takes fresh entropy.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        `data`; `target`; `contributions`, with terms of kind "unique" and "redundant"; `latents`, a
        DataFrame of u and r; `DESCR`. Without noise the target is the sum of the contributions, and
        of u_C where C is hidden.

    References
    ----------
    Woertwein, Allen, Cohn and Morency. SMURF: Statistical Modality Uniqueness and Redundancy
    Factorization. ICMI 2024.

    Examples
    --------
    >>> from sklearn_mmfuse.datasets import make_redundant
    >>> make_redundant(200, n_modalities=2, random_state=0).contributions
    <Decomposition of 200 samples: A (unique), B (unique), A × B (redundant)>
    """
    check_count("n_samples", n_samples)
    if not isinstance(n_modalities, Integral) or n_modalities not in (2, 3):
        raise ValueError(f"n_modalities must be 2 or 3; got {n_modalities!r}.")
    rng = generator(random_state)
    names = ("A", "B", "C")
    pairs = list(combinations(names, 2))
    columns = [f"u_{name}" for name in names] + [f"r_{a}{b}" for a, b in pairs]
    latents = pd.DataFrame(rng.normal(size=(n_samples, 6)), columns=columns)
    data, addends = {}, {}
    present = names[:n_modalities]
    for name in present:
        shared = [pair for pair in pairs if name in pair]
        data[name] = latents[[f"u_{name}", *(f"r_{a}{b}" for a, b in shared)]].to_numpy()
        # What is shared with a hidden modality is unique among those that are left.
        alone = [f"r_{a}{b}" for a, b in shared if not {a, b} <= set(present)]
        addends[Term([name], "unique")] = latents[[f"u_{name}", *alone]].sum(axis=1).to_numpy()
    for pair in pairs:
        if set(pair) <= set(present):
            addends[Term(pair, "redundant")] = latents[f"r_{pair[0]}{pair[1]}"].to_numpy()
    descr = (
        "y = u_A + u_B + u_C + r_AB + r_AC + r_BC, all N(0, 1).\n\nEach modality holds its u and "
        "the two r that carry its name."
    )
    hidden: FloatArray | float = 0.0
    if n_modalities == 2:
        hidden = latents["u_C"].to_numpy()
        descr += " C is hidden: u_C is noise."
    return _bunch(data, addends, noise, rng, descr, latents=latents, hidden=hidden)


def make_redundant_interactions(
    n_samples: int = 1000, *, noise: float = 0.0, random_state: Seed = None
) -> Bunch:
    """Make one unique and one redundant interaction (SMURF, eqs. 32 and 33).

    y = u_A u_B + u_C r_AB, all N(0, 1); A = [u_A, r_AB], B = [u_B, r_AB], C = [u_C]. Only A and B
    together tell u_A u_B; A and C tell u_C r_AB, and so do B and C.

    Parameters
    ----------
    n_samples : int, default=1000
        Rows.
    noise : float, default=0.0
        Standard deviation of the noise added to the target.
    random_state : int, RandomState or None, default=None
        Seeds the draws; None takes fresh entropy.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        As in :func:`make_redundant`.

    Examples
    --------
    >>> from sklearn_mmfuse.datasets import make_redundant_interactions
    >>> make_redundant_interactions(200, random_state=0).contributions
    <Decomposition of 200 samples: A × B (unique), A × B × C (redundant)>
    """
    check_count("n_samples", n_samples)
    rng = generator(random_state)
    columns = ["u_A", "u_B", "u_C", "r_AB"]
    latents = pd.DataFrame(rng.normal(size=(n_samples, 4)), columns=columns)
    u_a, u_b, u_c, r_ab = latents.to_numpy().T
    data = {
        "A": np.column_stack([u_a, r_ab]),
        "B": np.column_stack([u_b, r_ab]),
        "C": u_c[:, np.newaxis],
    }
    addends = {
        Term(["A", "B"], "unique"): u_a * u_b,
        Term(["A", "B", "C"], "redundant"): u_c * r_ab,
    }
    descr = "y = u_A u_B + u_C r_AB, all N(0, 1); A = [u_A, r_AB], B = [u_B, r_AB], C = [u_C]."
    return _bunch(data, addends, noise, rng, descr, latents=latents)


def _bunch(
    data: dict[str, FloatArray],
    addends: dict[Term, FloatArray],
    noise: float,
    rng: np.random.RandomState,
    descr: str,
    *,
    hidden: FloatArray | float = 0.0,
    **more: Any,
) -> Bunch:
    """Return the data with the target that these addends make."""
    check_noise(noise)
    contributions = as_decomposition(list(addends.values()), [0.0], list(addends), "identity", "y")
    target = contributions.sum()[:, 0] + hidden
    if noise:
        target = target + noise * rng.normal(size=len(target))
    return Bunch(
        data=MultimodalData(data), target=target, contributions=contributions, DESCR=descr, **more
    )


def as_decomposition(
    addends: Sequence[FloatArray], bias: Sequence[float], terms: Sequence[Term], link: str, y: str
) -> Decomposition:
    """Return the decomposition of one output from one array per term."""
    return Decomposition(np.stack(addends, axis=1)[:, :, np.newaxis], bias, terms, link, [y])


def check_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} must be a positive integer; got {value!r}.")


def check_noise(noise: float) -> None:
    if isinstance(noise, bool) or not isinstance(noise, Real) or not 0 <= noise < np.inf:
        raise ValueError(f"noise must be a standard deviation, 0 or more; got {noise!r}.")
