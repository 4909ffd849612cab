"""What is fitted: sizes, data, and how many multiplications a step needs at least."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np

NAMES = ("text", "audio", "video")
FEATURES = ((18, 8, 49), (768, 88, 100), (512, 768))
SIZES = (300, 2000, 20000)
BATCHES = ("32", "256", "full")
HIDDEN = 64
N_TEST = 2000


@dataclass(frozen=True)
class Case:
    """One setting; it makes its own data, so that a fresh process can be sent a setting alone."""

    features: tuple[int, ...]
    n: int
    batch: str
    epochs: int
    device: str = "cpu"

    @property
    def widths(self):
        return dict(zip(NAMES, self.features, strict=False))

    @property
    def batch_size(self):
        return self.n if self.batch == "full" else min(int(self.batch), self.n)

    @property
    def subsets(self):
        """The modalities of each term, as in an MRO model of the full order."""
        names = sorted(self.widths)
        orders = range(1, len(names) + 1)
        return [subset for order in orders for subset in combinations(names, order)]

    @property
    def label(self):
        features = "-".join(map(str, self.features))
        return f"{features} features, n={self.n}, batch {self.batch}"

    @property
    def flops_per_row(self):
        """Multiplications and additions of a training step, per row of the batch.

        The first products need a forward pass and the gradient of their weights, as the input has
        no gradient; the read-outs need that of what they read as well. Nothing elementwise.
        """
        first = sum(self.widths[name] for subset in self.subsets for name in subset) * HIDDEN
        readouts = len(self.subsets) * HIDDEN
        return 2 * (2 * first + 3 * readouts)

    def with_(self, **changes):
        return replace(self, **changes)

    def make(self):
        return Problem(self)


class Problem:
    """The data of a case: two classes, an additive part and a product of two modalities."""

    def __init__(self, case):
        self.case = case
        rng = np.random.default_rng(0)
        self.X, self.y = self._draw(rng, case.n)
        self.X_test, self.y_test = self._draw(rng, N_TEST)

    def _draw(self, rng, n):
        X = {m: rng.standard_normal((n, d), dtype=np.float32) for m, d in self.case.widths.items()}
        first, second = X["text"], X.get("video", X["text"])
        y = first[:, 0] + 1.5 * second[:, 1] * X["audio"][:, 0] > 0
        return X, y.astype(np.int64)

    @cached_property
    def side_by_side(self):
        return np.hstack(list(self.X.values()))

    @cached_property
    def test_side_by_side(self):
        return np.hstack(list(self.X_test.values()))
