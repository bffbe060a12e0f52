"""Imports one module and tries it; run as a program of its own, because a broken library may crash.

Usage: `python probe.py MODULE`. The last line it prints is `MARK` and what was found out as JSON.
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

MARK = "fastface-probe:"

#: One Relu on one number, as ONNX (opset 13); made with onnx.helper, kept so that none is needed.
TINY_MODEL = base64.b64decode(
    "CAcSADozCgwKAXgSAXkiBFJlbHUSAWdaDwoBeBIKCggIARIECgIIAWIPCgF5EgoKCAgBEgQKAggBQgQKABAN"
)


def try_torch(torch: Any) -> dict[str, Any]:
    """Adds two numbers on every accelerator that torch offers."""
    offers = [name for name in ("cuda", "xpu") if getattr(torch, name).is_available()]
    if torch.backends.mps.is_available():
        offers.append("mps")
    facts: dict[str, Any] = {"cuda": torch.version.cuda, "hip": torch.version.hip, "runs_on": []}
    for name in offers:
        try:
            torch.ones(2, device=name).sum().item()
            facts["runs_on"].append(name)
        except RuntimeError as error:
            facts["gpu_error"] = str(error).splitlines()[0]
    if "cuda" in facts["runs_on"]:
        facts["gpu"] = torch.cuda.get_device_name(0)
    elif torch.version.cuda and "gpu_error" not in facts:
        try:
            torch.cuda.init()
        except (RuntimeError, AssertionError) as error:
            facts["gpu_error"] = str(error).splitlines()[0]
    return facts


def try_torchvision(torchvision: Any) -> dict[str, Any]:
    """Calls a compiled operator, which fails where torch is of another build."""
    torch = importlib.import_module("torch")
    torchvision.ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)
    return {}


def try_onnxruntime(onnxruntime: Any) -> dict[str, Any]:
    """Runs a tiny model, on CUDA too if that is offered."""
    facts: dict[str, Any] = {"providers": onnxruntime.get_available_providers()}
    onnxruntime.InferenceSession(TINY_MODEL, providers=["CPUExecutionProvider"])
    try:
        build = importlib.import_module("onnxruntime.capi.build_and_package_info")
        facts["cuda"] = getattr(build, "cuda_version", None)
    except ImportError:
        facts["cuda"] = None
    if "CUDAExecutionProvider" in facts["providers"]:
        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()
        wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"]
        session = onnxruntime.InferenceSession(TINY_MODEL, providers=wanted)
        facts["cuda_runs"] = session.get_providers()[0] == wanted[0]
        if facts["cuda_runs"]:
            numpy = importlib.import_module("numpy")
            session.run(None, {"x": numpy.ones(1, dtype="float32")})
    return facts


TRIALS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "torch": try_torch,
    "torchvision": try_torchvision,
    "onnxruntime": try_onnxruntime,
}


def main(name: str) -> None:
    """Imports a module, tries it and prints the facts; an exception ends the program."""
    # This file's folder must not hide a module of the same name.
    here = str(Path(__file__).resolve().parent)
    sys.path[:] = [folder for folder in sys.path if str(Path(folder or ".").resolve()) != here]
    # Trying a library is nothing to report to its makers; the pack does the same when it runs.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    module = importlib.import_module(name)
    facts = TRIALS[name](module) if name in TRIALS else {}
    sys.stdout.write(f"\n{MARK}{json.dumps(facts)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
