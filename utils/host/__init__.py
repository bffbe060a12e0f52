"""The seam to ComfyUI: the only folder that imports it; every function works without it too."""

from __future__ import annotations

import inspect
import logging
import sys
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from ..errors import FileError
from ..files import file_errors
from ..progress import may_stop
from ..redact import redact_paths
from ..shutdown import at_work
from ..web import Route, handler
from .folders import (
    cache_folder,
    cache_folders,
    detector_folders,
    in_comfyui,
    insightface_roots,
    model_folders,
    models_folder,
    provide_input,
    temporary_folder,
)

__all__ = [
    "ProgressBar",
    "add_routes",
    "blocked",
    "cache_folder",
    "cache_folders",
    "check_interrupted",
    "detector_folders",
    "in_comfyui",
    "insightface_roots",
    "is_interruption",
    "mark_log_lines",
    "model_folders",
    "models_folder",
    "node_interruption",
    "node_text",
    "preview",
    "progress_bar",
    "prompt_server",
    "provide_input",
    "redacted",
    "show_now",
    "temporary_folder",
    "torch_device",
]

_log = logging.getLogger("FastFace")

_PREVIEW_MAX_SIDE_PX = 1024
_LOG_PREFIX = "[FastFace] "


class ProgressBar(Protocol):
    """A bar that shows how much of a known amount of work is done."""

    def update_absolute(self, value: float, total: int | None = None) -> None: ...


class _NoBar:
    def update_absolute(self, value: float, total: int | None = None) -> None:
        """Shows nothing: there is nobody to show it to."""


def prompt_server() -> Any:
    """ComfyUI's running server; None where there is none."""
    server = getattr(sys.modules.get("server"), "PromptServer", None) if in_comfyui() else None
    return getattr(server, "instance", None)


class _Prefix(logging.Filter):
    """Puts the pack's name before its lines: ComfyUI's log shows messages alone."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not str(record.msg).startswith(_LOG_PREFIX):
            record.msg = f"{_LOG_PREFIX}{record.msg}"
        return True


def mark_log_lines() -> None:
    """Lets the pack's lines in ComfyUI's log begin with its name; nothing outside ComfyUI."""
    if in_comfyui() and not any(isinstance(known, _Prefix) for known in _log.filters):
        _log.addFilter(_Prefix())


def progress_bar(total: int, node_id: str | None = None) -> ProgressBar:
    """A progress bar of `total` steps on the node with this id; shows nothing outside ComfyUI."""
    if not in_comfyui():
        return _NoBar()
    from comfy.utils import ProgressBar as ComfyProgressBar

    # Old versions know no node_id: they draw on the node that runs.
    if "node_id" in inspect.signature(ComfyProgressBar).parameters:
        return ComfyProgressBar(total, node_id=node_id)
    return ComfyProgressBar(total)


def check_interrupted() -> None:
    """Raises ComfyUI's InterruptProcessingException when the user pressed stop; never catch it.

    Raises:
        ProcessEnding: The process is ending; see `shutdown.at_work`.
    """
    with at_work():
        pass
    if in_comfyui():
        from comfy.model_management import throw_exception_if_processing_interrupted

        throw_exception_if_processing_interrupted()


def is_interruption(error: BaseException) -> bool:
    """Whether an error is ComfyUI's way to stop a run, which is to pass through everything."""
    module = sys.modules.get("comfy.model_management")
    kind = getattr(module, "InterruptProcessingException", None)
    return kind is not None and isinstance(error, kind)


def node_interruption() -> Callable[[], None] | None:
    """What raises when the user pressed stop, for code of ours that a node of another pack calls.

    It leaves ComfyUI's flag as it is: if that node catches the interruption, the next one sees it.

    Returns:
        None where this thread runs no node: what others do there is not to be stopped by that.
    """
    if not in_comfyui():
        return None
    try:
        from comfy_execution.utils import get_executing_context
    except ImportError:  # versions before 0.3.46 don't say which thread runs a node
        return None
    if get_executing_context() is None:
        return None
    from comfy.model_management import InterruptProcessingException, processing_interrupted

    def check() -> None:
        if processing_interrupted():
            raise InterruptProcessingException

    return check


