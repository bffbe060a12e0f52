"""Six people of a group photo, each by reference, through three packs in a real ComfyUI.

InstantID's keypoint preprocessor runs as it is. IPAdapter FaceID and PuLID run with the face step
of their unmodified code, up to where they need weights of their own: what they have by then is read
from their frames. COMFYUI_IPADAPTER_PATH and COMFYUI_PULID_PATH name checkouts of
cubiq/ComfyUI_IPAdapter_plus and cubiq/PuLID_ComfyUI.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.comfyui.comfyui_server import PACK_FOLDER, ComfyServer, link
from tests.comfyui.fixtures import add_node, fill, weights_folder
from tests.comfyui.prompts import SCRFD, Prompt, loader, node, save, show
from tests.comfyui.test_real_comfyui import pixels
from tests.photos import read_bgr

pytestmark = pytest.mark.comfyui

GROUP, PEOPLE = "multiface.jpg", 6

#: Nodes that run the face steps: everything their code needs besides is not there, and stops it.
FACE_STEPS = """
import ast, json, os, sys
from pathlib import Path

import torch
import comfy.model_management
import folder_paths

class Reached(Exception):
    pass

class Stops:
    "A model that nobody has: whatever is asked of it ends the step."
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        raise Reached(name)

class PassesOn:
    def clone(self): return self
    def to(self, *args, **kwargs): return self

def locals_at_end(function, *args, **kwargs):
    "What the function's own variables are where it asks for a model that nobody has."
    try:
        function(*args, **kwargs)
    except Reached as reached:
        trace = reached.__traceback__
        while trace.tb_frame.f_code is not function.__code__:
            trace = trace.tb_next
        return trace.tb_frame.f_locals
    raise RuntimeError("the step did not end")

class TestIPAdapterFaceStep:
    FUNCTION, CATEGORY, RETURN_TYPES = "run", "tests", ("STRING", "IMAGE")

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"insightface": ("INSIGHTFACE", {}), "image": ("IMAGE", {})}}

    def run(self, insightface, image):
        (module,) = [m for n, m in sys.modules.items() if n.endswith("IPAdapterPlus") and m]
        portrait = {"image_proj": {"proj.2.weight": torch.zeros(1)},
                    "ip_adapter": {"1.to_k_ip.weight": torch.zeros(1, 768)}}
        known = locals_at_end(
            module.ipadapter_execute, None, portrait, Stops(), insightface=insightface, image=image
        )
        return json.dumps(known["face_cond_embeds"].flatten().tolist()), known["image"]

class TestPulidFaceStep:
    FUNCTION, CATEGORY, RETURN_TYPES = "run", "tests", ("STRING",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"face_analysis": ("FACEANALYSIS", {}), "image": ("IMAGE", {})}}

    def run(self, face_analysis, image):
        # Its imports need libraries and weights for what comes after the face step.
        tree = ast.parse(Path(os.environ["COMFYUI_PULID_PATH"], "pulid.py").read_text())
        wanted = ("ApplyPulid", "tensor_to_image")
        tree.body = [part for part in tree.body if getattr(part, "name", "") in wanted]
        scope = {"torch": torch, "comfy": comfy, "folder_paths": folder_paths,
                 "FaceRestoreHelper": lambda **kwargs: Stops_but_for_attributes(),
                 "init_parsing_model": lambda **kwargs: None}
        exec(compile(tree, "pulid.py", "exec"), scope)
        apply = scope["ApplyPulid"].apply_pulid
        known = locals_at_end(apply, None, PassesOn(), PassesOn(), PassesOn(), face_analysis, image,
                              1.0, 0.0, 1.0, method="fidelity")
        return (json.dumps(known["iface_embeds"].float().flatten().tolist()),)

class Stops_but_for_attributes(Stops):
    def __setattr__(self, name, value):
        object.__setattr__(self, name, value)

