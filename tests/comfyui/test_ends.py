"""A ComfyUI that ends while the pack loads models or analyses images ends well."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.comfyui.comfyui_server import PACK_FOLDER, ComfyServer, link
from tests.comfyui.fixtures import ROOT
from tests.comfyui.prompts import PHOTO, detect, loader, node, show
from tests.contract import conftest as contract

pytestmark = pytest.mark.comfyui

five_models = contract.five_models


@pytest.fixture
def folder(installed: dict[str, str], five_models: Path, tmp_path: Path) -> Path:
    """ComfyUI's base folder, with the pack, a photo and a pack of five models."""
    link(ROOT, tmp_path / "custom_nodes" / PACK_FOLDER)
    (tmp_path / "input").mkdir()
    shutil.copy(
        Path(installed["insightface"]).parent / "data" / "images" / PHOTO, tmp_path / "input"
    )
    link(five_models, tmp_path / "models" / "insightface" / "models" / "five")
    return tmp_path


def test_when_it_only_starts_while_models_are_loaded(
    checkout: Path, python: str, options: str, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FASTFACE_PRELOAD", "five")
    command = ComfyServer(checkout, python, folder, options, "--quick-test-for-ci").command
    for _ in range(2):
        done = subprocess.run(
            command,
            cwd=checkout,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, said[-3000:]
        assert "not preloaded" not in said and "terminate called" not in said


def wait_until_detecting(server: ComfyServer, seconds: float = 120) -> None:
    give_up = time.monotonic() + seconds
    while "upload" not in server.call("/fastface/status")["stages"]:
        assert time.monotonic() < give_up, f"nothing was detected\n{server.log()}"
        time.sleep(0.1)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_when_it_is_interrupted_in_the_middle_of_a_workflow(
    checkout: Path, python: str, options: str, folder: Path
):
    prompt = {
        "photo": node("LoadImage", image=PHOTO),
        # MTCNN at the smallest faces, in many copies, takes its time.
        "many": node("RepeatImageBatch", image=["photo", 0], amount=64),
        "loader": loader(model_pack="facenet-mtcnn", backend="facenet"),
        "detect": detect(images="many"),
        "show": show("detect", 4),
    }
    with ComfyServer(checkout, python, folder, options) as server:
        server.queue(prompt)
        # Not before: a thread that is cut off inside torch while ComfyUI repeats the image ends the
        # process badly, whatever this pack does.
        wait_until_detecting(server)
        assert server.interrupt() == 0, server.log()
        assert "terminate called" not in server.log()
