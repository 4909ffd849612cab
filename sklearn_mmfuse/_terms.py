"""What a prediction is made of: a set of modalities, and the part that it plays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

__all__ = ["Term", "interaction_terms"]

TermKind = Literal["interaction", "unique", "redundant"]
SEPARATOR = " × "


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

    Examples
    --------
    >>> from sklearn_mmfuse._terms import Term
    >>> term = Term(["text", "audio"])
    >>> str(term), term.order
    ('audio × text', 2)
    """

    modalities: tuple[str, ...]
    kind: TermKind

    def __init__(self, modalities: Iterable[str], kind: TermKind = "interaction") -> None:
        names = tuple(sorted(modalities))
        if not names or len(set(names)) != len(names):
            raise ValueError(f"A term needs at least one modality, each once; got {names}.")
        object.__setattr__(self, "modalities", names)
        object.__setattr__(self, "kind", kind)

    @property
    def order(self) -> int:
        """How many modalities the term reads."""
        return len(self.modalities)

    def __str__(self) -> str:
        label = SEPARATOR.join(self.modalities)
        return label if self.kind == "interaction" else f"{label} ({self.kind})"


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
