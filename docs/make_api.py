"""Write docs/api.md, every public name with the first sentence of its docstring: `make api`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import sklearn_mmfuse
from sklearn_mmfuse import datasets, estimators, inspection, model_selection, preprocessing

PAGE = Path(__file__).with_name("api.md")
MODULES = (model_selection, preprocessing, inspection, datasets)
METHODS = ("MRO", "SMURF", "InTense", "Routing", "MutualDependency", "Fusion")
KINDS = ("Classifier", "Regressor")
Owner = tuple[str, str]  # a method and a kind
ESTIMATORS: dict[Owner, Any] = {
    (method, kind): getattr(estimators, method + kind) for kind in KINDS for method in METHODS
}
# scikit-learn's, of which every estimator has those that it can have.
COMMON = ("get_params", "set_params", "get_metadata_routing", "set_callbacks")
ENTRY = re.compile(r"^(\w+) : (.*)\n((?:(?:    .*)?\n)+)", re.MULTILINE)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page())


def page() -> str:
    """Return the page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Public names"
    yield ""
    yield (
        "The first sentence of each docstring; `help(name)` has the rest, with an example. Written "
        "by `make api`: change the docstrings, not this page."
    )
    own = [name for name in sklearn_mmfuse.__all__ if _is_name(sklearn_mmfuse, name)]
    yield from _section("sklearn_mmfuse", sklearn_mmfuse, own)
    yield from _entries("Parameters", "What estimators are set to", default=True)
    yield from _entries("Attributes", "What fitted estimators know", default=False)
    yield from _methods()
    for module in MODULES:
        yield from _section(module.__name__, module, module.__all__)


def _is_name(module: Any, name: str) -> bool:
    return not inspect.ismodule(getattr(module, name))


def _section(title: str, module: Any, names: Iterable[str]) -> Iterator[str]:
    rows = ((f"`{name}`", first_sentence(inspect.getdoc(getattr(module, name)))) for name in names)
    yield from _table(f"`{title}`", ("name", ""), rows)


def _entries(section: str, title: str, *, default: bool) -> Iterator[str]:
    """Yield a table of what the docstrings of estimators list."""
    found: dict[tuple[str, str], dict[Owner, str]] = {}
    for owner, estimator in ESTIMATORS.items():
        for name, kind, text in entries(inspect.getdoc(estimator) or "", section):
            value = kind.rpartition("default=")[2]
            found.setdefault((name, first_sentence(text)), {})[owner] = value
    rows = []
    for (name, text), values in _common_first(found):
        told = (_defaults(values),) if default else ()
        rows.append((f"`{name}`", _of(values), *told, text))
    yield from _table(title, ("name", "of", *(("default",) if default else ()), ""), rows)


def _methods() -> Iterator[str]:
    found: dict[tuple[str, str], dict[Owner, str]] = {}
    for owner, estimator in ESTIMATORS.items():
        for name, function in inspect.getmembers(estimator, inspect.isroutine):
            if name.startswith(("_", "set_")) or name in COMMON:
                continue
            found.setdefault((name, first_sentence(inspect.getdoc(function))), {})[owner] = ""
    rows = ((f"`{name}()`", _of(owners), text) for (name, text), owners in _common_first(found))
    yield from _table("What they do", ("name", "of", ""), rows)


def _common_first(found: Mapping[tuple[str, str], dict[Owner, str]]) -> list[Any]:
    """Sort what all have before what some have, what is said of a name in one place."""
    names = [name for name, _ in found]
    of = {name: sum(len(those) for own, those in found.items() if own[0] == name) for name in names}
    first = sorted(dict.fromkeys(names), key=lambda name: of[name] < len(ESTIMATORS))
    return sorted(found.items(), key=lambda item: first.index(item[0][0]))


def _of(owners: Iterable[Owner]) -> str:
    """Return whose something is: of all, of all of a kind, of methods, of single estimators."""
    own = list(owners)
    told = [method for method in METHODS if all((method, kind) in own for kind in KINDS)]
    if len(told) == len(METHODS):
        return "all"
    single = [owner for owner in own if owner[0] not in told]
    for kind in KINDS:
        whose = [method for method in METHODS if (method, kind) in single]
        others = [method for method in METHODS if method not in whose]
        if len(others) > 1:
            told += [method + kind for method in whose]
        else:
            told.append(f"{kind.lower()}s" + "".join(f" but {other}{kind}" for other in others))
    return ", ".join(told)


def _defaults(values: Mapping[Owner, str]) -> str:
    """Return the default; of several, the most frequent one and whose is another."""
    usual = max(dict.fromkeys(values.values()), key=list(values.values()).count)
    others = [value for value in dict.fromkeys(values.values()) if value != usual]
    exceptions = [
        f"`{value}` ({_of(owner for owner in values if values[owner] == value)})"
        for value in others
    ]
    return ", ".join([f"`{usual}`", *exceptions])


def entries(doc: str, section: str) -> list[tuple[str, str, str]]:
    """Return name, type and text of what a section of a numpydoc docstring lists."""
    start = doc.index(f"{section}\n{'-' * len(section)}\n") + 2 * len(section) + 2
    body = re.split(r"\n\n\w+\n-+\n", doc[start:])[0] + "\n"
    return [match.groups() for match in ENTRY.finditer(body)]


def first_sentence(doc: str | None) -> str:
    """Return a first sentence in one line, without references of Sphinx."""
    text = " ".join((doc or "").split("\n\n")[0].split())
    sentence = re.split(r"(?<=[.?])(?<!e\.g\.)\s+(?=[A-Z\"`])", text)[0]
    return re.sub(r":\w+:`~?([^`<]+?)(?: <[^`]+)?`", r"`\1`", sentence)


def _table(title: str, header: Iterable[str], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    header = list(header)
    yield from ("", f"## {title}", "")
    yield "| " + " | ".join(header) + " |"
    yield "| " + " | ".join("---" for _ in header) + " |"
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


if __name__ == "__main__":
    main()
