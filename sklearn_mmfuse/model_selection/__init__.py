"""Searches that train many candidates at once."""

from sklearn_mmfuse.model_selection._search import MultimodalSearchCV

__all__ = ["MultimodalSearchCV"]
