"""The nodes, found by discovery: a module in this folder with `NODES` is one, or a few, nodes.

`NODES` maps each node's id, which never changes, to its class. A module that fails to import is
reported with its traceback and costs only its own nodes.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
from collections.abc import Sequence
from pathlib import Path

from ..utils import host
from ..utils.errors import FastFaceError
from ..utils.settings.variables import is_set
from ..utils.telemetry import decline_telemetry
from .inputs import checked

_log = logging.getLogger("FastFace")


def discover(package: str, folders: Sequence[str]) -> dict[str, type]:
    """Collects the `NODES` of every module in a package's folders, in the order of their names.

    Packages in there are what nodes import when they run.
    """
    found: dict[str, type] = {}
    modules = [each for each in pkgutil.iter_modules(folders) if not each.ispkg]
    for module_info in sorted(modules, key=lambda info: info.name):
        try:
            module = importlib.import_module(f"{package}.{module_info.name}")
        except Exception:  # noqa: BLE001  whatever one module raises, the others must load
            _log.exception(
                "nodes/%s.py failed to load; its nodes are missing, the others work",
                module_info.name,
            )
            continue
        for node_id, node in getattr(module, "NODES", {}).items():
            if node_id in found:
                _log.error("two nodes are called %s; that of %s is left out", node_id, module)
                continue
            found[node_id] = node
    return found


def _grant_wishes() -> None:
    """Does what the environment asks for before any node runs."""
    if not (is_set("replace_insightface") or is_set("preload")):
        return
    try:
        from ..pipeline.insightface_compat.replacement import replace_if_wanted
        from ..pipeline.lifecycle import preload_if_wanted

        replace_if_wanted()
        preload_if_wanted()
    except FastFaceError as error:
        _log.error("the nodes are loaded, but not all that the environment asks for: %s", error)
    except Exception:  # noqa: BLE001  a setting that can't be met must not cost the nodes
        _log.exception("the nodes are loaded, but not all that the environment asks for is done")


_EXAMPLES = Path(__file__).parents[1] / "example_workflows" / "input"
#: A portrait of Eileen Collins, NASA, public domain, and a film of a camera that goes over it: the
#: example workflows begin with them.
EXAMPLES = (_EXAMPLES / "fastface_example.jpg", _EXAMPLES / "fastface_example.mp4")


def _add_routes() -> None:
    if not host.in_comfyui():
        return
    try:
        from .routes import ROUTES

        host.add_routes(ROUTES)
    except Exception:  # noqa: BLE001  without its routes the pack still has its nodes
        _log.exception("the routes under /fastface are missing, the nodes work")


def _clear_leftovers() -> None:
    if not host.in_comfyui():
        return
    try:
        from ..pipeline.leftovers import clear_all_leftovers

        clear_all_leftovers()
    except Exception:  # noqa: BLE001  what lies about must not cost the nodes
        _log.exception("what killed processes left could not be cleared away, the nodes work")


decline_telemetry()
_clear_leftovers()
host.mark_log_lines()
_grant_wishes()
_add_routes()
for _example in EXAMPLES:
    host.provide_input(_example)
NODE_CLASS_MAPPINGS = {
    node_id: checked(node) for node_id, node in discover(__name__, __path__).items()
}
NODE_DISPLAY_NAME_MAPPINGS = {
    node_id: node.DISPLAY_NAME  # pyright: ignore[reportAttributeAccessIssue]
    for node_id, node in NODE_CLASS_MAPPINGS.items()
}
