"""One fit: every arm on every case, on one thread."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from itertools import product

from benchmarks.speed import measure
from benchmarks.speed.arms import ALL_ARMS, ARMS, FEW_ROWS, SAME_FUNCTIONS, accuracy
from benchmarks.speed.cases import Case

RECORDED = 12  # steps after which ours has recorded one

ONE_EPOCH, SGEMM = "ours, one epoch", "sgemm"


def cases_of(options):
    for features, n, batch in product(options.features, options.sizes, options.batches):
        if batch != "full" and int(batch) >= n:
            continue  # would be the full batch again
        epochs = options.epochs or (20 if n <= 2000 else 5)
        yield Case(features, n, batch, epochs, options.device)


def run(options, save):
    """Return a row per case; `save` is called with all rows after each."""
    rows, trees = [], {}
    with measure.threads(1):
        for case in cases_of(options):
            row = run_case(case, options)
            if "ebm" in options.arms:
                key = case.features, case.n
                if key not in trees:
                    trees[key] = run_ebm(case, options.ebm_seconds)
                row["ebm"] = beside(trees[key], row["arms"]["ours"]["seconds"]["median"])
            rows.append(row)
            save(rows)
    return rows


def run_case(case, options):
    problem, short = case.make(), case.with_(epochs=1).make()
    arms = {name: arm for name, arm in ARMS.items() if name in options.arms}
    peak, fastest = measure.sgemm(case.device, 1), []
    entries = {name: partial(arm, problem) for name, arm in arms.items()}
    entries[ONE_EPOCH] = partial(ARMS["ours"], short)
    entries[SGEMM] = lambda repeat: lambda: fastest.append(peak())
    warm = {name: partial(arm, short) for name, arm in arms.items()}
    measure.race(warm, 1, case.device)
    times, results = measure.race(entries, options.repeats, case.device)
    row = describe(case, times, fastest, list(arms))
    for name, arm in row["arms"].items():
        arm["accuracy"] = accuracy(results[name], problem)
        if options.memory:
            arm |= measure.in_fresh_process(memory_of, name, case)
    return row


def describe(case, times, fastest, arms):
    """Return what is to be said of a case."""
    summary = measure.summary
    flops = case.flops_per_row * case.n * case.epochs
    peaks = [measure.gflops(second) for second in fastest]
    floors = [flops / (peak * 1e9) for peak in peaks]
    reference = times["ours"]
    per_epoch = [
        (whole - one) / max(case.epochs - 1, 1)
        for whole, one in zip(reference, times[ONE_EPOCH], strict=True)
    ]
    fixed = [one - each for one, each in zip(times[ONE_EPOCH], per_epoch, strict=True)]
    row = {
        "features": list(case.features),
        "n": case.n,
        "batch": case.batch,
        "epochs": case.epochs,
        "steps": case.epochs * -(-case.n // case.batch_size),
        "gflop": flops / 1e9,
        "sgemm_gflops": summary(peaks),
        "floor_seconds": summary(floors),
        "fixed_seconds": summary(fixed),
        "epoch_seconds": summary(per_epoch),
        "one_epoch_seconds": summary(times[ONE_EPOCH]),
        "arms": {},
    }
    for name in arms:
        arm = {
            "times": times[name],
            "seconds": summary(times[name]),
            "ratio": measure.ratio(times[name], reference),
        }
        if name in SAME_FUNCTIONS:
            arm["share_of_peak"] = measure.ratio(floors, times[name])
        row["arms"][name] = arm
    return row


# In processes of their own ------------------------------------------------------------------------


def warm_up(name, case):
    small = case.with_(n=min(FEW_ROWS, case.n), batch="32", epochs=1)
    ALL_ARMS[name](small.make(), 0)()


def memory_of(name, case):
    """Return the memory of a fit of few epochs: once ours records its steps, more need no more."""
    with measure.threads(1):
        warm_up(name, case)
        steps = -(-case.n // case.batch_size)
        fit = ALL_ARMS[name](case.with_(epochs=1 + RECORDED // steps).make(), 0)
        return measure.peak_memory(fit, case.device)


def fit_ebm(case, announce):
    """Fit without warming up: a second fit is as slow as the first."""
    with measure.threads(1):
        problem, outcome = case.make(), []
        fit = ALL_ARMS["ebm"](problem, 0)  # imports
        announce()
        memory = measure.peak_memory(lambda: outcome.extend(measure.seconds(fit, "cpu")), "cpu")
        taken, predict = outcome
        return {"seconds": taken, "accuracy": accuracy(predict, problem), **memory}


def run_ebm(case, limit):
    """Fit the trees once, for at most so many seconds."""
    if find_spec("interpret") is None:
        return {"skipped": "interpret-core is not installed"}
    try:
        return measure.in_fresh_process(fit_ebm, case, limit=limit)
    except measure.TooSlowError:
        return {"over_seconds": limit}


def beside(trees, ours):
    """Add how many times our seconds the trees took."""
    taken = trees.get("seconds", trees.get("over_seconds"))
    return trees if taken is None else {**trees, "ratio": taken / ours}
