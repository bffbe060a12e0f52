"""ComfyUI's caches walk what nodes gave; no object of ours may answer for what it is not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fastface.nodes import NODE_CLASS_MAPPINGS
from tests.comfyui import walk_outputs
from tests.comfyui.comfyui_server import PACK_FOLDER, ComfyServer, link
from tests.comfyui.fixtures import ROOT
from tests.comfyui.prompts import PHOTO, Prompt, detect, loader, node, show
from tests.contract import conftest as contract

pytestmark = pytest.mark.comfyui

five_models = contract.five_models


@pytest.fixture(scope="module")
def walked(
    checkout: Path,
    python: str,
    installed: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What became of every node's outputs in this ComfyUI's caches."""
    photo = Path(installed["insightface"]).parent / "data" / "images" / PHOTO
    folder = tmp_path_factory.mktemp("walk")
    script = Path(walk_outputs.__file__)
    done = subprocess.run(
        [python, str(script), str(ROOT), str(photo), str(folder)],
        cwd=checkout,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1])


def test_the_outputs_of_every_node_are_walked(walked: dict[str, Any]):
    assert walked["nodes"] == sorted(NODE_CLASS_MAPPINGS)
    assert set(walked["unrunnable"]) <= {"FastFaceBuildEngine"}
    assert {
        "Face",
        "Faces",
        "FaceAnalysis",
        "Embedding",
        "CropBatch",
        "Tracks",
        "SEG",
        "MtcnnParameters",
    } <= (set(walked["kinds"]))
    assert walked["wrong"] == []


def test_it_is_what_this_comfyui_does(walked: dict[str, Any], checkout: Path):
    """Whatever of the following a ComfyUI has was run."""
    source = "\n".join(
        (checkout / file).read_text(encoding="utf-8")
        for file in ("comfy_execution/caching.py", "comfy/model_patcher.py")
    )
    for name in ("to_hashable", "all_outputs_dynamic", "RAMPressureCache", "PromptModelTracker"):
        is_there = f"def {name}" in source or f"class {name}" in source
        assert is_there == any(step.startswith(name) for step in walked["walked"]), name


@pytest.fixture
def pressed(
    checkout: Path,
    python: str,
    options: str,
    installed: dict[str, str],
    five_models: Path,
    tmp_path: Path,
) -> Any:
    """A ComfyUI that never has as much free memory as it wants."""
    if "--cache-ram" not in options:
        pytest.skip(f"the ComfyUI in {checkout} has no cache that goes by memory")
    link(ROOT, tmp_path / "custom_nodes" / PACK_FOLDER)
    photo = Path(installed["insightface"]).parent / "data" / "images" / PHOTO
    (tmp_path / "input").mkdir()
    shutil.copy(photo, tmp_path / "input")
    link(five_models, tmp_path / "models" / "insightface" / "models" / "five")
    return ComfyServer(checkout, python, tmp_path, options, "--cache-ram", "999")


def test_prompts_in_a_row_under_memory_pressure(pressed: ComfyServer):
    with pressed as server:
        for number in range(3):
            prompt: Prompt = {
                "photo": node("LoadImage", image=PHOTO),
                "loader": loader(model_pack="five"),
                "detect": detect(annotate=number == 1),
                "model": node(
                    "FastFaceFaceModel",
                    faceanalysis=["loader", 0],
                    images=["photo", 0],
                    name=f"person {number}",
                ),
                "show": show("model", 1),
                "face": show("model", 0),
            }
            outputs = server.run(prompt)
            assert "made of 1 face(s)" in json.dumps(outputs["show"]), number
            assert "landmark_2d_106" in json.dumps(outputs["face"]), number
