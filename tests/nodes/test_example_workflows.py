"""The example workflows: they fit the nodes, and those that need no other model run.

They are in the format of ComfyUI's front end. What can be known without a ComfyUI is checked
without; the rest runs as tests/comfyui does, when COMFYUI_PATH names a checkout.
"""

from __future__ import annotations

import inspect
import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastface
from fastface.nodes import NODE_CLASS_MAPPINGS
from tests.comfyui import fixtures
from tests.comfyui import test_real_comfyui as real
from tests.comfyui.comfyui_server import ComfyServer
from tests.comfyui.prompts import Prompt

FOLDER = Path(inspect.getfile(fastface)).parent / "example_workflows"
WORKFLOWS = {path.stem: path for path in sorted(FOLDER.glob("*.json"))}
OURS = "comfyui-fastface"
#: Where the nodes may come from, by their names in ComfyUI's registry.
PACKS = {
    "comfy-core",
    OURS,
    "comfyui_instantid",
    "comfyui_ipadapter_plus",
    "pulid_comfyui",
    "comfyui-impact-pack",
    "comfyui_faceanalysis",
}
#: What every Load Image of the workflows asks for; the pack puts it into ComfyUI's input folder.
EXAMPLE_PHOTO = "fastface_example.jpg"
LARGEST_PICTURE_BYTES = 300_000
TITLE_HEIGHT = 30

WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
#: A choice of newer cores that brings further widgets; saved as a plain one it is still taken.
DYNAMIC_CHOICE = "COMFY_DYNAMICCOMBO_V3"
SEEDS = ("seed", "noise_seed")

# The fixtures of the tests in a real ComfyUI.
installation, options = fixtures.installation, fixtures.options
checkout, python = fixtures.checkout, fixtures.python
installed, instantid, comfyui = fixtures.installed, fixtures.instantid, fixtures.comfyui
rtx = fixtures.rtx


def read(name: str) -> dict[str, Any]:
    return json.loads(WORKFLOWS[name].read_text(encoding="utf-8"))


def working_nodes(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [node for node in workflow["nodes"] if node["type"] != "Note"]


def widget_values(node: dict[str, Any]) -> dict[str, Any]:
    """The values of a node's widgets by name, in the order of its inputs."""
    values = list(node.get("widgets_values", ()))
    named = {}
    for entry in node["inputs"]:
        if "widget" in entry:
            named[entry["name"]] = values.pop(0)
            if entry["name"] in SEEDS:
                assert values.pop(0) == "fixed"  # what becomes of the seed after a run
    assert not values, f"{node['type']} has values without a widget: {values}"
    return named


def sockets(node: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["type"] for entry in node["inputs"] if "widget" not in entry}


def assert_fits(
    node: dict[str, Any], declared: dict[str, dict[str, Any]], outputs: list[tuple[str, str]]
) -> None:
    """Inputs and outputs of a workflow's node are those of `INPUT_TYPES` and `RETURN_TYPES`."""
    inputs = declared.get("required", {}) | declared.get("optional", {})
    widgets, expected_sockets = [], {}
    for name, (kind, *more) in inputs.items():
        if isinstance(kind, list) or kind in (*WIDGETS, DYNAMIC_CHOICE):
            options = more[0] if more else {}
            has_button = options.get("image_upload") or options.get("video_upload")
            widgets += [name, "upload"] if has_button else [name]
        else:
            expected_sockets[name] = kind
    assert list(widget_values(node)) == widgets, node["type"]
    assert sockets(node) == expected_sockets, node["type"]
    assert [(entry["name"], entry["type"]) for entry in node["outputs"]] == outputs, node["type"]


def is_allowed(value: Any, kind: str | list[str], limits: dict[str, Any]) -> bool:
    if isinstance(kind, list):
        return value in kind
    if kind == "STRING":
        return isinstance(value, str)
    if kind == "BOOLEAN":
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, int if kind == "INT" else (int, float)):
        return False
    steps = (value - limits["min"]) / limits["step"]
    return limits["min"] <= value <= limits["max"] and abs(steps - round(steps)) < 1e-6


