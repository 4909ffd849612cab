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
CLASSIFIERS = {method: getattr(estimators, f"{method}Classifier") for method in METHODS}
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
        "The first sentence of each docstring; `help(name)` has the rest, with an example. What is "
        "said of classifiers holds for regressors, less what is of classes. Written by `make api`: "
        "change the docstrings, not this page."
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
    """Yield a table of what the docstrings of classifiers list; regressors have the same."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for method, estimator in CLASSIFIERS.items():
        for name, kind, text in entries(inspect.getdoc(estimator) or "", section):
            value = kind.rpartition("default=")[2]
            found.setdefault((name, first_sentence(text)), {})[method] = value
    rows = []
    for (name, text), values in _common_first(found):
        told = (_defaults(values),) if default else ()
        rows.append((f"`{name}`", _of(values), *told, text))
    yield from _table(title, ("name", "of", *(("default",) if default else ()), ""), rows)


def _methods() -> Iterator[str]:
    found: dict[tuple[str, str], dict[str, str]] = {}
    for method, estimator in CLASSIFIERS.items():
        for name, function in inspect.getmembers(estimator, inspect.isroutine):
            if name.startswith(("_", "set_")) or name in COMMON:
                continue
            found.setdefault((name, first_sentence(inspect.getdoc(function))), {})[method] = ""
    rows = ((f"`{name}()`", _of(methods), text) for (name, text), methods in _common_first(found))
    yield from _table("What they do", ("name", "of", ""), rows)


def _common_first(found: Mapping[tuple[str, str], dict[str, str]]) -> list[Any]:
    """Sort what all have before what some have, what is said of a name in one place."""
    names = [name for name, _ in found]
    of = {name: sum(len(those) for own, those in found.items() if own[0] == name) for name in names}
    first = sorted(dict.fromkeys(names), key=lambda name: of[name] < len(CLASSIFIERS))
    return sorted(found.items(), key=lambda item: first.index(item[0][0]))


def _of(methods: Iterable[str]) -> str:
    own = list(methods)
    return "all" if len(own) == len(CLASSIFIERS) else ", ".join(own)


def _defaults(values: Mapping[str, str]) -> str:
    """Return the default; of several, the most frequent one and whose is another."""
    usual = max(dict.fromkeys(values.values()), key=list(values.values()).count)
    others = [f"`{value}` ({method})" for method, value in values.items() if value != usual]
    return ", ".join([f"`{usual}`", *others])


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
