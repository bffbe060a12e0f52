"""`FastFaceMemory`: shows what the pack holds and did; loads ahead and lets go."""

from __future__ import annotations

from typing import Any

from ..utils import host
from ..utils.errors import InvalidInput
from .sockets import ANY, CATEGORY

ACTIONS = ("status", "preload", "unload")


class FastFaceMemory:
    DISPLAY_NAME = "FastFace Memory"
    CATEGORY = CATEGORY
    SEARCH_ALIASES = (
        "unload face models",
        "free vram",
        "preload",
        "face models memory",
    )
    DESCRIPTION = (
        "Shows which face models are in memory, what they were used for and how long it took; "
        "loads a pack ahead, or releases packs at once."
    )
    FUNCTION = "run"
    OUTPUT_NODE = True
    RETURN_TYPES = ("STRING", ANY)
    RETURN_NAMES = ("report", "passed")
    OUTPUT_TOOLTIPS = (
        "What was done, then memory, models, calls, times and caches.",
        "What is connected to `after`, unchanged.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        from ..pipeline.choices import PRECISION_WORDS, backend_names, device_names
        from ..pipeline.pack_choice import installed_pack_names

        return {
            "required": {
                "action": (
                    list(ACTIONS),
                    {
                        "tooltip": "`status` only shows. `preload` opens all models of the pack "
                        "now, so that no later node waits for them. `unload` releases models, as "
                        "soon as their running calls end; they come back when they are needed."
                    },
                ),
                "model_pack": (
                    installed_pack_names(host.insightface_roots()),
                    {
                        "tooltip": "The pack to preload or unload. `auto` preloads the one that "
                        "the loader would take, and unloads all."
                    },
                ),
                "backend": (
                    backend_names(),
                    {"tooltip": "For preload: as on FastFace Loader, which then finds it loaded."},
                ),
                "device": (
                    device_names(),
                    {"tooltip": "For preload: as on FastFace Loader."},
                ),
                "precision": (
                    list(PRECISION_WORDS),
                    {"tooltip": "For preload: as on FastFace Loader."},
                ),
            },
            "optional": {
                "after": (
                    ANY,
                    {
                        "tooltip": "Optional. Anything; the node waits until it is there, and "
                        "passes it on. Put it between two nodes to release models in between."
                    },
                ),
            },
        }

    @classmethod
    def IS_CHANGED(cls, **inputs: Any) -> float | str:
        # ComfyUI leaves out inputs without a link. With `after` the node runs when that is new:
        # what is behind `passed`, a sampler perhaps, must not run again with every queue. Without,
        # it is there for its report, and what was true the last time is of no interest.
        return "" if "after" in inputs else float("nan")

    def run(
        self,
        action: str,
        model_pack: str = "auto",
        backend: str = "auto",
        device: str = "auto",
        precision: str = "auto",
        after: Any = None,
    ) -> dict[str, Any]:
        from ..pipeline.status import as_text, status

        done = _done(action, model_pack, backend=backend, device=device, precision=precision)
        report = host.redacted("\n".join([*done, as_text(status())]))
        return {"ui": host.node_text(report), "result": (report, after)}


def _done(action: str, pack: str, **placement: str) -> list[str]:
    """Does it; what is to be said of it."""
    from ..pipeline.choices import AUTO
    from ..pipeline.lifecycle import preload, unload

    if action == "preload":
        models = preload(pack, **placement)
        names = ", ".join(f"{model.pack} {model.task}" for model in models)
        return [f"preloaded: {names or 'nothing that is still in memory'}", ""]
    if action == "unload":
        return [f"released: {unload(None if pack == AUTO else pack)} model(s)", ""]
    if action != "status":
        raise InvalidInput(f"got action {action!r}, expected one of {ACTIONS}")
    return []


NODES = {"FastFaceMemory": FastFaceMemory}
