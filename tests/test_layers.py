"""Imports go down only, those inside functions and for types included."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools import structure
from tools.structure import components, files_of

ROOT = Path(__file__).resolve().parents[1]
#: Each imports only what stands after it.
LAYERS = ("nodes", "pipeline", "models", "backends", "utils")
#: It measures all of them, and is imported by its node and its command alone.
BENCHMARK = "benchmark"
BENCHMARK_USERS = {"nodes/benchmark.py"}


def imports(source: str, path: str) -> Iterator[str]:
    """What a file imports of the pack, as paths without suffix from its root."""
    folders = path.split("/")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = folders[: len(folders) - (node.level - 1)]
            module = [*base, *(node.module or "").split(".")]
            for name in node.names:
                yield "/".join(part for part in [*module, name.name] if part)


def upward(source: str, path: str) -> list[str]:
    """The imports of a file that go to its own layer's users."""
    own = path.split("/")[0]
    wrong = []
    for imported in imports(source, path):
        layer = imported.split("/")[0]
        if layer == own:
            continue
        if layer == BENCHMARK:
            fine = path in BENCHMARK_USERS
        elif own == BENCHMARK:
            fine = layer != "nodes"
        else:
            fine = layer in LAYERS[LAYERS.index(own) + 1 :]
        if not fine:
            wrong.append(imported)
    return wrong


def test_no_import_goes_up():
    files = [
        path
        for layer in (*LAYERS, BENCHMARK)
        for path in (ROOT / layer).rglob("*.py")
        if "__pycache__" not in path.parts
    ]
    assert len(files) > 200
    wrong = {
        name: found
        for path in files
        if (found := upward(path.read_text(), name := path.relative_to(ROOT).as_posix()))
    }
    assert not wrong


def test_no_imports_go_in_a_circle():
    sources = {path.relative_to(ROOT).as_posix(): path.read_text() for path in files_of(ROOT)}
    graph = {
        name: set(structure.imports(ast.parse(text), name, sources))
        for name, text in sources.items()
    }
    assert not [group for group in components(graph) if len(group) > 1]


def test_circles_are_seen():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}
    assert sorted(map(sorted, components(graph))) == [["a"], ["b", "c"], ["d"]]


@pytest.mark.parametrize(
    ("path", "source", "expected"),
    [
        ("utils/a.py", "from ..backends import base", ["backends/base"]),
        ("utils/packs/a.py", "def f():\n    from ...models import b", ["models/b"]),
        (
            "backends/a.py",
            "from ..pipeline.analyzer import Analyzer",
            ["pipeline/analyzer/Analyzer"],
        ),
        ("pipeline/a.py", "from ..benchmark.plan import Case", ["benchmark/plan/Case"]),
        ("benchmark/a.py", "from ..nodes.loader import NODES", ["nodes/loader/NODES"]),
        ("benchmark/a.py", "from ..pipeline.loading import load", []),
        ("nodes/a.py", "from ..utils import host\nfrom .sockets import FACES", []),
        ("nodes/benchmark.py", "from ..benchmark.plan import Case", []),
    ],
)
def test_wrong_imports_are_seen(path: str, source: str, expected: list[str]):
    assert upward(source, path) == expected


#: What is imported when a node runs, or when ComfyUI asks for its inputs.
LATER = ("pipeline", "models", "backends", "benchmark", "utils.packs", "utils.gallery")
START = """
import sys
sys.path.insert(0, sys.argv[1])
from install import import_pack
import_pack("fastface")
print(*(name.removeprefix("fastface.") for name in sys.modules if name.startswith("fastface.")))
"""


def importing_early() -> dict[str, list[str]]:
    """What files of nodes import at their top that is imported when a node runs."""
    later = tuple(f"from ..{name}" for name in LATER)
    lines = {file.name: file.read_text().splitlines() for file in (ROOT / "nodes").glob("*.py")}
    found = {
        name: [line for line in text if line.startswith(later)] for name, text in lines.items()
    }
    return {name: imports for name, imports in found.items() if imports}


def test_comfyuis_start_imports_no_more_than_the_nodes_say():
    done = subprocess.run(
        [sys.executable, "-c", START, str(ROOT)], capture_output=True, text=True, check=True
    )
    imported = done.stdout.split()
    nodes = {path.stem for path in (ROOT / "nodes").glob("[!_]*.py")}
    assert {f"nodes.{name}" for name in nodes} <= set(imported)
    early = [name for name in imported if f"{name}.".startswith(tuple(f"{x}." for x in LATER))]
    assert not early, f"""import these in the functions that need them, not at the top of a node:
{early}; files of nodes that import such things at their top: {importing_early()}"""
