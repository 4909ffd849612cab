"""Late fusion: one net per modality, whose outputs are added."""

from __future__ import annotations

from sklearn_mmfuse.nets._fusions._base import PerceptronFusion

__all__ = ["LateFusion"]


class LateFusion(PerceptronFusion):
    """A perceptron of its own for each modality; predictions are added up.

    The additive baseline of all five papers: the only fusion that decomposes by itself.
    """

    additive = True
