"""Workflows that were saved by version 0.1.0 open with every widget right."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.front_end import FrontEnd
from tests.nodes.saved_workflows import NAMES, read, saved_widgets

pytestmark = pytest.mark.comfyui

SAVED = saved_widgets()


def our_widgets(front_end: FrontEnd) -> dict[str, dict[str, Any]]:
    """The values of then by the widgets of now; those that are new are left out."""
    return {
        node["type"]: {name: node["widgets"][name] for name in SAVED[node["type"]]}
        for node in front_end.nodes()
        if node["type"] in SAVED
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_widget_is_right(front_end: FrontEnd, name: str):
    front_end.open_workflow(read(name), name)
    assert our_widgets(front_end) == SAVED
    saved = [node.get("widgets_values") or [] for node in front_end.saved()["nodes"]]
    assert not any("\n" in value for values in saved for value in values if isinstance(value, str))


@pytest.mark.parametrize("name", NAMES)
def test_a_widget_that_was_added_since_has_its_default(front_end: FrontEnd, name: str):
    # As if the last widget of each node had not been there then: its place is the text's.
    workflow = read(name)
    shortened = {
        node_id: dict(list(values.items())[:-1]) for node_id, values in SAVED.items() if values
    }
    for node in workflow["nodes"]:
        if node["type"] in shortened:
            last = len(shortened[node["type"]])
            del node["widgets_values"][last]
            (gone,) = set(SAVED[node["type"]]) - set(shortened[node["type"]])
            node["inputs"] = [entry for entry in node["inputs"] if entry["name"] != gone]
    front_end.open_workflow(workflow, name)
    known = front_end.server.call("/object_info")
    for node_id, values in our_widgets(front_end).items():
        if node_id in shortened:
            (added,) = set(values) - set(shortened[node_id])
            kinds = known[node_id]["input"]
            kind, *more = (kinds["required"] | kinds.get("optional", {}))[added]
            default = more[0].get("default", kind[0]) if more else kind[0]
            assert values == shortened[node_id] | {added: default}, node_id