NODE_CLASS_MAPPINGS = {
    "TestIPAdapterFaceStep": TestIPAdapterFaceStep, "TestPulidFaceStep": TestPulidFaceStep,
}
"""


@pytest.fixture(scope="module")
def group(
    checkout: Path,
    python: str,
    options: str,
    installed: dict[str, str],
    instantid: Path | None,
    test_data: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ComfyServer]:
    """A ComfyUI with the three packs, the group photo and a portrait cut out of it for each."""
    paths = [os.environ.get(name, "") for name in ("COMFYUI_IPADAPTER_PATH", "COMFYUI_PULID_PATH")]
    if instantid is None or not all(paths):
        pytest.skip(
            "COMFYUI_INSTANTID_PATH, COMFYUI_IPADAPTER_PATH or COMFYUI_PULID_PATH names no checkout"
        )
    base = tmp_path_factory.mktemp("person")
    fill(base, PACK_FOLDER, installed, instantid, weights_folder())
    link(Path(paths[0]).resolve(), base / "custom_nodes" / "ComfyUI_IPAdapter_plus")
    add_node(base, "face_steps", FACE_STEPS)
    shutil.copyfile(test_data / "images" / GROUP, base / "input" / GROUP)
    with ComfyServer(checkout, python, base, options) as server:
        yield server


def boxes(server: ComfyServer) -> list[list[int]]:
    """Left, top, width, height of the six faces, from the left."""
    prompt = {
        "photo": node("LoadImage", image=GROUP),
        "loader": loader(**SCRFD),
        "detect": node(
            "FastFaceDetect",
            faceanalysis=["loader", 0],
            images=["photo", 0],
            mask_shape="box",
            bbox_format="xywh",
            annotate=False,
        ),
        "boxes": show("detect", 3),
    }
    return sorted(json.loads(server.run(prompt)["boxes"]["text"][0]))


def person(**inputs: Any) -> dict[str, Any]:
    settings = {"by": "largest", "index": 0, "keep": "only", "threshold": 0.4}
    return node("FastFacePerson", faceanalysis=["loader", 0], **settings | inputs)


def workflow(portrait: str) -> Prompt:
    """The person of a portrait, in the group photo, into all three packs."""
    return {
        "photo": node("LoadImage", image=GROUP),
        "portrait": node("LoadImage", image=portrait),
        "loader": loader(**SCRFD),
        "who": node(
            "FastFaceEmbed",
            faceanalysis=["loader", 0],
            images=["portrait", 0],
            which="largest",
        ),
        "person": person(reference=["who", 1]),
        "keypoints": node(
            "FaceKeypointsPreprocessor", faceanalysis=["person", 0], image=["photo", 0]
        ),
        "save keypoints": save("keypoints"),
        "ipadapter": node("TestIPAdapterFaceStep", insightface=["person", 1], image=["photo", 0]),
        "ipadapter embedding": show("ipadapter", 0),
        "save crop": save("ipadapter", 1),
        "pulid": node("TestPulidFaceStep", face_analysis=["person", 0], image=["photo", 0]),
        "pulid embedding": show("pulid", 0),
    }


def middle(picture: np.ndarray) -> np.ndarray:
    """Where the drawing of the keypoints lies: x, y."""
    rows, columns = np.nonzero(picture.any(axis=2))
    return np.array([columns.mean(), rows.mean()])


def cosine(one: list[float], other: list[float]) -> float:
    first, second = np.array(one), np.array(other)
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


def test_each_of_six_people_reaches_instantid_ipadapter_and_pulid(group: ComfyServer):
    photo = read_bgr(group.base / "input" / GROUP)
    places = boxes(group)
    assert len(places) == PEOPLE
    embeddings = []
    for number, (left, top, width, height) in enumerate(places):
        margin = int(0.6 * height)
        rows = slice(max(0, top - margin), top + height + margin)
        portrait = photo[rows, max(0, left - margin) : left + width + margin]
        cv2.imwrite(str(group.base / "input" / f"portrait_{number}.png"), portrait)
        outputs = group.run(workflow(f"portrait_{number}.png"))
        x, y = middle(pixels(group.image_path(outputs["save keypoints"])))
        assert left < x < left + width and top < y < top + height, number
        crop = pixels(group.image_path(outputs["save crop"]))
        assert crop.shape == (224, 224, 3)
        face_id, pulid = (
            json.loads(outputs[name]["text"][0])
            for name in ("ipadapter embedding", "pulid embedding")
        )
        assert cosine(face_id, pulid) > 0.999, number
        embeddings.append(face_id)
    # Six persons, not one six times.
    others = [
        cosine(one, other)
        for number, one in enumerate(embeddings)
        for other in embeddings[number + 1 :]
    ]
    assert max(others) < 0.4


def test_the_same_prompt_again_runs_nothing_and_another_person_the_nodes_behind(
    group: ComfyServer,
):
    def ran(index: int) -> set[str]:
        prompt = {
            "photo": node("LoadImage", image=GROUP),
            "loader": loader(**SCRFD),
            "person": person(by="left to right", index=index),
            "keypoints": node(
                "FaceKeypointsPreprocessor", faceanalysis=["person", 0], image=["photo", 0]
            ),
            "save": save("keypoints"),
        }
        result = group.result(group.queue(prompt))
        assert result["status"]["status_str"] == "success", result["status"]
        messages = dict(result["status"]["messages"])
        return set(prompt) - set(messages["execution_cached"]["nodes"])

    ran(0)
    assert ran(0) == set()
    assert ran(1) == {"person", "keypoints", "save"}


def test_nobody_fits_gives_black_keypoints_and_one_line_in_the_log(group: ComfyServer):
    prompt = {
        "photo": node("LoadImage", image=GROUP),
        "loader": loader(**SCRFD),
        "person": person(by="left to right", index=17),
        "keypoints": node(
            "FaceKeypointsPreprocessor", faceanalysis=["person", 0], image=["photo", 0]
        ),
        "save": save("keypoints"),
    }
    outputs = group.run(prompt)
    assert not pixels(group.image_path(outputs["save"])).any()
    said = [line for line in group.log(1000).splitlines() if "FastFace Person: " in line]
    assert len(said) == 1 and "none of 6 faces is face 17" in said[0]
