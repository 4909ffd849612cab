"""How fast we are: one fit, a grid of fits, and how time grows.

One fit against stock skorch, a hand-written loop, scikit-learn's MLP, EBM and the peak of sgemm;
a grid of 125 fits against the same; cost in rows, epochs and members.

    python -m benchmarks.speed [--quick] [--parts fit grid scaling]

Run in the root of the repository. Writes results/speed.json and a picture per part; parts that
did not run are kept as they are in the file. With --quick, or on another device than the CPU,
the files have names of their own.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from benchmarks.speed import fits, grids, measure, plots, report, scaling
from benchmarks.speed.arms import ARMS
from benchmarks.speed.cases import BATCHES, FEATURES, SIZES

PARTS = {"fit": fits.run, "grid": grids.run, "scaling": scaling.run}
GRID_ARMS = ("ours", "stock", "multimodal search", "mlp", "small mlp")
QUICK = {
    "sizes": [2000],
    "batches": ["256"],
    "epochs": 5,
    "repeats": 3,
    "memory": False,
    "ebm_seconds": 10.0,
    "grid_epochs": 5,
    "grid_repeats": 1,
    "stock_candidates": 5,
    "scaling_sizes": [250, 1000, 4000],
    "scaling_epochs": [1, 5, 20],
    "scaling_members": [5, 25],
    "scaling_repeats": 2,
}


def features(text):
    """Read "18-8-49"."""
    return tuple(int(width) for width in text.split("-"))


def parse(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    add("--quick", action="store_true", help="n=2000, batch 256, few epochs; other options win")
    add("--device", default="cpu", help="cpu or cuda, for the arms that can")
    add("--draw", action="store_true", help="only print and draw what the file holds")
    add("--out", type=Path, help="the JSON file; pictures go beside it")
    group = parser.add_argument_group("one fit")
    add = group.add_argument
    add("--features", nargs="+", type=features, default=list(FEATURES), help="as 18-8-49")
    add("--sizes", nargs="+", type=int, default=list(SIZES))
    add("--batches", nargs="+", default=list(BATCHES))
    add("--epochs", type=int, help="20 up to n=2000 and 5 beyond, unless given")
    add("--repeats", type=int, default=5)
    add("--arms", nargs="+", choices=[*ARMS, "ebm"], default=[*ARMS, "ebm"])
    add("--memory", action=argparse.BooleanOptionalAction, default=True)
    add("--ebm-seconds", type=float, default=60.0, help="stop EBM after so many seconds")
    add_grid(parser)
    add_scaling(parser)
    if parser.parse_known_args(arguments)[0].quick:
        parser.set_defaults(**QUICK)
    options = parser.parse_args(arguments)
    check(parser, options)
    return options


def add_grid(parser):
    add = parser.add_argument_group("grid").add_argument
    add("--grid-features", nargs="+", type=features, default=[FEATURES[0]], help="as 18-8-49")
    add("--grid-n", type=int, default=grids.N)
    add("--grid-batches", nargs="+", default=["256"])
    add("--grid-epochs", type=int, default=20)
    add("--grid-repeats", type=int, default=3)
    add("--grid-arms", nargs="+", choices=GRID_ARMS, default=list(GRID_ARMS))
    add("--n-jobs", type=int, default=2)
    add(
        "--stock-candidates",
        type=int,
        default=grids.N_CANDIDATES,
        help="run stock skorch on so many of the 25 candidates, and scale its time",
    )


def add_scaling(parser):
    add = parser.add_argument_group("scaling").add_argument
    add("--scaling-sizes", nargs="+", type=int, default=[250, 500, 1000, 2000, 4000, 8000, 16000])
    add("--scaling-epochs", nargs="+", type=int, default=[1, 2, 5, 10, 20, 50, 100])
    add("--scaling-members", nargs="+", type=int, choices=scaling.GRIDS, default=[5, 25, 125])
    add("--scaling-repeats", type=int, default=3)


def check(parser, options):
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("torch sees no GPU")
    if "ours" not in options.arms or "ours" not in options.grid_arms:
        parser.error("ratios are to ours: it cannot be left out")
    if not 1 <= options.stock_candidates <= grids.N_CANDIDATES:
        parser.error(f"--stock-candidates is at most {grids.N_CANDIDATES}")
    if options.out is None:
        quick = "_quick" if options.quick else ""
        device = "" if options.device == "cpu" else "_" + options.device.replace(":", "")
        name = f"speed{quick}{device}.json"
        options.out = Path(__file__).resolve().parents[1] / "results" / name


def setting(part, options):
    more = {"device": options.device}
    if part == "fit":
        more |= {"repeats": options.repeats, "threads": 1}
    elif part == "grid":
        more |= {"repeats": options.grid_repeats, "n_jobs": options.n_jobs}
    else:
        more |= {"repeats": options.scaling_repeats, "n_jobs": options.n_jobs}
    return measure.setting(**more)


def write(results, out):
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n")


def run_part(part, options, results):
    """Run a part; every case is written as soon as it is done."""
    about = setting(part, options)

    def save(rows):
        results[part] = {"setting": about, "rows": rows}
        write(results, options.out)
        print(f"{part}: case {len(rows)} done", flush=True)

    PARTS[part](options, save)
    report.TABLES[part](results[part])


def main():
    options = parse()
    measure.be_quiet()
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    for part in options.parts:
        if options.draw:
            if part in results:
                report.TABLES[part](results[part])
        else:
            run_part(part, options, results)
    for path in plots.draw(results, options.out.with_suffix("")):
        print("drawn:", path.name)


if __name__ == "__main__":
    main()
