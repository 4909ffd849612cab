"""Multimodal data sets, real ones and ones whose true decomposition is known."""

from sklearn_mmfuse.datasets._affect import load_affect
from sklearn_mmfuse.datasets._breast_cancer import load_breast_cancer_modalities
from sklearn_mmfuse.datasets._instagram import fetch_instagram_intent, paper_folds
from sklearn_mmfuse.datasets._interactions import (
    make_additive,
    make_bimodal,
    make_redundant,
    make_redundant_interactions,
    make_trimodal,
)
from sklearn_mmfuse.datasets._switching import make_switching
from sklearn_mmfuse.datasets._synchronous import make_synchronous
from sklearn_mmfuse.datasets._synthgene import make_synthgene, make_synthgene_tri

__all__ = [
    "fetch_instagram_intent",
    "load_affect",
    "load_breast_cancer_modalities",
    "make_additive",
    "make_bimodal",
    "make_redundant",
    "make_redundant_interactions",
    "make_switching",
    "make_synchronous",
    "make_synthgene",
    "make_synthgene_tri",
    "make_trimodal",
    "paper_folds",
]
