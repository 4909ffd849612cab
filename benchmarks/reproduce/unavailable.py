"""Rows whose data is not published, or not here: which they are, and what would read the data."""

from __future__ import annotations

from benchmarks.reproduce.rows import Row, not_at_hand

AFFECT = "`load_affect` reads MultiBench's files of it"
OWN = "a dict of arrays, or `ModalityTransformer` on a table"


def mro() -> list[Row]:
    return [
        not_at_hand("Tables 3, 4, 6, 7: MOSI, MOSEI", AFFECT),
        not_at_hand("Tables 3, 4, 6, 7: IEMOCAP, SEWA, TPOT", OWN),
        not_at_hand("Table 5: reliability of human ratings", "no model is involved"),
        not_at_hand("Table 8: transformers on MOSEI", AFFECT + '; `encoder="transformer"`'),
        not_at_hand("Figures 3, 4: separation on MOSI, MOSEI, IEMOCAP, SEWA, TPOT", OWN),
        not_at_hand("Section 7: importance on TPOT, human ratings of IEMOCAP", OWN),
    ]


def intense() -> list[Row]:
    return [
        not_at_hand("Tables 1, 2, 4, 5: MOSI, MOSEI, UR-FUNNY, MUStARD", AFFECT),
        not_at_hand("Table 1: AV-MNIST, ENRICO", f'{OWN}; images with `encoder="conv2d"`'),
    ]


def smurf() -> list[Row]:
    return [
        not_at_hand("Tables 2, 5: MOSI, MOSEI", AFFECT),
        not_at_hand("Tables 2, 5: IEMOCAP, RECOLA, SEWA, UMEME, TPOT, VREED", OWN),
        not_at_hand("Tables 3, 4, 6: human unique contributions on UMEME, IEMOCAP", OWN),
    ]


def routing() -> list[Row]:
    return [
        not_at_hand("Tables 1 to 7: MOSEI", AFFECT),
        not_at_hand("Table 1: IEMOCAP", OWN),
    ]


def mdm() -> list[Row]:
    return [not_at_hand("Tables 1 to 3, 5: MOSI, MOSEI", AFFECT)]
