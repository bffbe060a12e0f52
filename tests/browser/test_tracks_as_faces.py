"""Tracks are drawn into inputs for faces, which take both types, and arrive there."""

from __future__ import annotations

import json

import pytest

from tests.browser.conftest import PACK
from tests.browser.front_end import FrontEnd

pytestmark = pytest.mark.comfyui

#: Adds a node and connects the tracks of the film to it; what the link and the slot are then.
CONNECT = """() => {
    const graph = window.comfyAPI.app.app.graph
    const film = graph.nodes.find(({type}) => type === "FastFaceVideo")
    const info = window.LiteGraph.createNode("FastFaceInfo")
    graph.add(info)
    const slot = info.inputs.find(({name}) => name === "faces")
    const video = info.inputs.find(({name}) => name === "images")
    const link = film.connect(0, info, info.inputs.indexOf(slot))
    const wrong = film.connect(0, info, info.inputs.indexOf(video))
    return {id: info.id, type: slot.type, isDrawn: link != null, isWrongDrawn: wrong != null}
}"""

SLOTS = """() => window.comfyAPI.app.app.graph.nodes.flatMap(({inputs}) => inputs ?? [])
    .filter(({type}) => String(type).includes("FASTFACE_FACES"))
    .map(({type, link}) => [type, link != null])"""


def test_tracks_go_into_faces(front_end: FrontEnd):
    front_end.open_template(PACK, "fastface_film_keypoints")
    drawn = front_end.page.evaluate(CONNECT)
    assert drawn.pop("id") is not None
    assert drawn == {
        "type": "FASTFACE_FACES,FASTFACE_TRACKS",
        "isDrawn": True,
        "isWrongDrawn": False,
    }
    run = front_end.run()
    assert run.event == "execution_success", run.details
    (info,) = [text for node, text in front_end.texts().items() if node.startswith("FastFaceInfo")]
    assert "score 0." in info


def test_a_workflow_of_before_keeps_its_links(front_end: FrontEnd):
    workflow = front_end.server.call(f"/api/workflow_templates/{PACK}/fastface_select_paste.json")
    before = json.loads(
        json.dumps(workflow).replace("FASTFACE_FACES,FASTFACE_TRACKS", "FASTFACE_FACES")
    )
    front_end.open_workflow(before, "of before")
    slots = front_end.page.evaluate(SLOTS)
    assert len(slots) == 6 and all(is_linked for _, is_linked in slots)
    assert front_end.run().event == "execution_success"
