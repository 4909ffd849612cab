"""What benchmarks say of figures: verdicts, and that every table of a paper has its rows."""

import inspect

import numpy as np
import pytest

from benchmarks.peers.scores import calibration_error, roc_auc
from benchmarks.peers.sets import DEVELOPMENT
from benchmarks.peers.summary import ranks
from benchmarks.peers.tuned import hold_out
from benchmarks.reproduce.rows import (
    BEATS,
    BELOW,
    FAILS,
    HOLDS,
    MEETS,
    NEAR,
    claim,
    figure,
)
from benchmarks.reproduce.tables import MORE, TABLES


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([0.90, 0.91], BEATS),
        ([0.8906, 0.8912], MEETS),
        ([0.87, 0.92], MEETS),
        ([0.85, 0.91], NEAR),
        ([0.880, 0.881], BELOW),
    ],
)
def test_a_figure_is_compared_to_the_papers_digits(values, verdict):
    row = figure("AUC", 0.891, values, because="why")
    assert row.verdict == verdict
    assert bool(row.because) == (verdict in (NEAR, BELOW))


def test_a_claim_holds_or_is_explained():
    assert claim("x", "high", "0.9", holds=True, because="why").verdict == HOLDS
    failed = claim("x", "high", "0.1", holds=False, because="why")
    assert (failed.verdict, failed.because) == (FAILS, "why")


@pytest.mark.parametrize("name", TABLES)
def test_every_table_has_rows_and_every_run_takes_the_options(name):
    assert all(row.what and row.verdict for row in TABLES[name].rows())
    for run in (*TABLES[name].runs, *MORE.values()):
        inspect.signature(run).bind(None)


def test_ranks_share_ties():
    results = {arm: {"a": {"score": s}} for arm, s in zip("xyz", (0.9, 0.9, 0.5), strict=True)}
    assert {arm: r["a"] for arm, r in ranks(results, list("xyz"), ["a"]).items()} == {
        "x": 1.5,
        "y": 1.5,
        "z": 3.0,
    }


def test_calibration_error_of_known_probabilities():
    sure = np.array([[0.8, 0.2]] * 10)
    y = np.array([0] * 6 + [1] * 4)  # right in 60 % where 80 % was said
    assert calibration_error(y, sure) == pytest.approx(0.2)
    assert roc_auc(np.array([0, 1, 1]), np.array([0.1, 0.5, 0.9])) == 1.0


def test_persons_stay_together_where_settings_are_chosen():
    problem = DEVELOPMENT["persons"](None)
    rows = np.arange(0, 600, 1)[100:]
    train, held_out = hold_out(problem, rows, seed=0)
    assert sorted([*train, *held_out]) == list(range(500))
    assert not set(problem.groups[rows[train]]) & set(problem.groups[rows[held_out]])
