"""Routing coefficients as arrays, frames and summaries."""

import numpy as np
import pandas as pd
import pytest

from sklearn_mmfuse import RoutingCoefficients
from sklearn_mmfuse._terms import interaction_terms

TERMS = interaction_terms(["a", "t"], 2)
CONCEPTS = ["sad", "happy", "calm"]


def make(n=50, seed=0):
    rng = np.random.default_rng(seed)
    return RoutingCoefficients(
        rng.uniform(size=(n, 3)), rng.dirichlet([5, 1, 1], size=(n, 3)), TERMS, CONCEPTS
    )


def test_rows_and_frames():
    routed = make()
    assert repr(routed) == "<RoutingCoefficients of 50 samples: 3 terms, 3 concepts>"
    assert len(routed[[1, 4]]) == 2
    np.testing.assert_array_equal(routed[3].r, routed.r[3:4])
    frame = routed.to_frame(index=range(100, 150))
    np.testing.assert_array_equal(frame["happy", "a × t"], routed.pr[:, 2, 1])
    np.testing.assert_array_equal(routed.to_frame("r")["sad", "a"], routed.r[:, 0, 0])
    assert list(routed.to_frame("p").columns) == ["a", "t", "a × t"]
    with pytest.raises(ValueError, match=r"one of \['p', 'r', 'pr'\]; got 'q'"):
        routed.to_frame("q")


def test_a_summary_is_mean_interval_and_comparison_with_uniform():
    routed = make(400)
    table = routed.summary()
    values = routed.r[:, 1, 2]
    reach = 1.959964 * values.std(ddof=1) / np.sqrt(400)  # equation 4
    row = table.loc["r", "t", "calm"]
    assert row["mean"] == pytest.approx(values.mean())
    assert row["low"] == pytest.approx(values.mean() - reach, rel=1e-6)
    assert row["high"] == pytest.approx(values.mean() + reach, rel=1e-6)
    np.testing.assert_array_equal(table.loc["r"].excludes_uniform, True)  # 5/7, 1/7, 1/7
    assert table.loc["p"].excludes_uniform.isna().all()
    assert table.loc["p"].index.get_level_values("concept").unique().tolist() == [""]
    narrow = routed.summary(confidence=0.5)
    assert (narrow["high"] - narrow["low"] < table["high"] - table["low"]).all()


@pytest.mark.parametrize("n", [2, 50, 55, 57, 60])
@pytest.mark.parametrize("n_concepts", [3, 5, 6, 7])
def test_uniform_routing_is_not_taken_for_anything_else(n, n_concepts):
    p = np.random.default_rng(0).uniform(size=(n, 3))
    r = np.full((n, 3, n_concepts), 1 / n_concepts)
    table = RoutingCoefficients(p, r, TERMS, range(n_concepts)).summary()
    assert not table.loc[["r", "pr"]].excludes_uniform.any()
    r[:, 0, 0] += 0.01  # and p r is compared with its own uniform value, p / J
    r[:, 0, 1] -= 0.01
    found = RoutingCoefficients(p, r, TERMS, range(n_concepts)).summary().excludes_uniform
    assert found["pr", "a"].tolist() == [True, True] + [False] * (n_concepts - 2) or n == 2
    assert found["r", "a"].tolist() == [True, True] + [False] * (n_concepts - 2)


def test_intervals_stay_between_zero_and_one():
    table = make(4).summary(groups=[0, 0, 1, 1])
    assert (table["low"] >= 0).all()
    assert (table["high"] <= 1).all()


def test_what_is_absent_does_not_count():
    routed = make(40)
    p, r = routed.p.copy(), routed.r.copy()
    p[:10, 0], r[:10, 0] = np.nan, np.nan
    holes = RoutingCoefficients(p, r, TERMS, CONCEPTS).summary()
    rest = routed[10:].summary()
    pd.testing.assert_frame_equal(
        holes.xs("a", level="term"), rest.xs("a", level="term"), check_exact=False
    )
    p[:, 0], r[:, 0] = np.nan, np.nan
    none = RoutingCoefficients(p, r, TERMS, CONCEPTS).summary().xs("a", level="term")
    assert none["mean"].isna().all()
    assert none["excludes_uniform"].isna().all()


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"3 terms and 3 concepts need p .* got \(5, 2\)"):
        RoutingCoefficients(np.ones((5, 2)), np.ones((5, 3, 3)), TERMS, CONCEPTS)
    with pytest.raises(ValueError, match=r"got \(\) and \(\)"):
        RoutingCoefficients(1.0, 2.0, TERMS, CONCEPTS)
    for params, message in (
        ({"groups": [1, 2]}, "one entry for each of the 50 samples"),
        ({"groups": [None, *"a" * 49]}, "missing entries"),
        ({"sample_weight": [1, 2]}, r"each of the 50 samples.* got shape \(2,\)"),
        ({"sample_weight": -np.ones(50)}, "smallest -1"),
        ({"sample_weight": np.full(50, np.nan)}, "number >= 0"),
        ({"confidence": 95}, "confidence must be between 0 and 1"),
    ):
        with pytest.raises(ValueError, match=message):
            make().summary(**params)
    with pytest.raises(ValueError, match="no samples to summarize"):
        make()[[]].summary()
