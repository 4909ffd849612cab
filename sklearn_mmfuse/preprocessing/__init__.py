"""From a data frame, from modalities or from text to what estimators read."""

from sklearn_mmfuse.preprocessing._mapped import to_memmap
from sklearn_mmfuse.preprocessing._modalities import (
    FlattenModalities,
    ModalityColumnTransformer,
    PerTimestep,
    WherePresent,
)
from sklearn_mmfuse.preprocessing._tokens import TokenSequences, spread_over_tokens

__all__ = [
    "FlattenModalities",
    "ModalityColumnTransformer",
    "PerTimestep",
    "TokenSequences",
    "WherePresent",
    "spread_over_tokens",
    "to_memmap",
]
