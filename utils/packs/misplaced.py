"""Weights that lie where no pack is looked for: zips, and files some folders too deep."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from .read import is_model_name

#: How deep below a root is searched. A pack's files lie at one, or at two as antelopev2 unpacks.
_DEPTHS = ("no folder", "one folder", "two folders", "three folders", "four folders")
#: Folders visited at most: this is for a message, and somebody's root may be a whole disk.
_MOST_FOLDERS = 2000
_MOST_TOLD = 5


def misplaced(
    roots: Sequence[Path], found: Sequence[Path], name: str | None = None
) -> tuple[str, ...]:
    """What of the user's weights is not where a pack's files are looked for, and where it belongs.

    Args:
        roots: Folders that are searched for packs.
        found: Folders of the packs that were found.
        name: Only of the pack of this name; None for all.

    Returns:
        A sentence each, a few at most.
    """
    sentences: dict[str, None] = {}
    for root in roots:
        for sentence in _in_root(root, set(roots), set(found), name):
            sentences[sentence] = None
            if len(sentences) == _MOST_TOLD:
                return tuple(sentences)
    return tuple(sentences)


def _in_root(root: Path, roots: set[Path], found: set[Path], name: str | None) -> Iterator[str]:
    # Of a pack that was found, nothing more needs to be said.
    taken = {root / folder.relative_to(root).parts[0] for folder in found if root in folder.parents}
    for folder, files in islice(_folders(root, roots), _MOST_FOLDERS):
        inside = folder.relative_to(root).parts
        for file in sorted(files):
            target = root / Path(file).stem
            missed = name in (None, target.name) and target not in taken
            if missed and file.lower().endswith(".zip"):
                yield f"{folder / file} is still zipped: unpack it into {target}"
        wanted = inside and name in (None, inside[0], inside[-1])
        if wanted and root / inside[0] not in taken and any(map(is_model_name, files)):
            target = root / (name or inside[0])
            yield f"{folder} holds .onnx files {_DEPTHS[len(inside)]} deep: move them into {target}"


def _folders(root: Path, roots: set[Path]) -> Iterator[tuple[Path, list[str]]]:
    """The folders of a root with the names of their files, none of other roots in it."""
    for place, folders, files in os.walk(root):
        folder = Path(place)
        deepest = len(folder.relative_to(root).parts) == len(_DEPTHS) - 1
        folders[:] = sorted(
            each
            for each in folders
            if not (deepest or each.startswith(".") or folder / each in roots)
        )
        yield folder, files
