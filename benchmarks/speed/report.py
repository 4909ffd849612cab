"""Tables of what was measured, as Markdown; they hold nothing that the JSON does not."""

from __future__ import annotations

NONE = ""


def spread(numbers, digits=2, scale=1.0):
    """Return "median (first quartile to third)"."""
    median, low, high = (f"{scale * numbers[k]:.{digits}f}" for k in ("median", "q1", "q3"))
    return f"{median} ({low} to {high})"


def number(value, digits=2):
    return NONE if value is None else f"{value:.{digits}f}"


def table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    for line in lines:
        print("| " + " | ".join(map(str, line)) + " |")
    print(flush=True)


def where(row):
    return ["-".join(map(str, row["features"])), row["n"], row["batch"], row["epochs"]]


WHERE = ["features", "n", "batch", "epochs"]


def arms_of(rows):
    """Return all arms, ours first."""
    return list(dict.fromkeys(name for row in rows for name in row["arms"]))


def cells(row, arms, cell):
    return [cell(row["arms"][name]) if name in row["arms"] else NONE for name in arms]


# One fit ------------------------------------------------------------------------------------------


def fits(part):
    setting, rows = part["setting"], part["rows"]
    print(
        f"\n## One fit, device {setting['device']}, one thread, {setting['repeats']} repeats, "
        f"torch {setting['torch']}, {setting['cpu_capability']}, "
        f"load {setting['load_at_start']:.1f}\n"
        "Two classes. Medians (quartiles); ratios are to our time, repeat by repeat.\n"
    )
    arms = arms_of(rows)
    others = [name for name in arms if name != "ours"]
    print("Times of others over ours; EBM once for all batch sizes, with its own defaults:\n")
    table(
        [*WHERE, "ours, s", *others, "ebm"],
        [
            [
                *where(row),
                spread(row["arms"]["ours"]["seconds"], 3),
                *cells(row, others, lambda arm: spread(arm["ratio"])),
                trees(row.get("ebm")),
            ]
            for row in rows
        ],
    )
    print(
        "Our fit: fixed part and epoch; the floor, the products of a step at the peak of sgemm:\n"
    )
    table(
        [
            *WHERE,
            "fixed, ms",
            "ms per epoch",
            "one epoch, ms",
            "GFLOP",
            "sgemm, GFLOP/s",
            "floor, s",
            *(f"{name}: % of peak" for name in sharing(rows)),
        ],
        [
            [
                *where(row),
                spread(row["fixed_seconds"], 1, 1e3),
                spread(row["epoch_seconds"], 2, 1e3),
                spread(row["one_epoch_seconds"], 1, 1e3),
                f"{row['gflop']:.2f}",
                spread(row["sgemm_gflops"], 0),
                spread(row["floor_seconds"], 4),
                *cells(row, sharing(rows), lambda arm: spread(arm["share_of_peak"], 1, 100)),
            ]
            for row in rows
        ],
    )
    memory(rows, arms)
    print("Accuracy on 2,000 fresh rows, last repeat: do the arms learn the same?\n")
    table(
        [*WHERE, *arms, "ebm"],
        [
            [
                *where(row),
                *cells(row, arms, lambda arm: number(arm["accuracy"], 3)),
                number((row.get("ebm") or {}).get("accuracy"), 3),
            ]
            for row in rows
        ],
    )


def sharing(rows):
    """Return the arms whose share of the peak is known: those of the same function class."""
    return [k for k in arms_of(rows) if "share_of_peak" in rows[0]["arms"].get(k, {})]


def trees(outcome):
    if outcome is None or "skipped" in outcome:
        return "not run"
    if "over_seconds" in outcome:
        return f"over {outcome['over_seconds']:g} s (> {outcome['ratio']:.1f})"
    return f"{outcome['ratio']:.2f}, {outcome['seconds']:.1f} s"


def memory(rows, arms):
    if not any("memory_mib" in arm for row in rows for arm in row["arms"].values()):
        return
    print(
        "Rise of the peak of resident memory in a fresh, warmed process, at least 13 steps, MiB:\n"
    )
    table(
        [*WHERE, *arms, "ebm"],
        [
            [
                *where(row),
                *cells(row, arms, lambda arm: number(arm.get("memory_mib"), 1)),
                number((row.get("ebm") or {}).get("memory_mib"), 1),
            ]
            for row in rows
        ],
    )
    if any(arm.get("gpu_mib") for row in rows for arm in row["arms"].values()):
        print("The peak of the GPU's memory, MiB:\n")
        table(
            [*WHERE, *arms],
            [
                [*where(row), *cells(row, arms, lambda arm: number(arm.get("gpu_mib"), 1))]
                for row in rows
            ],
        )


# Grids --------------------------------------------------------------------------------------------


def grids(part):
    setting, rows = part["setting"], part["rows"]
    print(
        f"\n## A grid of {rows[0]['fits']} fits, device {setting['device']}, "
        f"n_jobs={setting['n_jobs']}, {setting['repeats']} repeats, torch {setting['torch']}, "
        f"load {setting['load_at_start']:.1f}\n"
        "Ratios: the time of an arm over GridSearchCV of our estimator.\n"
    )
    table(
        [*WHERE, "arm", "s", "ratio", "% of peak", "best score"],
        [
            [*where(row), name + mark(row, arm), *grid_cells(arm)]
            for row in rows
            for name, arm in row["arms"].items()
        ],
    )
    for row in rows:
        print(
            f"{'-'.join(map(str, row['features']))}, batch {row['batch']}: "
            f"{row['gflop']:.0f} GFLOP, sgemm on {setting['n_jobs']} threads "
            f"{spread(row['sgemm_gflops'], 0)} GFLOP/s, floor {spread(row['floor_seconds'])} s"
        )
    print(flush=True)


def mark(row, arm):
    if arm["measured_fits"] == row["fits"]:
        return ""
    return f" (SCALED from {arm['measured_fits']} of {row['fits']} fits)"


def grid_cells(arm):
    share = arm.get("share_of_peak")
    return [
        spread(arm["seconds"], 1),
        spread(arm["ratio"]),
        NONE if share is None else spread(share, 1, 100),
        number(arm["best_score"], 3),
    ]


# Scaling ------------------------------------------------------------------------------------------


def scaling(part):
    setting, rows = part["setting"], part["rows"]
    print(
        f"\n## How time grows, device {setting['device']}, {setting['repeats']} repeats, "
        f"load {setting['load_at_start']:.1f}\n"
    )
    for row in rows:
        fixed = ", ".join(f"{k}={row[k]}" for k in ("n", "batch", "epochs") if k in row)
        print(
            f"Seconds by {row['axis']}; {'-'.join(map(str, row['features']))} features, {fixed}:\n"
        )
        table(
            ["arm", *row["points"], "slope", "slope of the last two"],
            [
                [
                    name,
                    *(spread(point, 3) for point in series["seconds"]),
                    number(series["slope"]),
                    number(series["slope_of_last_two"]),
                ]
                for name, series in row["series"].items()
            ],
        )


TABLES = {"fit": fits, "grid": grids, "scaling": scaling}
