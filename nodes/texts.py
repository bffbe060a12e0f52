"""What a node says about its run: a line that ComfyUI shows on it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..utils import host
from ..utils.faces import Faces

#: Ranges of images that a line names before it only counts the rest.
_MOST_RANGES = 12


def with_text(text: str, *outputs: Any, **ui: list[Any]) -> dict[str, Any]:
    """What a node returns to give its outputs and show a text.

    A node that runs once for each entry of a list must show the same keys each time: ComfyUI joins
    the texts and pictures of all runs by the keys of the first.

    Args:
        text: Shown on the node.
        outputs: In the order of `RETURN_TYPES`.
        ui: What else it shows, as `host.preview` gives it.
    """
    return {"ui": host.node_text(text) | ui, "result": outputs}


def faces_in(faces: Faces) -> str:
    """How many faces there are, such as `3 faces in 2 of 5 images`, `no face in 1 image`."""
    total = len(faces.image_sizes)
    if not len(faces):
        return f"no face in {counted(total, 'image')}"
    with_face = len(set(faces.images_of_faces()))
    where = counted(total, "image") if with_face == total else f"{with_face} of {total} images"
    return f"{counted(len(faces), 'face')} in {where}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 image`, `2 images`; with another plural `2 boxes`."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"


def places(numbers: Iterable[int]) -> str:
    """Places in a batch in rising order, runs of them as ranges: `0-3, 7`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    named = [str(low) if low == high else f"{low}-{high}" for low, high in runs[:_MOST_RANGES]]
    rest = sum(high - low + 1 for low, high in runs[_MOST_RANGES:])
    return ", ".join(named) + (f" and {rest} more" if rest else "")
