"""Every Python block of the pages runs, in an empty folder and with warnings as errors."""

import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
TEXT = "".join((ROOT / page).read_text() for page in ("README.md", "docs/methods.md"))
BLOCKS = re.findall(r"<!-- test: (\w+) -->\n```python\n(.*?)```", TEXT, re.DOTALL)


def test_no_python_block_is_left_out():
    assert TEXT.count("```python") == len(BLOCKS) >= 3


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")]:
        for target in re.findall(r"\]\((?!http)([^)#\s]+)", page.read_text()):
            assert (page.parent / target).exists(), (page.name, target)


@pytest.mark.parametrize(("name", "code"), BLOCKS, ids=[name for name, _ in BLOCKS])
def test_block(name, code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    exec(compile(code, f"<block {name}>", "exec"), namespace)
    if name == "first":
        assert float(capsys.readouterr().out.split()[1]) > 0.7
    if name == "frame":
        assert namespace["search"].best_score_ == 1.0
    if name == "published":
        rng = np.random.default_rng(0)
        X, y = {name: rng.normal(size=(40, 3)) for name in ("a", "b")}, np.arange(40) % 2
        for model in namespace["published"]:
            assert model.set_params(max_epochs=2).fit(X, y).n_iter_ == 2
    if name == "pictures":
        namespace["matplotlib"].pyplot.close("all")
        drawn = {"relevance", "sample", "swarm", "pairs", "intervals"}
        assert {path.stem for path in tmp_path.iterdir()} == drawn
