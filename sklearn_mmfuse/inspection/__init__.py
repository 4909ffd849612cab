"""Show what each modality and each interaction contributes."""

from sklearn_mmfuse.inspection._decomposition_display import DecompositionDisplay
from sklearn_mmfuse.inspection._effects_display import EffectsDisplay
from sklearn_mmfuse.inspection._importance import modality_importance
from sklearn_mmfuse.inspection._modality_effects import emap, modality_effects
from sklearn_mmfuse.inspection._relevance_display import RelevanceDisplay
from sklearn_mmfuse.inspection._robustness import RobustnessDisplay, modality_robustness
from sklearn_mmfuse.inspection._routing_display import RoutingDisplay
from sklearn_mmfuse.inspection._separation import separation_error
from sklearn_mmfuse.inspection._total_correlation import total_correlation

__all__ = [
    "DecompositionDisplay",
    "EffectsDisplay",
    "RelevanceDisplay",
    "RobustnessDisplay",
    "RoutingDisplay",
    "emap",
    "modality_effects",
    "modality_importance",
    "modality_robustness",
    "separation_error",
    "total_correlation",
]
