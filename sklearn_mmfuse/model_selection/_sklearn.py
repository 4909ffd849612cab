"""What a search needs of scikit-learn's own searches, private there; imported here alone."""

from typing import Any

from sklearn.metrics._scorer import _BaseScorer, _MultimetricScorer, _PassthroughScorer
from sklearn.model_selection._search import BaseSearchCV
from sklearn.model_selection._validation import (
    _insert_error_scores as insert_error_scores,
)
from sklearn.model_selection._validation import (
    _score as score,
)
from sklearn.model_selection._validation import (
    _warn_or_raise_about_fit_failures as report_failures,
)
from sklearn.utils._metadata_requests import _routing_enabled as routing_enabled
from sklearn.utils.metaestimators import _safe_split as safe_split
from sklearn.utils.validation import _check_method_params as check_method_params
from sklearn.utils.validation import _num_samples as count_rows

__all__ = [
    "BaseSearchCV",
    "check_method_params",
    "count_rows",
    "insert_error_scores",
    "is_of_scikit_learn",
    "report_failures",
    "routing_enabled",
    "safe_split",
    "score",
]


def is_of_scikit_learn(scorer: Any) -> bool:
    """Return whether a scorer, or each of several, hands predictions to a metric."""
    if isinstance(scorer, _MultimetricScorer):
        return all(is_of_scikit_learn(own) for own in scorer._scorers.values())
    return isinstance(scorer, _BaseScorer | _PassthroughScorer)
