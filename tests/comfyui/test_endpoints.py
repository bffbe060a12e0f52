"""The routes and FastFaceMemory in a real ComfyUI, also while a prompt runs."""

from __future__ import annotations

import json
import time
import urllib.error
from typing import Any

import pytest

from tests.comfyui.comfyui_server import ComfyServer
from tests.comfyui.prompts import (
    FACES_IN_PHOTO,
    MTCNN,
    PHOTO,
    SCRFD,
    Prompt,
    detect,
    loader,
    node,
    show,
)

pytestmark = pytest.mark.comfyui


def memory(action: str = "status", **changes: Any) -> dict[str, Any]:
    placed = {"model_pack": "auto", "backend": "auto", "device": "auto", "precision": "auto"}
    return node("FastFaceMemory", action=action, **placed | changes)


def tasks_loaded(comfyui: ComfyServer, pack: str) -> list[str]:
    models = comfyui.call("/fastface/status")["models"]
    return sorted(model["task"] for model in models if model["pack"] == pack)


def test_both_endpoints_answer_while_a_prompt_runs(comfyui: ComfyServer):
    long: Prompt = {
        "photo": node("LoadImage", image=PHOTO),
        "small": node("ImageScaleBy", image=["photo", 0], upscale_method="area", scale_by=0.2),
        "batch": node("RepeatImageBatch", image=["small", 0], amount=400),
        "loader": loader(**MTCNN),
        "detect": detect("batch", annotate=False),
        "count": show("detect", 4),
    }
    before = comfyui.call("/fastface/status")["stages"].get("pnet", {"count": 0})["count"]
    prompt_id = comfyui.queue(long)
    give_up = time.monotonic() + 120
    seen: set[int] = set()
    metrics = ""
    while len(seen) < 5 and time.monotonic() < give_up:
        assert not comfyui.call(f"/history/{prompt_id}"), "it ended before it could be watched"
        stages = comfyui.call("/fastface/status")["stages"]
        seen.add(stages.get("pnet", {"count": 0})["count"] - before)
        metrics = comfyui.get("/fastface/metrics").decode()
    assert len(seen) >= 5, "the figures move while the prompt runs"
    assert 'fastface_stage_seconds_count{stage="pnet"}' in metrics
    # Loading ahead while it runs is done in the meantime, too.
    loaded = comfyui.call("/fastface/preload", {"pack": MTCNN["model_pack"], "device": "cpu"})
    assert loaded["loaded"] and not comfyui.call(f"/history/{prompt_id}")
    comfyui.call("/interrupt", {})
    assert comfyui.result(prompt_id)["status"]["messages"][-1][0] == "execution_interrupted"


def test_preload_before_a_prompt_and_unload_after_it(comfyui: ComfyServer, test_data: Any):
    pack = SCRFD["model_pack"]
    comfyui.call("/fastface/unload", {})
    placed = {"backend": "onnxruntime", "device": "cpu"}
    answer = comfyui.call("/fastface/preload", {"pack": pack, **placed})
    tasks = ["detection", "recognition"]
    assert answer == {"loaded": [{"pack": pack, "task": task} for task in tasks]}
    lines = comfyui.log(10_000).count("loaded, runs on")
    prompt: Prompt = {
        "photo": node("LoadImage", image=PHOTO),
        "loader": loader(**SCRFD | placed),
        "detect": detect(),
        "count": show("detect", 4),
    }
    assert comfyui.run(prompt)["count"]["text"] == [str(FACES_IN_PHOTO)]
    assert comfyui.log(10_000).count("loaded, runs on") == lines, "the loader found it loaded"
    assert tasks_loaded(comfyui, pack) == tasks
    assert comfyui.call("/api/fastface/unload", {"pack": pack}) == {"released": 2}
    assert tasks_loaded(comfyui, pack) == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("preload", b"{"),
        ("preload", b"[]"),
        ("preload", b'{"pack": "../../etc"}'),
        ("preload", b'{"folder": "/etc"}'),
        ("unload", b'{"pack": 1}'),
        ("unload", b"x" * 100_000),
    ],
)
def test_wrong_bodies_are_refused_with_a_reason(comfyui: ComfyServer, path: str, body: bytes):
    with pytest.raises(urllib.error.HTTPError) as refused:
        comfyui.call(f"/fastface/{path}", body)
    text = refused.value.read().decode()
    assert refused.value.code == 400 and json.loads(text)["error"]
    assert str(comfyui.base) not in text


def test_nothing_of_the_file_system_shows(comfyui: ComfyServer):
    for path in ("status", "metrics"):
        text = comfyui.get(f"/fastface/{path}").decode()
        assert str(comfyui.base) not in text and "/models/" not in text and ".onnx" not in text


def test_the_node_between_two_others(comfyui: ComfyServer):
    prompt: Prompt = {
        "photo": node("LoadImage", image=PHOTO),
        "loader": loader(**MTCNN | {"det_threshold": 0.91}),
        "detect": detect(),
        "memory": memory("unload", after=["detect", 4]),
        "count": show("memory", 1),
        "report": show("memory", 0),
    }
    outputs = comfyui.run(prompt)
    assert outputs["count"]["text"] == [str(FACES_IN_PHOTO)]
    (text,) = outputs["memory"]["text"]
    assert outputs["report"]["text"] == [text]
    assert text.startswith("released: ") and not text.startswith("released: 0")
    assert "models in memory:\n  none" in text and "  pnet" in text
    assert comfyui.call("/fastface/status")["models"] == []


def test_a_load_is_one_line_of_the_log_and_a_call_none(comfyui: ComfyServer, test_data: Any):
    comfyui.call("/fastface/unload", {})
    chosen = SCRFD | {"backend": "onnxruntime"}
    prompt: Prompt = {
        "photo": node("LoadImage", image=PHOTO),
        "loader": loader(**chosen | {"det_threshold": 0.41}),
        "detect": detect(),
        "count": show("detect", 4),
    }
    model = "scrfd_2.5g_bnkps.onnx"
    before = comfyui.log(10_000)
    comfyui.run(prompt)
    lines = comfyui.log(10_000).removeprefix(before).splitlines()
    mentioned = [line for line in lines if model in line]
    assert len(mentioned) == 1 and "runs on CPUExecutionProvider on cpu" in mentioned[0]
    before = comfyui.log(10_000)
    prompt["loader"] = loader(**chosen | {"det_threshold": 0.42})
    comfyui.run(prompt)
    said = comfyui.log(10_000).removeprefix(before).splitlines()
    assert not [line for line in said if "onnx" in line or "FastFace" in line]
