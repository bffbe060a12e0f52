"""Which nodes run again when a workflow is queued again, in a real ComfyUI's cache."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.comfyui.comfyui_server import PACK_FOLDER, ComfyServer
from tests.comfyui.fixtures import fill
from tests.comfyui.prompts import PHOTO, Prompt, detect, loader, node, save
from tests.contract.random_heads import write_random_heads

pytestmark = pytest.mark.comfyui

#: Behind `faces` of FastFace Detect.
BEHIND = {"select", "memory", "crop", "crops"}


def workflow(**changes: object) -> Prompt:
    """Photo, faces, FastFace Memory in the middle, crops; `changes` are those of Detect."""
    return {
        "photo": node("LoadImage", image=PHOTO),
        "loader": loader(model_pack="pack", backend="onnxruntime"),
        "detect": detect(**changes),
        "annotated": save("detect", 1),
        "select": node(
            "FastFaceSelect", faces=["detect", 0], by="largest", index=0, count=1, threshold=0.3
        ),
        "memory": node(
            "FastFaceMemory",
            action="status",
            model_pack="auto",
            backend="auto",
            device="auto",
            precision="auto",
            after=["select", 0],
        ),
        "crop": node(
            "FastFaceCrop",
            images=["photo", 0],
            faces=["memory", 1],
            shape="square",
            size=64,
            padding=0.5,
        ),
        "crops": save("crop"),
    }


@pytest.fixture(scope="module")
def packed(
    checkout: Path,
    python: str,
    options: str,
    installed: dict[str, str],
    test_data: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ComfyServer]:
    """A ComfyUI with a pack that it has for itself."""
    base = tmp_path_factory.mktemp("reruns")
    fill(base, PACK_FOLDER, installed, None, None)
    shutil.copytree(test_data / "models", pack_of(base))
    with ComfyServer(checkout, python, base, options) as server:
        yield server


def pack_of(base: Path) -> Path:
    return base / "models" / "insightface" / "models" / "pack"


def ran(server: ComfyServer, prompt: Prompt) -> set[str]:
    """The nodes that ran, and were not taken from the cache."""
    result = server.result(server.queue(prompt))
    assert result["status"]["status_str"] == "success", result["status"]
    messages = dict(result["status"]["messages"])
    return set(prompt) - set(messages["execution_cached"]["nodes"])


def add_a_file(folder: Path) -> None:
    made = folder.parents[3] / "made"
    made.mkdir()
    write_random_heads(made)
    shutil.copy(made / "genderage.onnx", folder)


#: What is done between two runs, how Detect is changed, and what runs again then.
CASES: dict[str, tuple[Callable[[Path], None] | None, dict[str, object], set[str]]] = {
    "nothing": (None, {}, set()),
    "annotate is switched": (None, {"annotate": False}, {"detect", "annotated", *BEHIND}),
    "the mask's shape": (None, {"mask_shape": "box"}, {"detect", "annotated", *BEHIND}),
    "a file is added to the pack": (
        add_a_file,
        {},
        {"loader", "detect", "annotated", *BEHIND},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_runs_again(packed: ComfyServer, case: str):
    between, changes, expected = CASES[case]
    ran(packed, workflow())
    if between is not None:
        between(pack_of(packed.base))
    assert ran(packed, workflow(**changes)) == expected
    assert ran(packed, workflow(**changes)) == set()


def test_what_is_drawn_of_faces_after_them_runs_alone(packed: ComfyServer):
    def drawn(shape: str) -> Prompt:
        faces = {"faces": ["select", 0], "images": ["photo", 0]}
        settings = {"shape": shape, "grow": 0, "blur": 0.0, "bbox_format": "xywh"}
        more = {"mask": node("FastFaceMask", **faces, **settings), "drawn": save("mask", 3)}
        return workflow() | more

    ran(packed, drawn("ellipse"))
    assert ran(packed, drawn("box")) == {"mask", "drawn"}
