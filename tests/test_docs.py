"""What is public is documented; this guards against exports that no page mentions."""

import inspect
import re
import runpy
from pathlib import Path

import pytest

import sklearn_mmfuse
from sklearn_mmfuse import datasets, estimators, inspection, model_selection, preprocessing

ROOT = Path(__file__).parents[1]
MODULES = (datasets, inspection, model_selection, preprocessing)
PUBLIC = [
    thing
    for module in (sklearn_mmfuse, *MODULES)
    for name in module.__all__
    if (thing := getattr(module, name)) not in MODULES
]


@pytest.mark.parametrize("thing", PUBLIC, ids=lambda thing: thing.__name__)
def test_public_names_have_a_docstring_with_an_example(thing):
    assert ">>> " in inspect.getdoc(thing)


@pytest.mark.parametrize("name", estimators.__all__)
def test_every_parameter_of_an_estimator_is_documented(name):
    cls = getattr(estimators, name)
    doc = inspect.getdoc(cls)
    for parameter in inspect.signature(cls).parameters:
        assert f"\n{parameter} : " in doc, parameter
    for section in ("Attributes", "Notes", "References", "Examples"):
        assert f"\n{section}\n---" in doc
    assert "NOTE[DIFF]" in doc
    assert "{" not in doc.split("Parameters")[0]


@pytest.mark.parametrize(
    "name",
    sorted({thing.__name__ for thing in PUBLIC} - {"paper_folds"}),
)
def test_the_changelog_mentions_every_public_name(name):
    assert name in (ROOT / "CHANGELOG.md").read_text()


def test_the_page_of_public_names_is_what_docstrings_say():
    """`make api` writes it anew."""
    page = runpy.run_path(str(ROOT / "docs" / "make_api.py"))["page"]()
    assert (ROOT / "docs" / "api.md").read_text() == page
    for thing in PUBLIC:
        assert f"`{thing.__name__}`" in page
    for name in estimators.__all__:
        for parameter in inspect.signature(getattr(estimators, name)).parameters.values():
            row = rf"\| `{parameter.name}` \| .*`{re.escape(_written(parameter.default))}`"
            assert re.search(row, page), (name, parameter)


def _written(default):
    usual = {3e-3: "3e-3", 1e-3: "1e-3"}  # as one writes a step size
    return usual.get(default, repr(default)) if not isinstance(default, str) else f'"{default}"'
