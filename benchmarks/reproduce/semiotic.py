"""Section 7 of the MRO paper: what interactions change, by the semiotic mode of a post.

How much probabilities change when y_bi is removed, sum_k |p_k - p_uni,k|, on test folds, with a
one-way analysis of variance and the t-tests between modes. The paper's models are those of its
Table 3, chosen on validation folds and stopped early; `instagram_effects` has the same of nets that
were trained to the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray
from scipy.stats import f_oneway, ttest_ind

from benchmarks.reproduce.rows import Row, claim
from benchmarks.store import load
from sklearn_mmfuse import Decomposition

__all__ = ["SEARCHED", "by_mode", "rows"]

SEARCHED = "instagram_semiotic.json"
PAPER = "F = 5.06, p = 0.006; amplifying 0.317, parallel 0.272, divergent 0.256"
SHOWN = {"Adam": "Adam with L2", "AdamW": "AdamW"}


def by_mode(
    trained: Sequence[Decomposition],
    purified: Sequence[Decomposition],
    modes: NDArray[Any],
    names: Sequence[str],
) -> dict[str, Any]:
    """Print and return means by mode, and whether they differ, of all test folds together."""
    found = {}
    for label, parts in (("as trained", trained), ("purified", purified)):
        change = Decomposition.concat(parts).change_without()
        groups = [change[modes == code] for code in range(len(names))]
        f, p = f_oneway(*groups)
        means = {name: float(group.mean()) for name, group in zip(names, groups, strict=True)}
        shown = " ".join(f"{name} {mean:.3f}" for name, mean in means.items())
        print(f"  {label}: F(2, {len(change) - 3}) = {f:.2f}, p = {p:.3g}; {shown}", flush=True)
        t = {
            f"{names[i]} - {names[j]}": [float(x) for x in ttest_ind(groups[i], groups[j])]
            for i in range(3)
            for j in range(i)
        }
        found[label] = {"F": float(f), "p": float(p), "means": means, "t": t}
    return found


def rows() -> list[Row]:
    """Return the analyses of variance of what the searches of Table 3 chose."""
    found = []
    for optimizer, name in SHOWN.items():
        told = load(SEARCHED)[f"{optimizer}/MRO"]
        trained, pure = told["as trained"], told["purified"]
        order = sorted(trained["means"], key=trained["means"].get, reverse=True)
        means = ", ".join(f"{mode} {trained['means'][mode]:.3f}" for mode in order)
        found.append(
            claim(
                f"change of probabilities without y_bi, by semiotic mode, {name}",
                PAPER,
                f"F = {trained['F']:.2f}, p = {trained['p']:.4f}; {means} (of pure interactions "
                f"p = {pure['p']:.2f})",
                holds=trained["p"] < 0.05 and trained["t"]["additive - parallel"][0] > 0,
                because="not reproduced with this optimizer",
            )
        )
    return found
