"""Which tables and figures of which papers can be run, by what, and how their rows are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.reproduce import (
    instagram_effects,
    instagram_intent,
    intense,
    sanity_checks,
    semiotic,
    smurf,
    total_correlation,
    unavailable,
)
from benchmarks.reproduce.rows import Row

PAPERS = {
    "mro": "MRO (Wörtwein et al., 2022)",
    "intense": "InTense (Varshneya et al., 2024)",
    "smurf": "SMURF (Wörtwein et al., 2024)",
    "routing": "Multimodal Routing (Tsai et al., 2020)",
    "mdm": "Mutual-dependency maximization (Colombo et al., 2021)",
}


@dataclass(frozen=True)
class Table:
    """What a paper shows, what runs it (None: nothing can), and what reads its rows."""

    title: str
    rows: Callable[[], list[Row]]
    runs: tuple[Callable[[Any], None], ...] = ()


TABLES: dict[str, Table] = {
    "mro-figure-3": Table("Figure 3, sanity checks", sanity_checks.rows, (sanity_checks.run,)),
    "mro-table-3": Table("Table 3, Instagram", instagram_intent.rows_3, (instagram_intent.run,)),
    "mro-table-4": Table("Table 4, Instagram", instagram_intent.rows_4, (instagram_intent.run,)),
    "mro-table-6": Table("Table 6, Instagram", instagram_effects.rows_6, (instagram_effects.run,)),
    "mro-table-7": Table(
        "Table 7, Instagram",
        lambda: instagram_intent.rows_7() + instagram_effects.rows_7(),
        (instagram_intent.run, instagram_effects.run),
    ),
    "mro-section-7": Table("Section 7, semiotic modes", semiotic.rows, (instagram_intent.run,)),
    "mro-others": Table("Other rows", unavailable.mro),
    "intense-figure-3": Table("Figure 3", intense.rows_3, (intense.synthgene,)),
    "intense-figure-4": Table(
        "Figure 4",
        intense.rows_4,
        (
            intense.synthgene_tri,
            intense.tri_at_defaults,
            intense.multi_route,
            intense.multi_route_features,
            intense.picture,
        ),
    ),
    "intense-figure-7": Table(
        "Figure 7",
        intense.rows_7,
        (intense.synthgene_tri, intense.motifs_as_features, intense.picture),
    ),
    "intense-others": Table("Other rows", unavailable.intense),
    "smurf-5.1": Table("Section 5.1, synthetic", smurf.rows_5_1, (smurf.factorization,)),
    "smurf-table-5": Table("Table 5, synthetic", smurf.rows_table_5, (smurf.factorization,)),
    "smurf-appendix-a": Table("Appendix A", smurf.rows_appendix_a, (smurf.interactions,)),
    "smurf-others": Table("Other rows", unavailable.smurf),
    "routing-others": Table("All rows", unavailable.routing),
    "mdm-figure-1": Table("Figure 1", total_correlation.rows, (total_correlation.run,)),
    "mdm-others": Table("Other rows", unavailable.mdm),
}

# What is run beside the papers' own figures.
MORE: dict[str, Callable[[Any], None]] = {
    "intense-functions": intense.known_functions,
    "intense-digits": intense.digits,
    "smurf-cancer": smurf.breast_cancer,
}
