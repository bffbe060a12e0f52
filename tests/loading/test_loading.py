"""Loading the pack in a fresh interpreter: it costs others a few modules and nothing else."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import fastface
from fastface.utils.settings.fields import VARIABLES

ROOT = Path(inspect.getfile(fastface)).parent

#: Loads a folder as ComfyUI does, whatever its name, under the name that ComfyUI gives it.
LOAD = """
import importlib.util, json, os, sys

def load(folder):
    name = folder.replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, os.path.join(folder, "__init__.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module

folder = sys.argv[1]
"""


def run(script: str, folder: Path, **variables: str) -> tuple[dict, str]:
    """What a script prints as JSON in an interpreter of its own, and what it logs."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD + textwrap.dedent(script), str(folder)],
        capture_output=True,
        text=True,
        cwd=folder.parent,
        env={**os.environ, **variables},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The pack in a folder whose name is no Python name."""
    folder = tmp_path / "Comfy UI-Fast.Face v1"
    folder.mkdir()
    for name in ("__init__.py", "nodes", "pipeline", "models", "backends", "benchmark", "utils"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / name)
    return folder


def test_works_in_any_folder_beside_comfyuis_modules(copy: Path):
    """ComfyUI has top-level modules called `nodes` and `utils`."""
    answer, log = run(
        """
        import types
        sys.modules["nodes"] = sys.modules["utils"] = types.ModuleType("of ComfyUI")
        module = load(folder)
        from_here = {cls.__module__ for cls in module.NODE_CLASS_MAPPINGS.values()}
        print(json.dumps({
            "ids": sorted(module.NODE_CLASS_MAPPINGS),
            "names": sorted(module.NODE_DISPLAY_NAME_MAPPINGS),
            "from_here": all(name.startswith(folder.replace(".", "_x_")) for name in from_here),
        }))
        """,
        copy,
    )
    expected = ["FastFaceDetect", "FastFaceEmbed", "FastFaceKeypoints", "FastFaceLoader"]
    assert set(expected) <= set(answer["ids"]) and answer["names"] == answer["ids"]
    assert answer["from_here"] and log == ""


def test_imports_no_engine_reads_no_model_opens_no_socket():
    answer, _ = run(
        """
        import torch
        before = set(sys.modules)
        models, sockets = [], []

        def watch(event, arguments):
            if event == "open" and str(arguments[0]).endswith((".onnx", ".pt", ".pth", ".zip")):
                models.append(str(arguments[0]))
            if event.startswith("socket."):
                sockets.append(event)

        sys.addaudithook(watch)
        pack = load(folder).__name__
        gained = {name.partition(".")[0] for name in set(sys.modules) - before}
        print(json.dumps({
            "gained": sorted(gained),
            "ours": [name.partition(".")[2] for name in sys.modules if name.startswith(pack)],
            "cuda": torch.cuda.is_initialized(),
            "models": models,
            "sockets": sockets,
        }))
        """,
        ROOT,
    )
    engines = {
        "onnxruntime",
        "onnx",
        "cv2",
        "insightface",
        "facenet_pytorch",
        "torchvision",
        "tensorrt",
        "tensorrt_rtx",
        "requests",
        "PIL",
        "skimage",
        "comfy",
    }
    assert engines.isdisjoint(answer["gained"])
    # What analyses waits for the first image: it is half of the pack's modules.
    waiting = (
        "pipeline.analyzer",
        "pipeline.film.film_analysis",
        "models.",
        "backends.onnx_graphs.",
    )
    early = [name for name in answer["ours"] if name.startswith(waiting)]
    assert early == []
    assert answer["cuda"] is False
    assert answer["models"] == [] and answer["sockets"] == []


def test_needs_no_engine_to_show_its_nodes():
    """With every engine gone the nodes are there, and the loader can be drawn with its choices."""
    answer, _ = run(
        """
        engines = ["onnxruntime", "onnx", "cv2", "insightface", "facenet_pytorch", "torchvision"]
        for engine in engines:
            sys.modules[engine] = None
        nodes = load(folder).NODE_CLASS_MAPPINGS
        inputs = {name: node.INPUT_TYPES() for name, node in nodes.items()}
        print(json.dumps({
            "ids": sorted(inputs),
            "backends": inputs["FastFaceLoader"]["required"]["backend"][0],
        }))
        """,
        ROOT,
    )
    assert "FastFaceDetect" in answer["ids"]
    assert {"auto", "onnxruntime", "insightface", "facenet"} <= set(answer["backends"])


def test_wrong_settings_hide_no_node():
    """Each variable wrong by itself, as `garbage`; and all of them, from the first import on."""
    script = """
        module = load(folder)
        nodes = module.NODE_CLASS_MAPPINGS
        fields = sys.modules[module.__name__ + ".utils.settings.fields"]
        loader = nodes["FastFaceLoader"]
        default = loader.INPUT_TYPES()["required"]["det_size"][1]["default"]
        chosen = {
            name: kind[1].get("default", kind[0][0]) if len(kind) > 1 else kind[0][0]
            for name, kind in loader.INPUT_TYPES()["required"].items()
        }
        refused = {}
        for variable in fields.VARIABLES:
            for each in fields.VARIABLES:
                os.environ.pop(each, None)
            os.environ[variable] = "garbage"
            for node in nodes.values():
                node.INPUT_TYPES()
            loader.VALIDATE_INPUTS("auto"), loader.IS_CHANGED()
            try:
                loader().load(**chosen)
            except Exception as error:
                if variable in str(error):
                    refused[variable] = [type(error).__name__, str(error)]
        print(json.dumps({"ids": len(nodes), "default": default, "refused": refused}))
        """
    expected, _ = run("print(json.dumps(len(load(folder).NODE_CLASS_MAPPINGS)))", ROOT)
    answer, log = run(script, ROOT, **dict.fromkeys(VARIABLES, "garbage"))
    assert (answer["ids"], answer["default"]) == (expected, 640)
    # Names of packs and folders are looked for; whatever is called garbage may be there.
    assert set(answer["refused"]) == set(VARIABLES) - {"FASTFACE_MODELS", "FASTFACE_PRELOAD"}
    # What it names is looked for when `auto` is asked for.
    kind, text = answer["refused"].pop("FASTFACE_PACK")
    assert kind == "ModelError" and "FASTFACE_PACK is 'garbage'" in text
    for variable, (kind, text) in answer["refused"].items():
        assert kind == "WrongSetting" and "expected" in text, text
        assert "garbage" in text and variable in text
    assert "Traceback" not in log and "FASTFACE_CACHE_MEM_LIMIT is 'garbage'" in log


def test_what_killed_processes_left_goes_when_comfyui_starts(tmp_path: Path):
    user, models = tmp_path / "user" / "__fastface" / "graphs", tmp_path / "models"
    faces, packs = models / "reactor" / "faces", models / "insightface" / "models"
    for folder in (user, faces, packs):
        folder.mkdir(parents=True)
        (folder / ".fastface-host-1-0123456789ab.tmp").write_bytes(b"half")
        (folder / "kept.bin").write_bytes(b"whole")
    (packs / ".buffalo_l.zip.lock").write_bytes(b"")
    (packs / "buffalo_l.zip.part").write_bytes(b"half, and nothing that tells of what")
    script = """
        import types
        paths = types.ModuleType("folder_paths")
        base = os.environ["BASE"]
        paths.models_dir = base + "/models"
        paths.folder_names_and_paths = {}
        paths.get_user_directory = lambda: base + "/user"
        paths.get_temp_directory = lambda: base + "/temp"
        paths.get_input_directory = lambda: base + "/input"
        paths.add_model_folder_path = lambda *_: None
        paths.get_folder_paths = lambda key: []
        sys.modules["folder_paths"] = paths
        print(json.dumps(len(load(folder).NODE_CLASS_MAPPINGS)))
        """
    answer, log = run(script, ROOT, BASE=str(tmp_path), HOME=str(tmp_path), FASTFACE_MODELS="")
    assert isinstance(answer, int) and answer > 10 and "Traceback" not in log
    below = (path for folder in ("user", "models") for path in (tmp_path / folder).rglob("*.*"))
    assert [path.name for path in below] == ["kept.bin"] * 3


def test_a_broken_node_hides_no_other(copy: Path):
    with (copy / "nodes" / "keypoints.py").open("a", encoding="utf-8") as file:
        file.write("\nraise ImportError('broken on purpose')\n")
    answer, log = run("print(json.dumps(sorted(load(folder).NODE_CLASS_MAPPINGS)))", copy)
    assert "FastFaceKeypoints" not in answer
    assert {"FastFaceLoader", "FastFaceDetect", "FastFaceEmbed"} <= set(answer)
    assert "nodes/keypoints.py failed to load" in log and "broken on purpose" in log


def test_a_broken_backend_hides_no_node_and_no_other_backend(copy: Path):
    file = copy / "backends" / "insightface.py"
    broken = file.read_text().replace(
        "\nimport ", "\nraise OSError('libbroken.so: not found')\nimport ", 1
    )
    file.write_text(broken)
    answer, _ = run(
        """
        module = load(folder)
        loader = module.NODE_CLASS_MAPPINGS["FastFaceLoader"]
        names = loader.INPUT_TYPES()["required"]["backend"][0]
        registry = sys.modules[module.__name__ + ".backends.registry"]
        broken = registry.all_backends()["insightface"].why_unavailable()
        print(json.dumps({
            "ids": len(module.NODE_CLASS_MAPPINGS), "names": names, "broken": broken
        }))
        """,
        copy,
    )
    assert answer["ids"] >= 4 and {"onnxruntime", "facenet", "insightface"} <= set(answer["names"])
    assert "libbroken.so" in answer["broken"] and "doctor" in answer["broken"]


def test_collects_as_a_plain_file():
    """pytest and other tools may import the root `__init__.py` on its own."""
    answer, _ = run(
        """
        import runpy
        names = runpy.run_path(os.path.join(folder, "__init__.py"))
        print(json.dumps("NODE_CLASS_MAPPINGS" in names))
        """,
        ROOT,
    )
    assert answer is False
