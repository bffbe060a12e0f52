"""Which nodes run again when a workflow is queued again, in a real ComfyUI's cache."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastface.utils.pictures import read_picture
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


def film(**saved: int) -> Prompt:
    """A film, its tracks, and outputs of FastFace Tracks that are saved as images."""
    prompt: Prompt = {
        "load": node("LoadVideo", file="fastface_example.mp4"),
        "loader": loader(model_pack="pack", backend="onnxruntime"),
        "video": node(
            "FastFaceVideo",
            faceanalysis=["loader", 0],
            film="(from video or images)",
            every_nth=24,
            frames=0,
            start_seconds=0.0,
            end_seconds=0.0,
            accuracy="exact",
            write="none",
            filename_prefix="faces",
            resume=True,
            fps=25.0,
            video=["load", 0],
        ),
        "tracks": node(
            "FastFaceTracks",
            tracks=["video", 0],
            which="largest",
            ids="0",
            threshold=0.3,
            smooth=0.5,
            missing="interpolate",
            longest_gap=1.0,
            mask_shape="ellipse",
            crop_size=64,
            crop_padding=0.5,
            names="",
            gallery="",
        ),
    }
    for name, output in saved.items():
        prompt[name] = node("SaveImage", images=["tracks", output], filename_prefix=name)
    return prompt


def test_outputs_of_tracks_are_made_when_they_are_taken(packed: ComfyServer):
    keypoints, crops, video = 0, 3, 1
    assert ran(packed, film(first=keypoints)) >= {"video", "tracks", "first"}
    assert ran(packed, film(first=keypoints)) == set()
    # What was not taken was not made, so it runs again, and nothing before it does.
    both = film(first=keypoints, second=crops)
    assert ran(packed, both) == {"tracks", "first", "second"}
    assert ran(packed, both) == set()
    for prefix, side in (("first", 448), ("second", 64)):
        pictures = [read_picture(path) for path in (packed.base / "output").glob(f"{prefix}_*.png")]
        assert pictures and all(picture.shape[1] == side for picture in pictures)
        assert all(picture.any() for picture in pictures)
    assert not list((packed.base / "temp").glob("fastface_*.mp4"))
    saved = both | {
        "film": node(
            "SaveVideo",
            video=["tracks", video],
            filename_prefix="film",
            format="auto",
            codec="auto",
        )
    }
    assert ran(packed, saved) >= {"tracks", "film"}
    assert len(list((packed.base / "temp").glob("fastface_*.mp4"))) == 1
