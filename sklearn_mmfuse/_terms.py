"""What a prediction is made of: a set of modalities, and the part that it plays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Literal

__all__ = ["Term", "check_max_order", "interaction_terms", "subset_terms"]

TermKind = Literal["interaction", "unique", "redundant"]
SEPARATOR = " × "
BIAS = "bias"

# Of terms with a net each: all subsets of nine modalities are 511.
MAX_TERMS = 512


@dataclass(frozen=True, order=True, init=False)
class Term:
    """One addend of a prediction.

    Parameters
    ----------
    modalities : iterable of str
        The modalities that the addend reads; kept sorted, so that a term does not depend on the
        order in which modalities were named.
    kind : {"interaction", "unique", "redundant"}, default="interaction"
        The part it plays. A single modality's own effect is an interaction of order 1.
    partner : iterable of str, default=()
        Of a redundant addend, the modalities that tell the same; they are not read.

    Examples
    --------
    >>> from sklearn_mmfuse._terms import Term
    >>> term = Term(["text", "audio"])
    >>> str(term), term.order
    ('audio × text', 2)
    >>> str(Term(["text"], "redundant", ["audio"]))
    'text (redundant with audio)'
    """

    modalities: tuple[str, ...]
    kind: TermKind
    partner: tuple[str, ...]

    def __init__(
        self,
        modalities: Iterable[str],
        kind: TermKind = "interaction",
        partner: Iterable[str] = (),
    ) -> None:
        names, partner = tuple(sorted(modalities)), tuple(sorted(partner))
        if not names or len(set(names)) != len(names):
            raise ValueError(f"A term needs at least one modality, each once; got {names}.")
        if taken := [name for name in names if name == BIAS or SEPARATOR in name]:
            raise ValueError(
                f"A modality cannot be called {taken[0]!r}: parts of a prediction have such names, "
                f"{BIAS!r} and 'audio{SEPARATOR}text'; rename it."
            )
        if partner and (kind != "redundant" or partner == names):
            raise ValueError(
                f"Only a redundant term has a partner, other than itself; got {names}, {kind!r}, "
                f"{partner}."
            )
        object.__setattr__(self, "modalities", names)
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "partner", partner)

    @property
    def order(self) -> int:
        """How many modalities the term reads."""
        return len(self.modalities)

    def __str__(self) -> str:
        label = SEPARATOR.join(self.modalities)
        if self.kind == "interaction":
            return label
        partner = f" with {SEPARATOR.join(self.partner)}" if self.partner else ""
        return f"{label} ({self.kind}{partner})"


def interaction_terms(modalities: Sequence[str], max_order: int) -> tuple[Term, ...]:
    """All subsets of 1 to `max_order` modalities, by order and then in the order of `modalities`.

    Examples
    --------
    >>> from sklearn_mmfuse._terms import interaction_terms
    >>> [str(term) for term in interaction_terms(["a", "v", "t"], 2)]
    ['a', 'v', 't', 'a × v', 'a × t', 't × v']
    """
    return tuple(
        Term(subset)
        for order in range(1, max_order + 1)
        for subset in combinations(modalities, order)
    )


def check_max_order(
    max_order: int, modalities: Sequence[str], *, what: str = "interactions", advice: str = ""
) -> None:
    """Refuse an order of more modalities than there are."""
    n = len(modalities)
    if max_order > n:
        raise ValueError(
            f"max_order={max_order} asks for {what} of {max_order} modalities, but X has {n} "
            f"({', '.join(modalities)}); use max_order <= {n}{advice}."
        )


def subset_terms(modalities: Sequence[str], max_order: int | None) -> tuple[Term, ...]:
    """Return a term per subset of up to `max_order` modalities, of all when it is None.

    Raises
    ------
    ValueError
        When there are fewer modalities than `max_order`, or too many subsets.

    Examples
    --------
    >>> from sklearn_mmfuse._terms import subset_terms
    >>> [str(term) for term in subset_terms(["a", "v"], None)]
    ['a', 'v', 'a × v']
    """
    order = len(modalities) if max_order is None else max_order
    check_max_order(order, modalities, advice=", or None")
    n_terms = sum(comb(len(modalities), size) for size in range(1, order + 1))
    if n_terms > MAX_TERMS:
        raise ValueError(
            f"{len(modalities)} modalities have {n_terms} subsets of up to {order}, a net each, "
            f"more than {MAX_TERMS}; use a smaller max_order, e.g. max_order=2."
        )
    return interaction_terms(modalities, order)
