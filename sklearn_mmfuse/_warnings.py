"""Warnings that point at the user's own line, however deep they arise."""

from __future__ import annotations

import sys
import warnings
from types import FrameType

__all__ = ["warn_user"]

# Where the user's code is not: here, and in what calls us on their behalf.
INSIDE = ("sklearn_mmfuse.", "sklearn.", "joblib.", "dask.", "distributed.")
THREADS = ("multiprocessing.", "concurrent.", "threading")  # below which there is no user


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, and name the line of the user's that led here.

    Examples
    --------
    >>> import warnings
    >>> from sklearn_mmfuse._warnings import warn_user
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn_user("Mind the gap.")
    >>> str(caught[0].message)
    'Mind the gap.'
    """
    level, frame = 1, sys._getframe().f_back
    while frame is not None and _name(frame).startswith(INSIDE):
        level, frame = level + 1, frame.f_back
    below = frame is not None and _name(frame).startswith(THREADS)
    warnings.warn(message, category, stacklevel=1 if below else level + 1)


def _name(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))
