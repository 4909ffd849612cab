"""How our time grows with rows, epochs and members; slopes of log-log fits."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.speed import measure
from benchmarks.speed.arms import ARMS
from benchmarks.speed.cases import FEATURES, Case
from benchmarks.speed.grids import DECAYS, N_FOLDS, RATES, find_multimodal_search, make_arms

BASE = {"n": 2000, "batch": "256", "epochs": 10}
SERIES = ("ours", "loop")
GRIDS = {5: (1, 1), 25: (5, 1), 125: (5, 5)}  # members: learning rates, decays


def run(options, save):
    """Return a row per axis; `save` is called with all rows after each."""
    rows = []
    for axis, points in (("n", options.scaling_sizes), ("epochs", options.scaling_epochs)):
        with measure.threads(1):
            rows.append(run_fits(axis, points, options))
        save(rows)
    if find_multimodal_search() is None:
        print("sklearn_mmfuse.model_selection.MultimodalSearchCV is missing: no cost of members")
        return rows
    rows.append(run_members(options))
    save(rows)
    return rows


def run_fits(axis, points, options):
    base = Case(FEATURES[0], device=options.device, **BASE)
    entries = {}
    for point in points:
        problem = base.with_(**{axis: point}).make()
        entries |= {(name, point): partial(ARMS[name], problem) for name in SERIES}
    for name in SERIES:
        measure.race({name: partial(ARMS[name], base.with_(epochs=1).make())}, 1, options.device)
    times, _ = measure.race(entries, options.scaling_repeats, options.device)
    return describe(axis, points, times, SERIES, base)


def run_members(options):
    base = Case(FEATURES[0], device=options.device, **BASE)
    name = "multimodal search"
    arm, points = make_arms(base.make())[name], options.scaling_members

    def search(point, repeat):
        n_rates, n_decays = GRIDS[point]
        return lambda: arm.fit(RATES[:n_rates], DECAYS[:n_decays], options.n_jobs)

    search(min(points), 0)()
    entries = {(name, point): partial(search, point) for point in points}
    times, _ = measure.race(entries, options.scaling_repeats, options.device)
    return {**describe("members", points, times, (name,), base), "folds": N_FOLDS}


def describe(axis, points, times, series, base):
    """Return medians and the slope of a straight line through their logarithms."""
    row = {
        "axis": axis,
        "points": list(points),
        "features": list(base.features),
        **{key: value for key, value in BASE.items() if key != axis},
        "series": {},
    }
    for name in series:
        each = [measure.summary(times[name, point]) for point in points]
        medians = [point["median"] for point in each]
        row["series"][name] = {
            "times": [times[name, point] for point in points],
            "seconds": each,
            "slope": slope(points, medians),
            "slope_of_last_two": slope(points[-2:], medians[-2:]),
        }
    return row


def slope(points, values):
    return float(np.polyfit(np.log(points), np.log(values), 1)[0])
