"""ComfyUI's films, and which outputs of a node are taken; see the seam, `utils/host`."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from . import in_comfyui, prompt_server, temporary_folder


def taken_outputs(node_id: str | None, prompt: Any = None) -> frozenset[int] | None:
    """Which outputs of a node others are linked to, by place; the rest need not be made.

    Args:
        node_id: The node, as its hidden input UNIQUE_ID says.
        prompt: Its hidden input DYNPROMPT; None where ComfyUI does not give it, as to IS_CHANGED:
            then the prompt that runs.

    Returns:
        None where that can't be known: outside ComfyUI, and for nodes that other nodes made.
    """
    if node_id is None or not in_comfyui():
        return None
    if prompt is not None:
        nodes = {each: prompt.get_node(each) for each in prompt.all_node_ids()}
    else:
        nodes = _running_prompt(node_id)
    if nodes is None:
        return None
    links = [value for each in nodes.values() for value in each.get("inputs", {}).values()]
    return frozenset(
        int(link[1])
        for link in links
        if isinstance(link, list) and len(link) == 2 and str(link[0]) == node_id
    )


def _running_prompt(node_id: str) -> dict[str, Any] | None:
    """The nodes of the prompt that runs, by id, if this node is among them."""
    queue = getattr(prompt_server(), "prompt_queue", None)
    for item in list(getattr(queue, "currently_running", {}).values()):
        if node_id in item[2]:
            return item[2]
    return None


def new_film() -> Path:
    """A place for a film that nobody keeps, ending in `.mp4`.

    In ComfyUI's temp folder, which it empties when it starts; elsewhere in one that goes with the
    process.
    """
    name = f"fastface_{uuid.uuid4().hex}.mp4"
    if not in_comfyui():
        return temporary_folder() / name
    import folder_paths

    return Path(folder_paths.get_temp_directory()) / name


def film_output(path: Path) -> Any:
    """A film as ComfyUI's VIDEO; outside ComfyUI its path as text."""
    if not in_comfyui():
        return str(path)
    from comfy_api.input_impl import VideoFromFile

    return VideoFromFile(str(path))
