"""The first click in a fresh ComfyUI, which has no weights: a result, or what to get from where."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest

import fastface
from fastface.nodes import NODE_CLASS_MAPPINGS
from tests.browser.conftest import PACK
from tests.browser.front_end import SERIALIZE, FrontEnd

pytestmark = pytest.mark.comfyui

FOLDER = Path(inspect.getfile(fastface)).parent / "example_workflows"
TEMPLATES = sorted(path.stem for path in FOLDER.glob("*.json"))


@pytest.fixture(scope="module")
def with_weights() -> None:
    return None


def note_of(workflow: dict[str, Any]) -> str:
    (note,) = (node for node in workflow["nodes"] if node["type"] in ("Note", "MarkdownNote"))
    return note["widgets_values"][0]


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_gives_a_result_or_says_what_it_needs(front_end: FrontEnd, name: str):
    note = note_of(json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))
    front_end.open_template(PACK, name)
    run = front_end.run()
    front_end.take_picture("result")
    if run.lacks_what_others_bring(NODE_CLASS_MAPPINGS):
        assert re.search("README|ha(ve|s) to be installed|https://", note)
    elif run.event == "execution_error":
        # A pack with a recognition model, of which the note and the error say how to get it.
        message = run.details["exception_message"]
        assert run.details["node_type"] in NODE_CLASS_MAPPINGS
        assert re.search("antelopev2|buffalo_l", note) and re.search(
            "antelopev2|buffalo_l", message
        )
        assert "download_missing" in message, message
    else:
        assert run.event == "execution_success", run.details
        shown = front_end.outputs().values()
        assert any(output.get("images") or output.get("text") for output in shown)


def test_the_list_of_packs_tells_which_are_to_be_downloaded(front_end: FrontEnd):
    front_end.open_template(PACK, "fastface_detect")
    labels, declared = front_end.page.evaluate(
        """() => {
            const graph = window.comfyAPI.app.app.graph
            const node = graph.nodes.find(({ type }) => type === "FastFaceLoader")
            const widget = node.widgets.find(({ name }) => name === "model_pack")
            const label = widget.options.getOptionLabel
            const names = ["auto", "facenet-mtcnn", "antelopev2", "buffalo_l"]
            return [names.map(label), node.constructor.nodeData.input.required.model_pack[1]]
        }"""
    )
    assert labels == [
        "auto",
        "facenet-mtcnn",
        "antelopev2 (to download; non-commercial)",
        "buffalo_l (to download; non-commercial)",
    ]
    assert "Not installed here: antelopev2, " in declared["tooltip"]
    assert '"antelopev2"' in json.dumps(declared["to_download"])
    saved = json.dumps(front_end.page.evaluate(SERIALIZE))
    assert "(to download" not in saved