@pytest.mark.parametrize(
    "value, kind, expected",
    [
        ("", ["auto"], False),
        ("auto", ["auto"], True),
        (1, "BOOLEAN", False),
        (1, "STRING", False),
        ("any text", "STRING", True),
        (True, "INT", False),
        (640, "INT", True),
        (650, "INT", False),
        (4128, "INT", False),
        (0.5, "INT", False),
        (64, "FLOAT", True),
    ],
)
def test_what_is_allowed(value: Any, kind: str | list[str], expected: bool):
    assert is_allowed(value, kind, {"min": 64, "max": 4096, "step": 32}) is expected


def test_each_workflow_has_its_picture():
    assert len(WORKFLOWS) >= 4
    assert {path.stem for path in FOLDER.glob("*.jpg")} == set(WORKFLOWS)


def test_every_node_of_ours_is_shown():
    shown = {node["type"] for name in WORKFLOWS for node in read(name)["nodes"]}
    missing = set(NODE_CLASS_MAPPINGS) - shown
    assert not missing, f"show {sorted(missing)} in a workflow of example_workflows/"


@pytest.mark.parametrize("name", WORKFLOWS)
class TestWorkflow:
    def test_the_picture_is_small(self, name: str):
        path = WORKFLOWS[name].with_suffix(".jpg")
        with Image.open(path) as picture:
            assert picture.format == "JPEG" and picture.width == 1400
        assert path.stat().st_size < LARGEST_PICTURE_BYTES

    def test_is_in_the_format_of_the_front_end(self, name: str):
        workflow = read(name)
        assert workflow["version"] == 0.4
        node_ids = [node["id"] for node in workflow["nodes"]]
        link_ids = [entry[0] for entry in workflow["links"]]
        assert len(set(node_ids)) == len(node_ids) and workflow["last_node_id"] == max(node_ids)
        assert len(set(link_ids)) == len(link_ids) and workflow["last_link_id"] == max(link_ids)

    def test_a_note_says_in_two_sentences_what_it_is(self, name: str):
        (note,) = (node for node in read(name)["nodes"] if node["type"] == "Note")
        (text,) = note["widgets_values"]
        assert len(re.findall(r"\.(?:\s|$)", text)) == 2

    def test_nodes_come_from_the_packs_it_is_about(self, name: str):
        for node in working_nodes(read(name)):
            pack = node["properties"]["cnr_id"]
            assert pack in PACKS, node["type"]
            assert (pack == OURS) == (node["type"] in NODE_CLASS_MAPPINGS), node["type"]
            assert node["properties"]["Node name for S&R"] == node["type"]

    def test_our_nodes_fit(self, name: str):
        ours = [node for node in read(name)["nodes"] if node["type"] in NODE_CLASS_MAPPINGS]
        assert ours
        for node in ours:
            node_class = NODE_CLASS_MAPPINGS[node["type"]]
            declared = node_class.INPUT_TYPES()
            outputs = zip(node_class.RETURN_NAMES, node_class.RETURN_TYPES, strict=True)
            assert_fits(node, declared, list(outputs))
            for widget, value in widget_values(node).items():
                kind, limits = (declared["required"] | declared.get("optional", {}))[widget]
                assert is_allowed(value, kind, limits), f"{node['type']}.{widget} = {value!r}"
            linked = {entry["name"] for entry in node["inputs"] if entry["link"] is not None}
            needed = set(sockets(node)) & set(declared["required"])
            assert needed <= linked, node["type"]

    def test_nothing_is_downloaded_unasked(self, name: str):
        for node in read(name)["nodes"]:
            if node["type"] == "FastFaceLoader":
                assert widget_values(node)["download_missing"] is False

    def test_links_agree_with_both_ends(self, name: str):
        workflow = read(name)
        nodes = {node["id"]: node for node in workflow["nodes"]}
        assert {(entry[0], *entry[1:3], entry[5]) for entry in workflow["links"]} == {
            (number, node["id"], slot, output["type"])
            for node in workflow["nodes"]
            for slot, output in enumerate(node["outputs"])
            for number in output["links"] or ()
        }
        assert {(entry[0], *entry[3:5]) for entry in workflow["links"]} == {
            (entry["link"], node["id"], slot)
            for node in workflow["nodes"]
            for slot, entry in enumerate(node["inputs"])
            if entry["link"] is not None
        }
        for number, _, _, target, slot, kind in workflow["links"]:
            taken = nodes[target]["inputs"][slot]["type"].split(",")
            assert {kind, "*"} & set(taken), f"link {number}"

    def test_no_node_lies_on_another(self, name: str):
        for one, other in itertools.combinations(read(name)["nodes"], 2):
            beside = any(
                first["pos"][0] + first["size"][0] <= second["pos"][0]
                or first["pos"][1] + first["size"][1] <= second["pos"][1] - TITLE_HEIGHT
                for first, second in ((one, other), (other, one))
            )
            assert beside, f"{one['type']} {one['id']} and {other['type']} {other['id']}"


