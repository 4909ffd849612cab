"""Pictures of what was measured."""

from __future__ import annotations

from itertools import product

COLORS = {
    "ours": "#000000",
    "stock": "#D55E00",
    "same": "#E69F00",
    "loop": "#0072B2",
    "mlp": "#009E73",
    "small mlp": "#66C2A5",
    "multimodal search": "#CC79A7",
    "ebm": "#999999",
}
LABELS = {
    "ours": "ours",
    "stock": "stock skorch, ordinary module",
    "same": "stock skorch, our net",
    "loop": "hand-written loop",
    "mlp": "MLPClassifier, all units",
    "small mlp": "MLPClassifier, 64 units",
    "multimodal search": "MultimodalSearchCV",
    "ebm": "EBM (once)",
}


def draw(results, stem):
    """Draw each part to `<stem>_<part>.png`; return the paths."""
    import matplotlib

    matplotlib.use("Agg")
    paths = []
    for part, function in PICTURES.items():
        rows = results.get(part, {}).get("rows")
        if rows:
            figure = function(rows)
            paths.append(stem.with_name(f"{stem.name}_{part}.png"))
            figure.savefig(paths[-1], dpi=110)
    return paths


def subplots(*args, **kwargs):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(*args, layout="constrained", squeeze=False, **kwargs)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def plain_ticks(axis, ticks=None):
    """Write 2 and not 2 x 10^0."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    if ticks is not None:
        axis.set_ticks(ticks)
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_locator(NullLocator())


def unique(rows, key):
    return list(dict.fromkeys(tuple(r[key]) if key == "features" else r[key] for r in rows))


# One fit ------------------------------------------------------------------------------------------


def fits(rows):
    """Return ratios to our time by n; a column per feature set, a row per batch size."""
    batches, features = unique(rows, "batch"), unique(rows, "features")
    size = (1.5 + 3.0 * len(features), 1.3 + 2.4 * len(batches))
    figure, axes = subplots(len(batches), len(features), figsize=size, sharex=True, sharey=True)
    handles = {}
    for (i, batch), (j, widths) in product(enumerate(batches), enumerate(features)):
        here = [r for r in rows if r["batch"] == batch and tuple(r["features"]) == widths]
        handles |= draw_ratios(axes[i, j], here)
        axes[i, j].set_title(f"{'-'.join(map(str, widths))}, batch {batch}", fontsize=9)
    for ax in axes[-1]:
        ax.set_xlabel("n")
    for ax in axes[:, 0]:
        ax.set_ylabel("time / our time")
    axes[0, 0].set_xscale("log")
    axes[0, 0].set_yscale("log")
    plain_ticks(axes[0, 0].xaxis, unique(rows, "n"))
    plain_ticks(axes[0, 0].yaxis, nice_ticks(axes[0, 0].get_ylim()))
    names = [LABELS[name] for name in handles]
    figure.legend(
        handles.values(),
        names,
        loc="outside lower center",
        ncols=len(features) + 1,
        frameon=False,
        fontsize=8,
    )
    return figure


def nice_ticks(limits):
    every = [base * 10.0**power for power in range(-3, 5) for base in (1, 2, 5)]
    return [tick for tick in every if limits[0] <= tick <= limits[1]]


def draw_ratios(ax, rows):
    """Draw a line per arm with its quartiles; return a handle per arm."""
    ax.axhline(1.0, color="black", linewidth=1)
    handles = {}
    for name in dict.fromkeys(name for row in rows for name in row["arms"]):
        if name == "ours":
            continue
        points = [(row["n"], row["arms"][name]["ratio"]) for row in rows]
        x, y = [n for n, _ in points], [ratio["median"] for _, ratio in points]
        errors = [
            [ratio["median"] - ratio["q1"] for _, ratio in points],
            [ratio["q3"] - ratio["median"] for _, ratio in points],
        ]
        handles[name] = ax.errorbar(
            x, y, errors, color=COLORS[name], marker="o", markersize=4, linewidth=1, capsize=2
        )
    done = [(row["n"], row["ebm"]) for row in rows if "ratio" in row.get("ebm", {})]
    for n, trees in done:
        marker = "^" if "over_seconds" in trees else "s"  # an arrow: it took longer than that
        line = ax.plot(n, trees["ratio"], marker, color=COLORS["ebm"], markersize=5)
        handles["ebm"] = line[0]
    return handles


# Grids --------------------------------------------------------------------------------------------


def grids(rows):
    """Return seconds of a whole grid, a bar per arm, and the floor."""
    figure, axes = subplots(
        1, len(rows), figsize=(2.2 + 3.4 * len(rows), 2.9), sharey=len(rows) > 1
    )
    arms = list(dict.fromkeys(name for row in rows for name in row["arms"]))[::-1]
    for ax, row in zip(axes[0], rows, strict=True):
        for position, name in enumerate(arms):
            if name in row["arms"]:
                draw_bar(ax, position, name, row["arms"][name], row["fits"])
        floor = row["floor_seconds"]["median"]
        ax.axvline(floor, color="black", linestyle=":", linewidth=1)
        ax.set_title(f"{'-'.join(map(str, row['features']))}, batch {row['batch']}", fontsize=9)
        ax.set_xlabel(f"s for {row['fits']} fits (dotted: floor, {floor:.2g} s)", fontsize=8)
        ax.set_yticks(range(len(arms)), [LABELS[name] for name in arms], fontsize=8)
        ax.margins(x=0.55)
        ax.set_xlim(left=0)
    return figure


def draw_bar(ax, position, name, arm, n_fits):
    seconds = arm["seconds"]
    errors = [[seconds["median"] - seconds["q1"]], [seconds["q3"] - seconds["median"]]]
    scaled = arm["measured_fits"] < n_fits
    ax.barh(
        position,
        seconds["median"],
        xerr=errors,
        color=COLORS[name],
        alpha=0.5 if scaled else 1.0,
        error_kw={"ecolor": "gray", "capsize": 2},
    )
    text = f" {seconds['median']:.1f} s, {arm['ratio']['median']:.2f}x"
    ax.text(
        seconds["q3"], position, text + (" (scaled)" if scaled else ""), va="center", fontsize=8
    )


# Scaling ------------------------------------------------------------------------------------------


def scaling(rows):
    """Return seconds by rows, epochs and members, both axes logarithmic."""
    figure, axes = subplots(1, len(rows), figsize=(1 + 3.2 * len(rows), 3.2))
    for ax, row in zip(axes[0], rows, strict=True):
        for name, series in row["series"].items():
            medians = [point["median"] for point in series["seconds"]]
            errors = [
                [point["median"] - point["q1"] for point in series["seconds"]],
                [point["q3"] - point["median"] for point in series["seconds"]],
            ]
            label = f"{LABELS[name]}: slope {series['slope']:.2f}"
            ax.errorbar(
                row["points"], medians, errors, label=label, color=COLORS[name], marker="o",
                markersize=4, linewidth=1, capsize=2,
            )  # fmt: skip
        ax.set_xscale("log")
        ax.set_yscale("log")
        plain_ticks(ax.xaxis, row["points"])
        plain_ticks(ax.yaxis, nice_ticks(ax.get_ylim()))
        ax.tick_params(labelsize=8)
        ax.set_xlabel(row["axis"])
        ax.legend(frameon=False, fontsize=8)
    axes[0, 0].set_ylabel("s")
    return figure


PICTURES = {"fit": fits, "grid": grids, "scaling": scaling}
