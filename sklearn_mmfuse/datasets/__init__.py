"""Multimodal data sets, real ones and ones whose true decomposition is known."""

from sklearn_mmfuse.datasets._breast_cancer import load_breast_cancer_modalities
from sklearn_mmfuse.datasets._instagram import fetch_instagram_intent, paper_folds

__all__ = ["fetch_instagram_intent", "load_breast_cancer_modalities", "paper_folds"]
