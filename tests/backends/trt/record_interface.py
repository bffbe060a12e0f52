"""Writes down what a TensorRT library offers: `python record_interface.py tensorrt > FILE`.

For a library that is not installed its bindings alone will do, with empty shared libraries under
the names that they link.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from typing import Any

#: What an engine is built and run with.
CLASSES = (
    *("Builder", "BuilderFlag", "IBuilderConfig", "INetworkDefinition", "ITensor"),
    *("IOptimizationProfile", "OnnxParser", "ParserError", "IProgressMonitor", "ILogger"),
    *("NetworkDefinitionCreationFlag", "MemoryPoolType", "ITimingCache", "IHostMemory"),
    *("Runtime", "ICudaEngine", "IExecutionContext", "IRuntimeConfig", "TensorIOMode"),
    *("ExecutionContextAllocationStrategy", "CudaGraphStrategy", "ComputeCapability", "DataType"),
)


def arguments(member: Any) -> list[list[int]] | None:
    """The fewest and the most arguments behind `self`, for each way to call it; None if unknown."""
    name = getattr(member, "__name__", "")
    found = []
    for text in re.findall(rf"^(?:\d+\. )?{name}\((.*)\) -> ", member.__doc__ or "", re.MULTILINE):
        if text == "*args, **kwargs":
            continue
        parts = re.split(r", (?=\w+:)", text) if text else []
        given = [part for part in parts if not part.startswith("self")]
        found.append([len([part for part in given if " = " not in part]), len(given)])
    return found or None


def interface(module: Any) -> dict[str, Any]:
    """Every class that is there: its enumeration's values, or its members."""
    classes: dict[str, Any] = {}
    for name in CLASSES:
        kind = getattr(module, name, None)
        if kind is None:
            continue
        if hasattr(kind, "__members__"):
            values = {key: int(value) for key, value in kind.__members__.items()}
            classes[name] = {"values": values}
        else:
            names = [key for key in dir(kind) if not key.startswith("_")]
            members = {key: arguments(getattr(kind, key)) for key in names}
            classes[name] = {"members": members}
    return {"module": module.__name__, "version": module.__version__, "classes": classes}


def as_text(recorded: dict[str, Any]) -> str:
    """The record as JSON, a line a class."""
    lines = [
        f"{json.dumps(name)}: {json.dumps(kind)}" for name, kind in recorded["classes"].items()
    ]
    head = f'"module": "{recorded["module"]}", "version": "{recorded["version"]}"'
    return "{" + head + ', "classes": {\n' + ",\n".join(lines) + "\n}}\n"


if __name__ == "__main__":
    sys.stdout.write(as_text(interface(importlib.import_module(sys.argv[1]))))
