"""Results on disk: what is run again replaces its own entries and leaves the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def load(name: str) -> dict[str, Any]:
    """Return what was stored under this name; nothing where nothing was."""
    path = RESULTS / name
    return json.loads(path.read_text()) if path.exists() else {}


def save(name: str, results: dict[str, Any]) -> None:
    text = json.dumps(results, indent=1, sort_keys=True, default=float, ensure_ascii=False)
    (RESULTS / name).write_text(text + "\n")


def merge(name: str, found: dict[str, Any]) -> None:
    """Store what was found beside what is there."""
    save(name, load(name) | found)
