"""No library reports to its makers while the pack runs it: nothing is written, nothing is sent."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: Runs in a home of its own; prints the telemetry modules that were loaded.
_START = """
import sys
sys.path.insert(0, sys.argv[1])
connections = []
sys.addaudithook(
    lambda event, arguments: connections.append(arguments) if event == "socket.connect" else None
)
{before}
from install import import_pack
import_pack("fastface")
from pathlib import Path
from fastface.backends.placement import Placement
from fastface.backends.registry import all_backends
from fastface.utils.packs import ModelFile
backend = all_backends()["{backend}"]
path, shapes = Path(sys.argv[2]), ((None, 128),)
model = ModelFile(path, "recognition", (None, 3, 112, 112), output_shapes=shapes)
backend.open_session(model, Placement())
import time
time.sleep(0.5)
assert not connections, connections
print("opened", sorted(name for name in sys.modules if name.startswith("openvino_telemetry")))
"""


def files_after(
    home: Path, test_data: Path, backend: str, before: str = "", **variables: str
) -> tuple[list[str], str]:
    """What lies in a fresh home after a process opened a session, and what the process said."""
    home.mkdir()
    kept = {"PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "TEMP"}
    environment: Mapping[str, str] = {
        **{name: value for name, value in os.environ.items() if name.upper() in kept},
        "HOME": str(home),
        "LOCALAPPDATA": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        **variables,
    }
    script = _START.format(before=before, backend=backend)
    model = test_data / "models" / "mobilefacenet.onnx"
    done = subprocess.run(
        [sys.executable, "-c", script, str(ROOT), str(model)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    names = [path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()]
    return [name for name in names if "comfyui-fastface" not in name], done.stdout


def test_onnxruntime_keeps_no_device_id_and_no_events(tmp_path: Path, test_data: Path) -> None:
    pytest.importorskip("onnxruntime")
    names, said = files_after(tmp_path / "home", test_data, "onnxruntime")
    assert said.startswith("opened") and names == []


def test_a_user_who_wants_onnxruntimes_reports_has_them(tmp_path: Path, test_data: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    if tuple(map(int, runtime.__version__.split(".")[:2])) < (1, 29):
        pytest.skip("this onnxruntime keeps nothing on the disk")
    names, _ = files_after(tmp_path / "home", test_data, "onnxruntime", ORT_DISABLE_TELEMETRY="0")
    assert any(name.endswith("onnxruntime.db") for name in names)


def test_what_another_pack_has_loaded_before_is_switched_off_too(
    tmp_path: Path, test_data: Path
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    if not hasattr(runtime, "disable_telemetry_events"):
        pytest.skip("this onnxruntime has no telemetry")
    before = """
import onnxruntime
really, calls = onnxruntime.disable_telemetry_events, []
onnxruntime.disable_telemetry_events = lambda: (calls.append(True), really())
import atexit
atexit.register(lambda: print("declined", len(calls)))
"""
    _, said = files_after(tmp_path / "home", test_data, "onnxruntime", before)
    declined = int(said.split("declined ")[1])
    assert declined >= 1


def test_openvino_sends_no_event(tmp_path: Path, test_data: Path) -> None:
    pytest.importorskip("openvino")
    names, said = files_after(tmp_path / "home", test_data, "openvino")
    assert said == "opened []\n" and names == []
