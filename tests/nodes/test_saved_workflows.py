"""Workflows of version 0.1.0 fit the nodes of today."""

from __future__ import annotations

from typing import Any

import pytest

from fastface.nodes import NODE_CLASS_MAPPINGS
from tests.nodes.saved_workflows import NAMES, read, saved_widgets

WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
SAVED = saved_widgets()


def declared(node_id: str) -> dict[str, Any]:
    inputs = NODE_CLASS_MAPPINGS[node_id].INPUT_TYPES()
    return inputs["required"] | inputs.get("optional", {})


def test_every_node_of_then_is_there():
    assert len(SAVED) == 15 and set(SAVED) <= set(NODE_CLASS_MAPPINGS)
    for name in NAMES:
        assert {node["type"] for node in read(name)["nodes"]} >= set(SAVED)


def test_they_hold_what_the_tests_are_about():
    texts = {
        name: [
            value
            for node in read(name)["nodes"]
            for value in node.get("widgets_values") or ()
            if isinstance(value, str) and "\n" in value
        ]
        for name in NAMES
    }
    assert [len(texts[name]) for name in NAMES] == [0, 4, 4]


@pytest.mark.parametrize("node_id", SAVED)
class TestNode:
    def test_widgets_of_then_come_first_and_in_their_order(self, node_id: str):
        # The front end gives values to widgets by their place: a new one is the last, which it is
        # at the end of the optional inputs.
        names = [
            name
            for name, (kind, *_) in declared(node_id).items()
            if isinstance(kind, list) or kind in WIDGETS
        ]
        assert names[: len(SAVED[node_id])] == list(SAVED[node_id])

    def test_values_of_then_are_allowed(self, node_id: str):
        for name, value in SAVED[node_id].items():
            kind, limits = declared(node_id)[name]
            if isinstance(kind, list) and name != "model_pack":  # depends on what is installed
                assert value in kind
            elif kind in ("INT", "FLOAT"):
                assert limits["min"] <= value <= limits["max"]

    def test_no_widget_takes_line_breaks(self, node_id: str):
        # web/js/saved_text.js knows the texts of 0.1.0 by them.
        assert not any(options.get("multiline") for _, options in declared(node_id).values())
