"""Every Python block of the README runs, in an empty folder and with warnings as errors."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"<!-- test: (\w+) -->\n```python\n(.*?)```", README.read_text(), re.DOTALL)


def test_no_python_block_is_left_out():
    assert README.read_text().count("```python") == len(BLOCKS) >= 3


@pytest.mark.parametrize(("name", "code"), BLOCKS, ids=[name for name, _ in BLOCKS])
def test_block(name, code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    exec(compile(code, f"README:{name}", "exec"), namespace)
    if name == "first":
        assert float(capsys.readouterr().out.split()[1]) > 0.7
    if name == "frame":
        assert namespace["search"].best_score_ == 1.0
    if name == "pictures":
        namespace["matplotlib"].pyplot.close("all")
        drawn = {"relevance", "sample", "swarm", "pairs", "intervals"}
        assert {path.stem for path in tmp_path.iterdir()} == drawn
