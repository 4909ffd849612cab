"""Constraints on constructor parameters; the only importer of scikit-learn's private validator."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

__all__ = [
    "FRACTION",
    "NON_NEGATIVE",
    "POSITIVE",
    "POSITIVE_INT",
    "PROBABILITY",
    "at_least",
    "choice",
    "has_methods",
    "real_from",
    "validates_own_params",
    "validates_params",
    "widths_of",
]

POSITIVE_INT = Interval(Integral, 1, None, closed="left")
NON_NEGATIVE = Interval(Real, 0, None, closed="left")
POSITIVE = Interval(Real, 0, None, closed="neither")
FRACTION = Interval(Real, 0, 1, closed="neither")
PROBABILITY = Interval(Real, 0, 1, closed="left")


def at_least(low: int) -> Interval:
    """Return the constraint "an integer of at least `low`"."""
    return Interval(Integral, low, None, closed="left")


def real_from(low: float) -> Interval:
    """Return the constraint "a finite number of at least `low`"."""
    return Interval(Real, low, None, closed="left")


def choice(*options: str) -> StrOptions:
    """Return the constraint "one of these strings"."""
    return StrOptions(set(options))


def has_methods(*names: str) -> HasMethods:
    """Return the constraint "an object with these methods"."""
    return HasMethods(list(names))


def validates_params(fit: Callable[..., Any]) -> Callable[..., Any]:
    """Check every constructor parameter before `fit` runs."""
    return _fit_context(prefer_skip_nested_validation=True)(fit)


def validates_own_params(fit: Callable[..., Any]) -> Callable[..., Any]:
    """Do so, and leave the estimators inside to check theirs."""
    return _fit_context(prefer_skip_nested_validation=False)(fit)


def widths_of(sizes: Any, name: str = "hidden_layer_sizes") -> tuple[int, ...]:
    """Return the widths of hidden layers; a number is that of a single one.

    Raises
    ------
    ValueError
        When one is not a positive integer.

    Examples
    --------
    >>> from sklearn_mmfuse._params import widths_of
    >>> widths_of(64), widths_of([128, 64]), widths_of(())
    ((64,), (128, 64), ())
    """
    widths = tuple(sizes) if np.iterable(sizes) else (sizes,)
    whole = all(isinstance(w, Integral) and not isinstance(w, bool) for w in widths)
    if not whole or min(widths, default=1) < 1:
        raise ValueError(f"{name} must hold positive integers, e.g. (64,); got {sizes!r}.")
    return tuple(int(width) for width in widths)
