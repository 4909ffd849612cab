"""What the five papers report, run again: one name per table or figure.

    python -m benchmarks.reproduce mro-table-3 [--data-home FOLDER] [--jobs 2] [--seeds 5]
    python -m benchmarks.reproduce                  # all rows, from what was run before
    python -m benchmarks.reproduce --all            # hours

After every run `results/reproduce.md` and `results/reproduce.json` are written anew: each row of a
paper beside ours, and a verdict. `--only` names entries of a run (see its module's text).
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from benchmarks.reproduce.rows import NOT_RUN, Row
from benchmarks.reproduce.tables import MORE, PAPERS, TABLES
from benchmarks.store import RESULTS, save

HEADER = "| what | paper | ours | verdict | |\n| --- | --- | --- | --- | --- |"


def rows_of(name: str) -> list[Row]:
    try:
        return TABLES[name].rows()
    except KeyError as missing:
        return [Row(TABLES[name].title, "", "", NOT_RUN, f"no {missing} among the results")]


def write() -> str:
    """Write all rows there are, and return them as Markdown."""
    found = {name: rows_of(name) for name in TABLES}
    lines = []
    for prefix, paper in PAPERS.items():
        lines += [f"### {paper}", ""]
        for name, rows in found.items():
            if name.split("-")[0] == prefix:
                command = f": `{name}`" if TABLES[name].runs else ""
                lines += [f"**{TABLES[name].title}**{command}", "", HEADER]
                lines += ["| " + " | ".join(asdict(row).values()) + " |" for row in rows]
                lines.append("")
    text = "\n".join(lines)
    (RESULTS / "reproduce.md").write_text(text)
    save("reproduce.json", {name: [asdict(row) for row in rows] for name, rows in found.items()})
    return text


def main() -> None:
    runnable = [name for name, table in TABLES.items() if table.runs] + list(MORE)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", nargs="*", choices=[*runnable, []], metavar="TABLE")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--data-home", default=None)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=None)
    parser.add_argument("--only", nargs="+", default=None)
    options = parser.parse_args()
    chosen = runnable if options.all else options.tables
    steps = [
        run for name in chosen for run in (TABLES[name].runs if name in TABLES else (MORE[name],))
    ]
    for run in dict.fromkeys(steps):  # tables may share a run
        run(options)
    print(write())


if __name__ == "__main__":
    main()
