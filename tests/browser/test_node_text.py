"""The text on a node: where it stays, where it goes, and what it never reaches."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.front_end import FrontEnd, widget_values

pytestmark = pytest.mark.comfyui

MEMORY = ["status", "auto", "auto", "auto", "auto"]
SHOWN = "FastFaceMemory 2"


def waiting(seconds: int) -> dict[str, Any]:
    """A workflow whose FastFaceMemory shows its report after some seconds."""
    common = {"flags": {}, "order": 0, "mode": 0, "properties": {}}
    return {
        "version": 0.4,
        "last_node_id": 2,
        "last_link_id": 1,
        "nodes": [
            {
                "id": 1,
                "type": "TestWait",
                **common,
                "pos": [100, 100],
                "size": [250, 80],
                "inputs": [
                    {"name": "seconds", "type": "INT", "link": None, "widget": {"name": "seconds"}}
                ],
                "outputs": [{"name": "INT", "type": "INT", "links": [1]}],
                "widgets_values": [seconds],
            },
            {
                "id": 2,
                "type": "FastFaceMemory",
                **common,
                "pos": [400, 100],
                "size": [420, 300],
                "inputs": [{"name": "after", "type": "*", "link": 1}],
                "outputs": [
                    {"name": "report", "type": "STRING", "links": []},
                    {"name": "passed", "type": "*", "links": []},
                ],
                "widgets_values": MEMORY,
            },
        ],
        "links": [[1, 1, 0, 2, 0, "INT"]],
        "groups": [],
        "config": {},
        "extra": {},
    }


def test_stays_while_one_switches_between_workflows(front_end: FrontEnd):
    front_end.open_workflow(waiting(0), "first")
    assert front_end.texts() == {}
    assert front_end.run().event == "execution_success"
    texts = front_end.texts()
    assert list(texts) == [SHOWN] and texts[SHOWN].startswith("process: ")
    front_end.open_workflow(waiting(1), "second")
    assert front_end.texts() == {}
    front_end.switch_to("first")
    assert front_end.texts() == texts
    front_end.switch_to("second")
    assert front_end.texts() == {}
    front_end.switch_to("first")
    front_end.reload()
    assert front_end.texts() == texts


def test_a_run_in_the_background_shows_nothing_on_the_workflow_in_front(front_end: FrontEnd):
    front_end.open_workflow(waiting(6), "behind")
    assert front_end.queue() is None
    front_end.open_workflow(waiting(0), "in_front")
    assert front_end.wait_for_end().event == "execution_success"
    assert front_end.texts() == {}
    front_end.switch_to("behind")
    assert list(front_end.texts()) == [SHOWN]


def test_is_replaced_by_that_of_the_next_run(front_end: FrontEnd):
    front_end.open_workflow(waiting(0), "twice")
    front_end.run()
    first = front_end.texts()[SHOWN]
    front_end.page.evaluate(
        "() => { window.comfyAPI.app.app.graph.getNodeById(2).widgets[0].value = 'unload' }"
    )
    front_end.run()
    second = front_end.texts()[SHOWN]
    assert not first.startswith("released: ") and second.startswith("released: ")
    assert widget_values(front_end.saved())[2] == ["unload", *MEMORY[1:]]


def test_in_a_subgraph(front_end: FrontEnd):
    front_end.open_workflow(waiting(0), "subgraph")
    front_end.page.evaluate(
        """() => {
            const { graph } = window.comfyAPI.app.app
            graph.convertToSubgraph(new Set([graph.getNodeById(2)]))
        }"""
    )
    # A subgraph runs for its outputs alone, unless an output node is in it.
    assert front_end.run().event == "execution_success"
    texts = front_end.texts()
    assert list(texts) == [SHOWN]
    front_end.reload()
    assert front_end.texts() == texts


def test_with_nodes_drawn_as_html(front_end: FrontEnd):
    front_end.set("Comfy.VueNodes.Enabled", True)
    try:
        front_end.open_workflow(waiting(0), "html")
        front_end.page.wait_for_timeout(1000)
        if not front_end.page.locator("[data-node-id='2']").is_visible():
            pytest.skip("this front end draws no nodes as HTML")
        assert front_end.run().event == "execution_success"
        seen = front_end.look_at_text(2)
        assert seen["isOnTop"] and seen["width"] > 300 and seen["height"] > 50
        assert widget_values(front_end.saved())[2] == MEMORY
    finally:
        front_end.set("Comfy.VueNodes.Enabled", False)


def test_can_be_read_by_all(front_end: FrontEnd):
    front_end.open_workflow(waiting(0), "read")
    front_end.run()
    front_end.look_at_text(2)
    box = front_end.page.get_by_label("Result of FastFace Memory")
    assert box.input_value() == front_end.texts()[SHOWN]
    assert not box.is_editable()
