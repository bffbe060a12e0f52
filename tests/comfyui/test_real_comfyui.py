"""The nodes in a real ComfyUI; runs when COMFYUI_PATH names a checkout, see fixtures.py."""

from __future__ import annotations

import inspect
import itertools
import json
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastface
from tests.comfyui.comfyui_server import PACK_FOLDER, ComfyServer, link
from tests.comfyui.prompts import (
    FACES_IN_PHOTO,
    MTCNN,
    PHOTO,
    SCRFD,
    Prompt,
    detect,
    loader,
    node,
    save,
    show,
)
from tests.photos import read_bgr

pytestmark = pytest.mark.comfyui

ROOT = Path(inspect.getfile(fastface)).parent
NODES = (
    "FastFaceLoader",
    "FastFaceDetect",
    "FastFaceEmbed",
    "FastFaceKeypoints",
    "FastFaceBenchmark",
    "FastFaceMemory",
    "FastFaceBuildEngine",
)


def pixels(path: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB"))


def settings(name: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    if name == "scrfd":
        request.getfixturevalue("test_data")
        return SCRFD
    return MTCNN


def test_nodes_are_listed(comfyui: ComfyServer):
    for name in NODES:
        info = comfyui.call(f"/object_info/{name}")[name]
        assert info["category"] == "FastFace" and info["description"]
        assert info["python_module"] == f"custom_nodes.{PACK_FOLDER}"


def test_help_pages_are_served(checkout: Path, python: str, options: str, tmp_path: Path):
    # In a folder without spaces: aiohttp 3.14 serves no static files of one with spaces.
    link(ROOT, tmp_path / "custom_nodes" / "fast-face.v1")
    with ComfyServer(checkout, python, tmp_path, options) as server:
        for name in NODES:
            page = server.get(f"/extensions/fast-face.v1/docs/{name}.md").decode()
            assert page.startswith("# FastFace ")


@pytest.mark.parametrize("engine", ["mtcnn", "scrfd"])
def test_first_light(comfyui: ComfyServer, engine: str, request: pytest.FixtureRequest):
    prompt: Prompt = {
        "photo": node("LoadImage", image=PHOTO),
        "loader": loader(**settings(engine, request)),
        "detect": detect(),
        "save": save("detect", 1),
        "count": show("detect", 4),
        "boxes": show("detect", 3),
        "info": show("loader", 2),
    }
    outputs = comfyui.run(prompt)
    assert outputs["count"]["text"] == [str(FACES_IN_PHOTO)]
    assert len(json.loads(outputs["boxes"]["text"][0])) == FACES_IN_PHOTO
    assert "detection: opened when first needed, on cpu" in outputs["info"]["text"][0]
    photo = pixels(comfyui.as_loaded(PHOTO))
    annotated = pixels(comfyui.image_path(outputs["save"]))
    assert annotated.shape == photo.shape
    assert 0.001 < (annotated != photo).any(axis=2).mean() < 0.2
    assert comfyui.image_path(outputs["detect"]).is_file()  # the preview on the node


def turned_by_exif(photo: Path, target: Path) -> None:
    """Lies on its side in the file, and has the EXIF entry that puts it upright."""
    from PIL import Image

    with Image.open(photo) as picture:
        exif = Image.Exif()
        exif[0x0112] = 6  # Orientation: to be turned by a quarter clockwise
        picture.transpose(Image.Transpose.ROTATE_90).save(target, exif=exif, quality=95)


def in_16_bits(photo: Path, target: Path) -> None:
    import cv2

    picture = read_bgr(photo).astype(np.uint16) * 257 + 100
    cv2.imwrite(str(target), picture)


@pytest.mark.parametrize(
    "name, make", [("turned.jpg", turned_by_exif), ("16_bits.png", in_16_bits)]
)
def test_photos_as_cameras_and_editors_write_them(
    comfyui: ComfyServer, name: str, make: Callable[[Path, Path], None]
):
    original = comfyui.base / "input" / PHOTO
    make(original, comfyui.base / "input" / name)
    outputs = comfyui.run(
        {
            "photo": node("LoadImage", image=name),
            "loader": loader(**MTCNN),
            "detect": detect(),
            "save": save("detect", 1),
            "count": show("detect", 4),
        }
    )
    assert outputs["count"]["text"] == [str(FACES_IN_PHOTO)]
    photo = pixels(comfyui.as_loaded(name))
    assert photo.shape == pixels(original).shape
    annotated = pixels(comfyui.image_path(outputs["save"]))
    assert 0.001 < (annotated != photo).any(axis=2).mean() < 0.2


@pytest.mark.parametrize("engine", ["mtcnn", "scrfd"])
def test_instantid_takes_our_object_and_draws_what_we_draw(
    comfyui: ComfyServer, instantid: Path | None, engine: str, request: pytest.FixtureRequest
):
    if instantid is None:
        pytest.skip("COMFYUI_INSTANTID_PATH names no checkout of ComfyUI_InstantID")
    outputs = comfyui.run(
        {
            "photo": node("LoadImage", image=PHOTO),
            "loader": loader(**settings(engine, request)),
            "theirs": node(
                "FaceKeypointsPreprocessor", faceanalysis=["loader", 0], image=["photo", 0]
            ),
            "ours": node("FastFaceKeypoints", faceanalysis=["loader", 0], images=["photo", 0]),
            "save theirs": save("theirs"),
            "save ours": save("ours"),
        }
    )
    theirs, ours = (
        pixels(comfyui.image_path(outputs[name])) for name in ("save theirs", "save ours")
    )
    assert theirs.any()
    np.testing.assert_array_equal(ours, theirs)


def test_embeds_the_faces_that_were_found(comfyui: ComfyServer, test_data: Path):
    outputs = comfyui.run(
        {
            "photo": node("LoadImage", image=PHOTO),
            "loader": loader(**SCRFD),
            "detect": detect(),
            "embed": node(
                "FastFaceEmbed",
                faceanalysis=["loader", 0],
                images=["photo", 0],
                faces=["detect", 0],
                which="all",
            ),
            "mean": show("embed", 1),
        }
    )
    assert "Embedding(128 numbers of" in outputs["mean"]["text"][0]


def test_no_face_is_a_normal_result(comfyui: ComfyServer):
    outputs = comfyui.run(
        {
            "photo": node("EmptyImage", width=320, height=200, batch_size=2, color=0x336699),
            "loader": loader(**MTCNN),
            "detect": detect(),
            "count": show("detect", 4),
            "boxes": show("detect", 3),
            "mask": node("MaskToImage", mask=["detect", 2]),
            "save": save("mask"),
        }
    )
    assert outputs["count"]["text"] == ["0"] and outputs["boxes"]["text"] == ["[]"]
    assert len(outputs["save"]["images"]) == 2


def test_a_pack_that_is_gone_is_refused_with_what_to_do(comfyui: ComfyServer):
    prompt: Prompt = {"loader": loader(model_pack="of_another_machine"), "info": show("loader", 2)}
    with pytest.raises(urllib.error.HTTPError) as refused:
        comfyui.call("/prompt", {"prompt": prompt})
    errors = json.loads(refused.value.read())["node_errors"]["loader"]["errors"]
    assert "models/insightface/models/of_another_machine" in errors[0]["details"]


def test_interruption_stops_a_long_batch_and_the_next_prompt_runs(comfyui: ComfyServer):
    prompt: Prompt = {
        "photo": node("LoadImage", image=PHOTO),
        "small": node("ImageScaleBy", image=["photo", 0], upscale_method="area", scale_by=0.2),
        "batch": node("RepeatImageBatch", image=["small", 0], amount=600),
        "loader": loader(**MTCNN),
        "detect": detect("batch", annotate=False),
        "count": show("detect", 4),
    }
    # The interruption may come before the node has begun: then wait longer, with other settings,
    # so that ComfyUI's cache does not answer.
    for attempt in itertools.count(1):
        prompt["loader"] = loader(**MTCNN | {"det_threshold": 0.9 + attempt / 1000})
        prompt_id = comfyui.queue(prompt)
        time.sleep(attempt)
        comfyui.call("/interrupt", {})
        status = comfyui.result(prompt_id)["status"]
        assert status["status_str"] == "error", f"it ran to its end\n{comfyui.log()}"
        event, details = status["messages"][-1]
        assert event == "execution_interrupted", details
        if details["node_type"] == "FastFaceDetect":
            break
        assert attempt < 8, f"interrupted in {details['node_type']} each time"
    prompt["detect"] = detect("photo")
    assert comfyui.run(prompt)["count"]["text"] == [str(FACES_IN_PHOTO)]


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_unload_models_releases_and_the_next_prompt_brings_back(
    comfyui: ComfyServer, test_data: Path, backend: str
):
    model = "detection (scrfd_2.5g_bnkps.onnx)"
    prompt: Prompt = {
        "photo": node("LoadImage", image=PHOTO),
        "loader": loader(**SCRFD | {"backend": backend}),
        "detect": detect(),
        "count": show("detect", 4),
    }
    assert comfyui.run(prompt)["count"]["text"] == [str(FACES_IN_PHOTO)]
    released = comfyui.log(10_000).count(f"{model}: released")
    for _ in range(20):
        # Asked for while ComfyUI tidies up after a prompt, it is only seen at the next occasion.
        comfyui.call("/free", {"unload_models": True, "free_memory": True})
        time.sleep(1)
        if comfyui.log(10_000).count(f"{model}: released") > released:
            break
    else:
        pytest.fail(f"it was not released\n{comfyui.log()}")
    again = comfyui.log(10_000).count(f"{model}: loaded, runs on")
    prompt["loader"] = loader(**SCRFD | {"backend": backend, "det_threshold": 0.51})
    assert comfyui.run(prompt)["count"]["text"] == [str(FACES_IN_PHOTO)]
    assert comfyui.log(10_000).count(f"{model}: loaded, runs on") == again + 1


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_a_large_model_pushes_ours_out_and_the_next_prompt_brings_them_back(
    comfyui: ComfyServer, test_data: Path, backend: str
):
    model = "detection (scrfd_2.5g_bnkps.onnx)"
    prompt: Prompt = {
        "photo": node("LoadImage", image=PHOTO),
        "loader": loader(**SCRFD | {"backend": backend, "det_threshold": 0.52}),
        "detect": detect(),
        "large": node("TestLargeModel", after=["detect", 4]),
        "count": show("large", 0),
    }
    released = comfyui.log(10_000).count(f"{model}: released")
    assert comfyui.run(prompt)["count"]["text"] == [str(FACES_IN_PHOTO)]
    assert comfyui.log(10_000).count(f"{model}: released") > released
    loaded = comfyui.log(10_000).count(f"{model}: loaded, runs on")
    prompt["loader"] = loader(**SCRFD | {"backend": backend, "det_threshold": 0.53})
    assert comfyui.run(prompt)["count"]["text"] == [str(FACES_IN_PHOTO)]
    assert comfyui.log(10_000).count(f"{model}: loaded, runs on") == loaded + 1


def benchmark(**changes: Any) -> dict[str, Any]:
    inputs = {
        "model_pack": "auto",
        "job": "detect",
        "contestants": "onnxruntime, torch, facenet, insightface",
        "device": "cpu",
        "precisions": "fp32",
        "batch": 1,
        "det_size": 320,
        "rounds": 2,
    }
    return node("FastFaceBenchmark", images=["photo", 0], **inputs | changes)


def test_benchmark_gives_chart_text_and_json_of_all_backends(comfyui: ComfyServer):
    outputs = comfyui.run(
        {
            "photo": node("LoadImage", image=PHOTO),
            "benchmark": benchmark(),
            "save": save("benchmark", 1),
            "json": show("benchmark", 2),
            "report": show("benchmark", 0),
        }
    )
    result = json.loads(outputs["json"]["text"][0])
    rows = {row["contestant"]: row for row in result["cases"][0]["rows"]}
    # And whatever else somebody installed.
    assert set(rows) - {"openvino"} == {"onnxruntime", "torch", "facenet", "insightface"}
    assert {row["state"] for row in rows.values()} == {"measured"}, rows
    assert {rows[name]["parity"]["verdict"] for name in ("onnxruntime", "torch", "facenet")} == {
        "fit"
    }
    text = outputs["report"]["text"][0]
    assert all(f"{name} cpu fp32" in text for name in rows)
    # Without real weights it must be said that they are random.
    assert ("RANDOM WEIGHTS" in text) == result["weights"]["random"]
    assert pixels(comfyui.image_path(outputs["save"])).shape[1] == 1080
    assert outputs["benchmark"]["text"][0] == text


def test_benchmark_stops_when_interrupted(comfyui: ComfyServer):
    prompt_id = comfyui.queue(
        {"photo": node("LoadImage", image=PHOTO), "benchmark": benchmark(rounds=1000)}
    )
    time.sleep(8)
    comfyui.call("/interrupt", {})
    stopping = time.monotonic()
    status = comfyui.result(prompt_id)["status"]
    assert status["messages"][-1][0] == "execution_interrupted", status
    # It waits for nobody to finish, other than 1,000 rounds would.
    assert time.monotonic() - stopping < 60


def test_engines_are_built_once_and_the_loader_says_what_they_lack(
    comfyui: ComfyServer, test_data: Path, rtx: None
):
    build = node(
        "FastFaceBuildEngine",
        model_pack=SCRFD["model_pack"],
        precision="fp16",
        best_batch=1,
        max_batch=4,
        min_size=128,
        best_size=640,
        max_size=640,
        workspace_mb=0,
        rebuild=False,
    )
    prompt: Prompt = {"build": build, "info": show("build", 0)}
    folder = comfyui.base / "user" / "__fastface" / "tensorrt"
    for how in ("built in", "there already"):
        (info,) = comfyui.run(prompt)["info"]["text"]
        assert info.count(how) == 2 and "user/__fastface/tensorrt" in info
        assert "scrfd_2.5g_bnkps.onnx in fp16 for 1x3x128x128 to 4x3x640x640" in info
    assert len(list(folder.glob("*.engine"))) == 2
    prompt = {"loader": loader(**SCRFD | {"backend": "tensorrt"}), "info": show("loader", 2)}
    status = comfyui.result(comfyui.queue(prompt))["status"]
    event, details = status["messages"][-1]
    assert event == "execution_error"
    assert "there is no NVIDIA GPU here" in details["exception_message"]
