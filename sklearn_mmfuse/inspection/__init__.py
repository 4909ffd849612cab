"""Show what each modality and each interaction contributes."""

from sklearn_mmfuse.inspection._decomposition_display import DecompositionDisplay
from sklearn_mmfuse.inspection._relevance_display import RelevanceDisplay

__all__ = ["DecompositionDisplay", "RelevanceDisplay"]
