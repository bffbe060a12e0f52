"""Every template opens, runs and shows a result; nothing of it is left in the saved workflow."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

import fastface
from fastface.nodes import NODE_CLASS_MAPPINGS
from tests.browser.conftest import PACK
from tests.browser.front_end import FrontEnd, widget_values

pytestmark = pytest.mark.comfyui

FOLDER = Path(inspect.getfile(fastface)).parent / "example_workflows"
TEMPLATES = sorted(path.stem for path in FOLDER.glob("*.json"))


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_opens_runs_and_shows_a_result(front_end: FrontEnd, name: str):
    workflow = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    base = front_end.server.base
    front_end.open_template(PACK, name)
    assert [node["type"] for node in front_end.nodes()] == [n["type"] for n in workflow["nodes"]]
    before = widget_values(front_end.saved())
    run = front_end.run()
    front_end.take_picture("result")
    if run.lacks_what_others_bring(NODE_CLASS_MAPPINGS):
        return  # and its note says what: test_first_click.py
    assert run.event == "execution_success", run.details
    outputs = front_end.outputs()
    assert any(output.get("images") or output.get("text") for output in outputs.values())

    texts = front_end.texts()
    ours = [node for node in front_end.nodes() if node["type"] in NODE_CLASS_MAPPINGS]
    given = {
        f"{node['type']} {node['id']}": "\n".join(outputs[str(node["id"])]["text"])
        for node in ours
        if outputs.get(str(node["id"]), {}).get("text")
    }
    assert texts == given and any(node.startswith("FastFace") for node in texts)
    for node in texts:
        seen = front_end.look_at_text(int(node.split()[1]))
        assert seen["isOnTop"] and seen["width"] > 150 and seen["height"] > 12, node

    assert widget_values(front_end.saved()) == before
    for saved in (front_end.saved(), front_end.exported(), run.sent):
        written = json.dumps(saved)
        assert not any(json.dumps(text)[1:-1] in written for text in texts.values())
        assert str(base) not in written and "fastface_text" not in written

    front_end.reload()
    assert front_end.texts() == texts
    assert widget_values(front_end.saved()) == before
