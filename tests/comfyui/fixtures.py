"""A ComfyUI for the tests of a module; they run once in each that COMFYUI_PATH names.

installations.py says how. COMFYUI_INSTANTID_PATH names a checkout of cubiq/ComfyUI_InstantID
(default: the one in the ComfyUI's custom_nodes, if any). FASTFACE_TEST_DATA adds the tests with
real weights.
"""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastface
from tests.comfyui.comfyui_server import PACK_FOLDER, ComfyServer, link, options_of
from tests.comfyui.installations import Installation, installations
from tests.comfyui.prompts import PHOTO, SCRFD

ROOT = Path(inspect.getfile(fastface)).parent

#: A node that loads a model for which everything else on its device has to go. A ComfyUI without a
#: GPU never unloads for a model; there the node asks for the room as ComfyUI does on a GPU.
LARGE_MODEL = """
import torch
from comfy import model_management
from comfy.model_patcher import ModelPatcher

class TestLargeModel:
    FUNCTION, CATEGORY, RETURN_TYPES = "run", "tests", ("INT",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"after": ("INT", {})}}

    def run(self, after):
        device, size = model_management.get_torch_device(), 10**15
        if device.type == "cpu":
            model_management.free_memory(size, device)
        else:
            large = ModelPatcher(torch.nn.Linear(1, 1), device, torch.device("cpu"), size=size)
            model_management.load_models_gpu([large])
        return (after,)

NODE_CLASS_MAPPINGS = {"TestLargeModel": TestLargeModel}
"""


@pytest.fixture(scope="module", params=installations() or [None], ids=str)
def installation(request: pytest.FixtureRequest) -> Installation:
    if request.param is None:
        pytest.skip("COMFYUI_PATH names no ComfyUI checkout")
    return request.param


@pytest.fixture(scope="module")
def checkout(installation: Installation) -> Path:
    return installation.checkout


@pytest.fixture(scope="module")
def python(installation: Installation) -> str:
    return installation.python


@pytest.fixture(scope="module")
def installed(python: str) -> dict[str, str]:
    """Where the interpreter of ComfyUI has the packages that these tests need."""
    names = ("facenet_pytorch", "torchvision", "insightface", "cv2", "onnxruntime")
    script = (
        "import importlib.util as u, json; "
        f"print(json.dumps({{n: u.find_spec(n).origin for n in {names!r} if u.find_spec(n)}}))"
    )
    found = json.loads(subprocess.check_output([python, "-c", script], text=True, timeout=120))
    missing = sorted(set(names) - set(found))
    if missing:
        pytest.skip(f"{python} lacks {', '.join(missing)}")
    return found


@pytest.fixture(scope="module")
def instantid(checkout: Path) -> Path | None:
    for path in (
        os.environ.get("COMFYUI_INSTANTID_PATH", ""),
        checkout / "custom_nodes" / "ComfyUI_InstantID",
    ):
        if path and (Path(path) / "InstantID.py").is_file():
            return Path(path).resolve()
    return None


@pytest.fixture(scope="module")
def options(checkout: Path, python: str) -> str:
    known = options_of(checkout, python)
    if "--base-directory" not in known:
        pytest.skip(f"the ComfyUI in {checkout} is too old to be started outside its own folder")
    return known


def weights_folder() -> Path | None:
    """Real weights, where FASTFACE_TEST_DATA names some."""
    folder = os.environ.get("FASTFACE_TEST_DATA")
    return Path(folder) / "models" if folder else None


def fill(
    base: Path,
    pack_folder: str,
    installed: dict[str, str],
    instantid: Path | None,
    weights: Path | None,
) -> None:
    """Puts this pack, InstantID, a photo and weights where a ComfyUI looks for them."""
    link(ROOT, base / "custom_nodes" / pack_folder)
    if instantid:
        link(instantid, base / "custom_nodes" / "ComfyUI_InstantID")
    # A copy: ComfyUI refuses input files that are links to outside its folder.
    (base / "input").mkdir()
    photo = Path(installed["insightface"]).parent / "data" / "images" / PHOTO
    shutil.copyfile(photo, base / "input" / PHOTO)
    if weights:
        packs = base / "models" / "insightface" / "models"
        for file in weights.glob("*.onnx"):
            link(file.resolve(), packs / SCRFD["model_pack"] / file.name)


@pytest.fixture(scope="module")
def comfyui(
    checkout: Path,
    python: str,
    options: str,
    installed: dict[str, str],
    instantid: Path | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ComfyServer]:
    base = tmp_path_factory.mktemp("comfyui")
    fill(base, PACK_FOLDER, installed, instantid, weights_folder())
    add_node(base, "large_model", LARGE_MODEL)
    with ComfyServer(checkout, python, base, options) as server:
        yield server


def add_node(base: Path, name: str, code: str) -> None:
    """Puts a pack of a test's own into the custom_nodes of a ComfyUI."""
    file = base / "custom_nodes" / name / "__init__.py"
    file.parent.mkdir(parents=True)
    file.write_text(code, encoding="utf-8")


@pytest.fixture(scope="module")
def rtx(python: str) -> None:
    """ComfyUI's interpreter has tensorrt_rtx."""
    finds = "import importlib.util as u; raise SystemExit(u.find_spec('tensorrt_rtx') is None)"
    if subprocess.run([python, "-c", finds], timeout=60, check=False).returncode:
        pytest.skip(f"{python} lacks tensorrt_rtx, which builds without a GPU")