def blocked(instead: Any) -> Any:
    """What a node gives for an output without a value: ComfyUI leaves out the nodes behind it.

    Args:
        instead: What is given outside ComfyUI.
    """
    if not in_comfyui():
        return instead
    from comfy_execution.graph_utils import ExecutionBlocker

    return ExecutionBlocker(None)


def torch_device() -> torch.device:
    """The device ComfyUI computes on; outside ComfyUI the first CUDA device, else the CPU."""
    if in_comfyui():
        from comfy.model_management import get_torch_device

        return get_torch_device()
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def node_text(text: str) -> dict[str, Any]:
    """The `ui` part of a node's result that shows a text on the node.

    `web/js/node_text.js` shows it there and keeps it out of saved workflows. It is no
    `progress_text`: of that the front end makes a widget, which versions up to 1.27 save with the
    workflow and later ones remove when the job ends.

    Args:
        text: Lines for people. It is kept in ComfyUI's history and in the browser, so that it is
            shown as `redacted` makes it.

    Returns:
        To be merged with other parts, such as those of `preview`.
    """
    return {"text": [redacted(text)]}


def show_now(node_id: str | None, text: str) -> None:
    """Shows a text on a node while it runs, where there is a front end; see `node_text`."""
    server = prompt_server()
    if server is not None and node_id is not None:
        message = {"node": node_id, "text": redacted(text)}
        server.send_sync("fastface.node_text", message, server.client_id)


def redacted(text: str) -> str:
    """A text that may be saved with a workflow: it names no folder of this machine.

    Returns:
        With paths as from ComfyUI's folder (`models/insightface/...`) or the user's (`~/...`), and
        only the name of files that lie elsewhere.
    """
    roots = []
    with suppress(RuntimeError):  # an account without a home
        roots.append((Path.home(), "~"))
    if in_comfyui():
        import folder_paths

        roots += [
            (Path(folder_paths.base_path), ""),
            (Path(folder_paths.models_dir), "models"),
            (Path(folder_paths.get_user_directory()), "user"),
        ]
    return redact_paths(text, roots)


def add_routes(routes: Sequence[Route]) -> None:
    """Adds routes to ComfyUI's web server, where there is one; each is there under `/api` too."""
    table = getattr(prompt_server(), "routes", None)
    if table is not None:
        for route in routes:
            table.route(route.method, route.path)(handler(route))


def preview(pictures: Sequence[np.ndarray]) -> dict[str, Any]:
    """Writes small copies of pictures to ComfyUI's temp folder, for it to show on a node.

    Args:
        pictures: `[H,W,3]` uint8 RGB each.

    Returns:
        `images` for the `ui` part of a node's result; none outside ComfyUI.
    """
    if not in_comfyui():
        return {"images": []}
    import folder_paths
    from PIL import Image

    folder = Path(folder_paths.get_temp_directory())
    shown = []
    for pixels in pictures:
        may_stop()
        picture = Image.fromarray(pixels)
        picture.thumbnail((_PREVIEW_MAX_SIDE_PX, _PREVIEW_MAX_SIDE_PX))
        file = folder / f"fastface_{uuid.uuid4().hex}.png"
        try:
            # Not synced as other files are: ComfyUI empties this folder when it starts.
            with file_errors(file):
                folder.mkdir(parents=True, exist_ok=True)
                picture.save(file, compress_level=1)
        except FileError as error:
            _log.warning("the preview is not shown: %s", error)
            return {"images": []}
        shown.append({"filename": file.name, "subfolder": "", "type": "temp"})
    return {"images": shown}
