"""What a search wants of a fit: scores, as scikit-learn's searches have them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from sklearn_mmfuse.model_selection._sklearn import (
    check_method_params,
    count_rows,
    is_of_scikit_learn,
    safe_split,
    score,
)
from sklearn_mmfuse.model_selection._units import Fit, Job

__all__ = ["Scoring"]


@dataclass(frozen=True)
class Scoring:
    """Scores a fit; the same entries as scikit-learn's."""

    scorer: Any
    params: Mapping[str, Any]
    with_training_rows: bool

    @property
    def explains(self) -> bool:
        """Whether scores may look at explanations; scikit-learn's look at predictions alone."""
        return not is_of_scikit_learn(self.scorer)

    def __call__(self, job: Job, fit: Fit, /) -> dict[str, Any]:
        """Return scores and times."""
        X, y = safe_split(fit.model, job.X, job.y, fit.split.test, fit.split.train)
        result: dict[str, Any] = {"fit_error": fit.error, "fit_time": fit.seconds}
        result["n_test_samples"] = count_rows(X)
        start = time.perf_counter()
        result["test_scores"] = self._scores(job, fit, X, y, fit.split.test)
        result["score_time"] = time.perf_counter() - start
        if self.with_training_rows:
            X, y = safe_split(fit.model, job.X, job.y, fit.split.train)
            result["train_scores"] = self._scores(job, fit, X, y, fit.split.train)
        return result

    def _scores(self, job: Job, fit: Fit, X: Any, y: Any, rows: NDArray[Any]) -> Any:
        if fit.error is not None:
            names = getattr(self.scorer, "_scorers", None)  # of several metrics
            return job.error_score if names is None else dict.fromkeys(names, job.error_score)
        params = check_method_params(job.X, params=dict(self.params), indices=rows)
        return score(fit.model, X, y, self.scorer, params, job.error_score)
