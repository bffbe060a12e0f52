"""Reports that libraries send to their makers: off, before they are loaded, where they allow it.

ONNX Runtime 1.29 and later writes a device id and a database of events to the user's cache folder
and sends them to Microsoft; importing OpenVINO writes a client id to the user's home and sends an
event to Google Analytics. See docs/SECURITY.md.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

#: Read by ONNX Runtime when it is loaded; a user who wants its reports sets it to 0.
#: Source: ONNX Runtime, docs/Privacy.md.
ONNXRUNTIME_VARIABLE = "ORT_DISABLE_TELEMETRY"
_OPENVINO_MODULE = "openvino_telemetry"


def decline_telemetry() -> None:
    """Asks ONNX Runtime to report nothing, in this process and those that it starts.

    Has to come before anybody imports onnxruntime; for one that is there already, as much is
    switched off as its interface can.
    """
    os.environ.setdefault(ONNXRUNTIME_VARIABLE, "1")
    runtime = sys.modules.get("onnxruntime")
    if runtime is not None:
        decline_events(runtime)


def decline_events(runtime: ModuleType) -> None:
    """Switches off what an onnxruntime that is loaded reports; what it has sent it has sent.

    On Windows, versions before 1.29 know no other way.
    """
    if os.environ.get(ONNXRUNTIME_VARIABLE) == "1" and hasattr(runtime, "disable_telemetry_events"):
        runtime.disable_telemetry_events()


@contextmanager
def without_openvino_telemetry() -> Iterator[None]:
    """Encloses the first import of openvino, which then uses its own stand-in that sends nothing.

    OpenVINO takes that where the package openvino-telemetry is not installed. Its other switch is
    a file in the user's home, which is not ours to write.
    """
    if _OPENVINO_MODULE in sys.modules:
        yield
        return
    sys.modules[_OPENVINO_MODULE] = None  # type: ignore[assignment]  importing it fails now
    try:
        yield
    finally:
        if sys.modules.get(_OPENVINO_MODULE) is None:
            sys.modules.pop(_OPENVINO_MODULE, None)
