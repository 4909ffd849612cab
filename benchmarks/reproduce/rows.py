"""A row of a paper beside what was found here, and what that says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BEATS, MEETS, NEAR, BELOW = "beats", "meets", "within one s.d.", "below"
HOLDS, FAILS = "holds", "does not hold"
NOT_AT_HAND = "data not at hand"
NOT_RUN = "not run yet"


@dataclass(frozen=True)
class Row:
    """What is compared, the paper's figure, ours, the verdict, and why where it falls short."""

    what: str
    paper: str
    ours: str
    verdict: str
    because: str = ""


def mean_sd(values: Sequence[float], digits: int = 3) -> str:
    return f"{np.mean(values):.{digits}f} ({np.std(values):.{digits}f})"


def figure(what: str, paper: float, values: Sequence[float], because: str = "") -> Row:
    """Compare a mean over folds or seeds with the paper's, higher being better."""
    return compare(
        what, paper, (float(np.mean(values)), float(np.std(values)), len(values)), because
    )


def compare(what: str, paper: float, found: tuple[float, float, int], because: str = "") -> Row:
    """Compare a mean, of this s.d. over so many folds or seeds; `because` of a shortfall.

    To the paper's three digits. "beats" is by more than a standard error of ours.
    """
    mean, spread, n = found
    gain = round(mean, 3) - paper
    if gain >= 0:
        verdict, because = BEATS if gain > spread / np.sqrt(n) else MEETS, ""
    else:
        verdict = NEAR if -gain <= spread else BELOW
    return Row(what, f"{paper:.3f}", f"{mean:.3f} ({spread:.3f})", verdict, because)


def claim(what: str, paper: str, ours: str, *, holds: bool, because: str = "") -> Row:
    """Say whether what a paper says in words or pictures is found here."""
    return Row(what, paper, ours, HOLDS if holds else FAILS, "" if holds else because)


def not_at_hand(what: str, loader: str) -> Row:
    """Name rows whose data cannot be had without asking or a download, and what would read it."""
    return Row(what, "", "", NOT_AT_HAND, loader)
