"""A workflow with every node of version 0.1.0, as front end 1.27 saved it before and after a run.

No widget has its default value. `after_run` has the texts that the nodes showed among the values
of their widgets; `after_run_exported` is the form of exported workflows and of images, in which
inputs without a link are left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "saved_by_0_1_0"
NAMES = ("before_run", "after_run", "after_run_exported")


def read(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def saved_widgets() -> dict[str, dict[str, Any]]:
    """The values of each node's widgets by name, in the order in which they are saved."""
    widgets = {}
    for node in read("before_run")["nodes"]:
        if node["type"].startswith("FastFace"):
            names = [entry["name"] for entry in node["inputs"] if "widget" in entry]
            widgets[node["type"]] = dict(zip(names, node.get("widgets_values") or (), strict=True))
    return widgets
