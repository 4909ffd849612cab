"""Early fusion: one net on the modalities side by side."""

from __future__ import annotations

from sklearn_mmfuse.nets._fusions._base import PerceptronFusion

__all__ = ["ConcatFusion"]


class ConcatFusion(PerceptronFusion):
    """One perceptron on the concatenation of all modalities, sequences encoded each on its own."""