def as_prompt(workflow: dict[str, Any]) -> Prompt:
    """What the front end sends when the workflow is queued."""
    origins = {entry[0]: [str(entry[1]), entry[2]] for entry in workflow["links"]}
    prompt: Prompt = {}
    for node in working_nodes(workflow):
        linked = {
            entry["name"]: origins[entry["link"]]
            for entry in node["inputs"]
            if entry["link"] is not None
        }
        prompt[str(node["id"])] = {
            "class_type": node["type"],
            "inputs": widget_values(node) | linked,
        }
    return prompt


def run(comfyui: ComfyServer, name: str, photo: str = real.PHOTO) -> dict[str, dict[str, Any]]:
    """What the nodes of a workflow show, by their titles, for a photo in the input folder."""
    workflow = read(name)
    titles = {str(node["id"]): node.get("title", node["type"]) for node in workflow["nodes"]}
    prompt = as_prompt(workflow)
    for node in prompt.values():
        if node["class_type"] == "LoadImage":
            assert node["inputs"]["image"] == EXAMPLE_PHOTO
            node["inputs"]["image"] = photo
    outputs = comfyui.run(prompt)
    return {titles[node_id]: output for node_id, output in outputs.items()}


@pytest.mark.comfyui
class TestInComfyUI:
    @pytest.mark.parametrize("name", WORKFLOWS)
    def test_nodes_are_as_comfyui_declares_them(self, comfyui: ComfyServer, name: str):
        known = comfyui.call("/object_info")
        for node in working_nodes(read(name)):
            info = known.get(node["type"])
            if info is None:
                assert node["properties"]["cnr_id"] not in ("comfy-core", OURS), node["type"]
                continue
            outputs = list(zip(info["output_name"], info["output"], strict=True))
            if node["properties"]["cnr_id"] == "comfy-core":
                # Later versions may have added some, which the front end adds to the workflow.
                outputs = outputs[: len(node["outputs"])]
            assert_fits(node, info["input"], outputs)

    def test_detect_runs(self, comfyui: ComfyServer):
        shown = run(comfyui, "fastface_detect")
        assert shown["Number of faces"]["text"] == [str(real.FACES_IN_PHOTO)]
        where = shown["What runs where"]["text"][0]
        # On the CPU the detector is opened by its first image, unless an earlier one did it.
        assert where.startswith(
            ("detection: opened when first needed, on cpu", "detection: runs on")
        )
        photo = real.pixels(comfyui.as_loaded(real.PHOTO))
        annotated = real.pixels(comfyui.image_path(shown["SaveImage"]))
        mask = real.pixels(comfyui.image_path(shown["Mask"]))
        assert annotated.shape == mask.shape == photo.shape
        assert (annotated != photo).any() and set(np.unique(mask)) == {0, 255}

    def test_the_first_click_gives_a_result(self, comfyui: ComfyServer):
        shown = run(comfyui, "fastface_mask_info", photo=EXAMPLE_PHOTO)
        (text,) = shown["What is known about it"]["text"]
        assert text.startswith("0: score 0.") or text.startswith("0: score 1.")
        mask = real.pixels(comfyui.image_path(shown["Soft mask"]))
        assert mask.min() == 0 and mask.max() == 255

    def test_a_saved_person_is_found_again(self, comfyui: ComfyServer, test_data: Path):
        shown = run(comfyui, "fastface_saved_person", photo=EXAMPLE_PHOTO)
        saved = comfyui.base / "models" / "fastface" / "embeddings" / "my character.safetensors"
        assert saved.is_file()
        assert shown["FastFaceSelect"]["text"] == ["picked 1 face in 1 image"]

    def test_a_film_becomes_a_keypoint_film(self, comfyui: ComfyServer, test_data: Path):
        shown = run(comfyui, "fastface_film_keypoints")
        assert "1 track" in shown["FastFaceVideo"]["text"][0]
        assert shown["FastFaceTracks"]["text"][0].startswith("tracks shown: 0")
        for title in ("Keypoint film", "Who is who"):
            ((film,),) = (value for key, value in shown[title].items() if key == "images")
            path = comfyui.base / "output" / film["subfolder"] / film["filename"]
            assert path.stat().st_size > 5_000

    def test_people_of_a_gallery_are_named(self, comfyui: ComfyServer, test_data: Path):
        shown = run(comfyui, "fastface_gallery", photo=EXAMPLE_PHOTO)
        assert shown["Names"]["text"] == ["Eileen Collins"]
        assert "Eileen Collins: 1 embedding" in shown["Who is in the gallery"]["text"][0]
        gallery = comfyui.base / "models" / "fastface" / "galleries" / "my gallery"
        assert (gallery / "gallery.json").is_file()

    def test_mtcnn_runs(self, comfyui: ComfyServer):
        shown = run(comfyui, "fastface_mtcnn")
        assert shown["Number of faces"]["text"] == [str(real.FACES_IN_PHOTO)]

    def test_benchmark_runs(self, comfyui: ComfyServer):
        shown = run(comfyui, "fastface_benchmark")
        report = shown["Report"]["text"][0]
        assert "insightface cpu fp32" in report and "facenet cpu fp32" in report
        assert real.pixels(comfyui.image_path(shown["Chart"])).shape[1] == 1080

    def test_build_engine_runs(self, comfyui: ComfyServer, test_data: Path, rtx: None):
        said = run(comfyui, "fastface_build_engine")["What was built"]["text"][0]
        assert "2 engines by tensorrt_rtx" in said and "recognition: mobilefacenet.onnx" in said

    def test_select_and_paste_run(self, comfyui: ComfyServer, test_data: Path):
        shown = run(comfyui, "fastface_select_paste")
        photo = real.pixels(comfyui.as_loaded(real.PHOTO))
        blurred = real.pixels(comfyui.image_path(shown["SaveImage"]))
        assert blurred.shape == photo.shape
        changed = (blurred != photo).any(-1)
        # One face of the photo, and nothing else, is another picture now.
        assert 0.001 < changed.mean() < 0.2
        assert real.pixels(comfyui.image_path(shown["FastFaceCompare"])).any()

    def test_embed_and_keypoints_run(self, comfyui: ComfyServer, test_data: Path):
        shown = run(comfyui, "fastface_embed_keypoints")
        assert "Embedding(128 numbers of" in shown["Mean embedding"]["text"][0]
        first, second = shown["Keypoint images"]["images"]
        for image in (first, second):
            assert real.pixels(comfyui.image_path({"images": [image]})).any()
