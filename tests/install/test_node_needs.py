"""What the doctor says of each node: nothing optional that a node imports is left out."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.diagnosis import Probe
from installer.doctor import EXTRA_NEEDS
from installer.installation import wanted_needs
from installer.machine import Installed
from installer.needs import HOST_NEEDS, own_needs
from installer.node_needs import USES, Use, node_needs
from installer.remedies import INSTALL_SCRIPT, Remedies

ROOT = INSTALL_SCRIPT.parent
NEEDS = [*HOST_NEEDS, *wanted_needs(with_tests=False), *EXTRA_NEEDS]
REMEDIES = Remedies(("python", "-m", "pip"), Installed())
#: What ComfyUI's own requirements bring, and ComfyUI itself.
COMFYUI = {"aiohttp", "yaml", "comfy", "comfy_api", "comfy_execution", "folder_paths", "server"}
#: What comes with onnx: `google.protobuf`.
WITH_ONNX = {"google"}


def used_modules() -> set[str]:
    return {module for use in USES for choice in use.modules for module in choice.split(" or ")}


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]


def test_every_optional_package_that_nodes_import_is_named():
    own = own_needs((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    brought = {need.module for need in (*HOST_NEEDS, *own) if need.required}
    brought |= {need.distribution.replace("-", "_") for need in own} | COMFYUI | WITH_ONNX
    files = [
        file
        for folder in ("nodes", "backends", "utils")
        for file in (ROOT / folder).rglob("*.py")
        if "benchmark" not in file.parts  # who takes part there is listed with what is missing
    ]
    found = {module for file in files for module in imports(file)}
    optional = found - brought - set(sys.stdlib_module_names) - {"fastface"}
    assert {"cv2", "scipy", "onnx", "insightface", "facenet_pytorch", "openvino"} <= optional
    assert not optional - used_modules()


def test_what_is_named_is_known_and_tried():
    assert used_modules() <= {need.module for need in NEEDS}


def test_titles_are_those_of_the_nodes():
    nodes = (ROOT / "nodes").glob("*.py")
    source = "\n".join(file.read_text(encoding="utf-8") for file in nodes)
    for use in USES:
        assert f'DISPLAY_NAME = "{use.node}"' in source, use.node


def test_every_backend_has_its_line():
    backends = (ROOT / "backends").glob("*.py")
    for file in backends:
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith('    name = "'):
                name = line.split('"')[1]
                assert any(use.what == f"backend {name}" for use in USES), name


def test_all_there_works():
    probes = {module: Probe("works") for module in used_modules()}
    assert set(node_needs(NEEDS, probes, REMEDIES).values()) == {"works"}


def test_of_two_packages_one_is_enough():
    probes = {module: Probe("works") for module in used_modules() - {"tensorrt"}}
    assert node_needs(NEEDS, probes, REMEDIES)["FastFace Build Engine"] == "works"


@pytest.mark.parametrize("use", USES, ids=lambda use: use.title)
def test_what_is_missing_comes_with_its_command(use: Use):
    answer = node_needs(NEEDS, {}, REMEDIES)[use.title]
    for choice in use.modules:
        assert f"{choice} is not installed: python -m pip install " in answer


def test_what_is_broken_is_said():
    probes = {module: Probe("works") for module in used_modules()} | {"scipy": Probe("FAILS", "no")}
    assert node_needs(NEEDS, probes, REMEDIES)["FastFace Mask, shape outline"] == (
        "scipy fails, see below"
    )
