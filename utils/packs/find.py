"""Finds model packs: which folders are searched, which packs lie in them, and the one of a name."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from ..errors import InvalidInput, ModelError
from ..settings import settings_or_defaults
from ..text import readable
from . import ModelPack
from .checksums import model_states
from .file_state import FileState, state_of
from .known import KNOWN_PACKS
from .manifest import MANIFEST_NAME, has_manifest, read_manifest
from .misplaced import misplaced
from .read import is_model_name, read_pack

#: Environment variable that names folders of packs, or packs, divided as in PATH.
MODELS_VARIABLE = "FASTFACE_MODELS"
#: InsightFace keeps packs in this folder of each of its roots.
_PACKS_FOLDER = "models"
_ONLY_IN_PATHS = ("/", "\\", ":", "\0", "..")

log = logging.getLogger("FastFace")


def pack_roots(extra_roots: Sequence[Path] = ()) -> tuple[Path, ...]:
    """Folders that are searched for packs: of packs of one name the first is taken.

    Args:
        extra_roots: Folders to search after those of FASTFACE_MODELS and before InsightFace's own:
            roots of InsightFace, with packs in their `models` folder, or that folder itself.

    Returns:
        The folders, existing or not; the first is where a download belongs.
    """
    roots = list(_named_by_user())
    for root in map(_absolute, extra_roots):
        roots += [root] if root.name == _PACKS_FOLDER else [root / _PACKS_FOLDER, root]
    roots.append(_absolute(Path("~", ".insightface", _PACKS_FOLDER)))
    return tuple(dict.fromkeys(roots))


def find_packs(extra_roots: Sequence[Path] = ()) -> dict[str, Path]:
    """The packs there are. Lists folders and opens no model: ComfyUI asks often.

    A pack is a folder with `.onnx` files or a manifest of version 2, or with such a folder of its
    own name inside, as the zip of antelopev2 unpacks.

    Args:
        extra_roots: As for `pack_roots`.

    Returns:
        Name of each pack -> the folder its files are in. What of a folder's name is no text is
        an escape in the pack's.
    """
    roots = pack_roots(extra_roots)
    named_by_user = _named_by_user()
    packs: dict[str, Path] = {}
    for root in roots:
        # Loose files in other roots are no pack: users keep face swappers there.
        if root in named_by_user and _holds_models(root):
            packs.setdefault(readable(root.name), root)
        for folder in _folders_in(root):
            files = None if folder in roots else _files_folder(folder)
            if files:
                packs.setdefault(readable(folder.name), files)
    return packs


def model_file_states(folder: Path) -> list[FileState]:
    """The files in a pack's folder that decide what the pack is, as they are now, by path.

    Args:
        folder: As `find_packs` gives it.

    Returns:
        Its `.onnx` files, the files in which these keep weights, and its manifest with the files
        that it names. What can't be read is left out.
    """
    names = _names_in(folder)
    files = {folder / name for name in names if is_model_name(name)}
    if MANIFEST_NAME in names:
        files.add(folder / MANIFEST_NAME)
        with suppress(ModelError):
            if manifest := read_manifest(folder):
                files.update(model.path for model in manifest.models)
    for path in [path for path in files if path.suffix == ".onnx"]:
        with suppress(ModelError):
            files.update(state.path for state in model_states(path))
    return sorted(_states_of(files), key=lambda state: state.path)


def load_pack(
    name: str | Path, extra_roots: Sequence[Path] = (), *, allow_path: bool = False
) -> ModelPack:
    """Finds a pack and reads what its files are for; weights are not read.

    Args:
        name: Name of a pack, as `find_packs` gives it; or a folder with a pack's files.
        extra_roots: As for `pack_roots`.
        allow_path: Whether `name` may be a folder. Not for names from a workflow or the network.

    Returns:
        The pack.

    Raises:
        InvalidInput: `name` is a path, which is not allowed here.
        ModelError: There is no such pack, or nothing in it is usable.
    """
    packs = find_packs(extra_roots)
    name = str(name)
    if readable(name) in packs:
        return read_pack(readable(name), packs[readable(name)])
    if not allow_path and any(part in name for part in _ONLY_IN_PATHS):
        raise InvalidInput(
            f"got {name!r} for a model pack, expected a name, not a path; {_choice(packs)}"
        )
    if allow_path and name and _is_folder(folder := _absolute(Path(name))):
        return read_pack(readable(folder.name), _files_folder(folder) or folder)
    roots = pack_roots(extra_roots)
    searched = ", ".join(f"{root}{'' if _is_folder(root) else ' (not there)'}" for root in roots)
    raise ModelError(
        f"there is no model pack {name!r}; {_choice(packs)}. Searched: {searched}. "
        f"{_where_else(extra_roots, name)}{_how_to_get(name, roots[0])}"
    )


def _states_of(paths: Iterable[Path]) -> Iterator[FileState]:
    for path in paths:
        with suppress(ModelError):
            yield state_of(path)


def misplaced_weights(extra_roots: Sequence[Path] = (), name: str | None = None) -> tuple[str, ...]:
    """What of the user's weights is where no pack is looked for, and where to put it.

    Args:
        extra_roots: As for `pack_roots`.
        name: Only of the pack of this name; None for all.
    """
    found = tuple(find_packs(extra_roots).values())
    return misplaced(pack_roots(extra_roots), found, name)


def _where_else(extra_roots: Sequence[Path], name: str) -> str:
    return "".join(f"{sentence}. " for sentence in misplaced_weights(extra_roots, name))


def _choice(packs: dict[str, Path]) -> str:
    return f"choose one of {', '.join(packs)}" if packs else "none is installed"


def _how_to_get(name: str, root: Path) -> str:
    known = KNOWN_PACKS.get(name)
    if known:
        size = f" ({known.size_mb:,.0f} MB)" if known.size_mb else ""
        files = ", ".join(f"{url} as {file}" for file, url in known.urls.items())
        how = f"put {files}{size} into" if files else f"unpack {known.url}{size} into"
        return f"To install it, {how} {root / name}. Mind the licence: {known.licence}"
    return (
        f"Packs to download: {', '.join(KNOWN_PACKS)}; or put a folder with .onnx files into "
        f"{root}, or name a folder in the environment variable {MODELS_VARIABLE}"
    )


def _named_by_user() -> tuple[Path, ...]:
    folders: list[Path] = []
    for entry in settings_or_defaults().models:
        folder = _absolute(Path(entry))
        folders.append(folder)
        if not _is_folder(folder):
            _warn_once(f"{MODELS_VARIABLE} names {folder}, which is no folder; correct it")
        elif _is_folder(folder / _PACKS_FOLDER):
            folders.append(folder / _PACKS_FOLDER)
    return tuple(folders)


def _files_folder(folder: Path) -> Path | None:
    """Where the files of a pack are: in its folder, or in the one of the same name inside it."""
    if _holds_models(folder):
        return folder
    inner = folder / folder.name
    return inner if inner.name in _names_in(folder) and _holds_models(inner) else None


def _holds_models(folder: Path) -> bool:
    names = _names_in(folder)
    return any(map(is_model_name, names)) or (MANIFEST_NAME in names and has_manifest(folder))


def _folders_in(root: Path) -> list[Path]:
    names = (name for name in sorted(_names_in(root)) if not name.startswith("."))
    return [root / name for name in names if _is_folder(root / name)]


def _names_in(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        _warn_once(f"{folder} is not searched for model packs: {error}; check the rights to it")
        return []


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # no right to look, or no name a folder can have
        return False


def _absolute(path: Path) -> Path:
    """The absolute path, links kept: they carry the name that users know."""
    with suppress(RuntimeError):  # nobody's home: the text stays, as in os.path.expanduser
        path = path.expanduser()
    return Path(os.path.normpath(path.absolute()))


@cache
def _warn_once(message: str) -> None:
    log.warning(message)
