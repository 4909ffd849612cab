"""What comparisons share: arms, the sets whose data is there, running, and telling."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks.peers.arms import OURS, PEERS, Make, ours
from benchmarks.peers.sets import CONFIRMATION, DEVELOPMENT, Problem
from benchmarks.peers.summary import Results, mean_over, ranks
from benchmarks.speed.report import table
from benchmarks.store import load, save

OURS_ARMS: dict[str, Make] = {
    **{method: partial(ours, method, {}) for method in OURS},
    **{f"{method}, 4 nets": partial(ours, method, {"n_members": 4}) for method in OURS},
}
ARMS = {**PEERS, **OURS_ARMS}


def problems(home: str | None, names: list[str] | None, *, confirm: bool) -> list[Problem]:
    """Return the sets whose data is there."""
    found = []
    for name, make in (CONFIRMATION if confirm else DEVELOPMENT).items():
        if names and name not in names:
            continue
        try:
            found.append(make(home))
        except (ImportError, OSError) as error:
            print(f"{name}: left out, {error}")
    return found


def run_all(
    arms: list[str],
    found: list[Problem],
    run: Callable[[Problem, str], dict[str, float]],
    file: str,
) -> None:
    """Run arms on problems and store what they tell, one by one; then print everything stored."""
    for arm in arms:
        for problem in found:
            try:
                told = run(problem, arm)
            except ImportError as error:
                print(f"{arm}: left out, {error}")
                break
            except NotImplementedError as error:
                print(f"{problem.name}: left out, {error}")
                continue
            results = load(file)
            results.setdefault(arm, {})[problem.name] = told
            save(file, results)
            print(
                f"{arm}, {problem.name}: {told['score']:.4f}, {told['seconds']:.2f} s", flush=True
            )
    report(load(file), [problem.name for problem in found])


def report(results: Results, sets: list[str]) -> None:
    """Print scores, then means; ours are ranked one at a time among the peers."""
    arms = [arm for arm in ARMS if set(sets) & set(results.get(arm, {}))]
    peers = [arm for arm in arms if arm in PEERS]
    best = {n: max(results[a][n]["score"] for a in arms if n in results[a]) for n in sets}
    scores = [["", *sets]]
    means = [["", "mean rank", "mean gap to the best", "accuracy", "log loss", "ECE", "s per fit"]]
    for arm in arms:
        own = {name: results[arm][name] for name in sets if name in results[arm]}
        scores.append([arm, *(_cell(own.get(name), best[name]) for name in sets)])
        beside = peers if arm in OURS_ARMS else [peer for peer in peers if peer != arm] + ["MRO"]
        rank = ranks(results, [arm, *beside], list(own))[arm]
        gap = sum(best[name] - told["score"] for name, told in own.items()) / len(own)
        note = "" if len(own) == len(sets) else f" ({len(own)} of {len(sets)} sets)"
        means.append(
            [arm + note, f"{sum(rank.values()) / len(own):.2f}", f"{gap:.3f}"]
            + [_number(mean_over(own, key)) for key in ("accuracy", "log_loss", "ece")]
            + [f"{mean_over(own, 'seconds'):.2f}"]
        )
    table(scores[0], scores[1:])
    table(means[0], means[1:])


def _number(value: float) -> str:
    return "" if value != value else f"{value:.3f}"


def _cell(told: dict[str, float] | None, best: float) -> str:
    if told is None:
        return ""
    shown = f"{told['score']:.3f}"
    return f"**{shown}**" if round(told["score"], 4) == round(best, 4) else shown
