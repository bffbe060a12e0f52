"""Folders: ComfyUI's own, those of its users' models, and where the pack keeps what it makes."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

from ..files import file_errors, write_whole
from ..unfinished import unfinished_file, unfinished_folder
from .extra_paths import default_folders

_log = logging.getLogger("FastFace")

#: The key under which packs register folders of InsightFace weights.
_FOLDER_KEY = "insightface"
#: What is to be removed when the process ends.
_until_exit = contextlib.ExitStack()
atexit.register(_until_exit.close)


def in_comfyui() -> bool:
    """Whether this process is ComfyUI. Imports nothing, so that it costs nothing elsewhere."""
    return hasattr(sys.modules.get("folder_paths"), "folder_names_and_paths")


def insightface_roots() -> tuple[Path, ...]:
    """Folders where ComfyUI's users keep InsightFace packs, ComfyUI's own models folder first.

    Each is a root in InsightFace's sense: packs lie in its `models` folder, or directly in it when
    an `extra_model_paths.yaml` names that folder itself.

    Returns:
        The folders, existing or not; empty outside ComfyUI.
    """
    return model_folders(_FOLDER_KEY)


def model_folders(key: str) -> tuple[Path, ...]:
    """ComfyUI's folders for a kind of models; the first is where a download belongs.

    That of ComfyUI's own models folder comes first, or after those that an `extra_model_paths.yaml`
    names with `is_default`. It is registered under the key, so that other packs find it too; what
    others, or the yaml, registered stays.

    Returns:
        The folders, existing or not; empty outside ComfyUI.
    """
    if not in_comfyui():
        return ()
    import folder_paths

    own = str(Path(folder_paths.models_dir) / key)
    folder_paths.add_model_folder_path(key, own)
    registered = folder_paths.get_folder_paths(key)
    defaults = default_folders(key)
    first = [folder for folder in registered if os.path.normpath(folder) in defaults]
    return tuple(dict.fromkeys(Path(folder) for folder in (*first, own, *registered)))


def detector_folders() -> dict[str, tuple[Path, ...]]:
    """Where single files of face detectors lie: of this pack, and those of Ultralytics' nodes.

    Returns:
        `detectors`: models/fastface/detectors; `bbox`: models/ultralytics/bbox, with what an
        `extra_model_paths.yaml` and other packs registered for it. Empty outside ComfyUI.
    """
    if not in_comfyui():
        return {}
    import folder_paths

    registered = folder_paths.folder_names_and_paths
    own = models_folder()
    boxes = [own / "ultralytics" / "bbox"]
    if "ultralytics_bbox" in registered:
        boxes += map(Path, folder_paths.get_folder_paths("ultralytics_bbox"))
    if "ultralytics" in registered:
        boxes += [Path(each) / "bbox" for each in folder_paths.get_folder_paths("ultralytics")]
    return {
        "detectors": (own / "fastface" / "detectors",),
        "bbox": tuple(dict.fromkeys(boxes)),
    }


def models_folder() -> Path:
    """ComfyUI's own folder of models; outside ComfyUI, `models` in the working folder."""
    if not in_comfyui():
        return Path("models")
    import folder_paths

    return Path(folder_paths.models_dir)


def provide_input(file: Path) -> None:
    """Puts a file into ComfyUI's input folder, where Load Image finds it; one that is there stays.

    Nothing outside ComfyUI. A folder that can't be written to is said in the log alone.
    """
    if not in_comfyui():
        return
    import folder_paths

    target = Path(folder_paths.get_input_directory()) / file.name
    try:
        if not target.exists():
            write_whole(target, file.read_bytes())
    except OSError as error:
        _log.info("%s can't be put into ComfyUI's input folder: %s", file.name, error)


def cache_folder() -> Path:
    """The folder for what may be thrown away and made again, such as rewritten graphs.

    Returns:
        The first writable one of: ComfyUI's user folder, ComfyUI's temp folder, the platform's
        cache folder, the system's temp folder. One that can't be written to is named in the log.

    Raises:
        FileError: Not even the system's temp folder can be written to.
    """
    for folder in _cache_candidates():
        if _is_writable(folder):
            return folder
    return temporary_folder()


def temporary_folder() -> Path:
    """A folder among the system's temporary files for this process alone, which goes with it.

    After a kill, the next one that asks for one clears it away.

    Raises:
        FileError: It can't be made.
    """
    folder = _temporary_folder()
    if not folder.is_dir():  # somebody has cleaned up
        _temporary_folder.cache_clear()
        folder = _temporary_folder()
    return folder


def cache_folders() -> list[Path]:
    """The folders that `cache_folder` may be or have been, and that are there."""
    return [folder for folder in _cache_candidates() if folder.is_dir()]


@lru_cache(maxsize=1)
def _temporary_folder() -> Path:
    parent = Path(tempfile.gettempdir())
    with file_errors(parent / "fastface"):
        folder = _until_exit.enter_context(unfinished_folder(parent))
        folder.chmod(0o700)  # everybody may write to the temp folder
        return folder


def _cache_candidates() -> list[Path]:
    candidates = []
    if in_comfyui():
        import folder_paths

        # Two leading underscores mark a folder of the system among those of users.
        if hasattr(folder_paths, "get_user_directory"):
            candidates.append(Path(folder_paths.get_user_directory()) / "__fastface")
        candidates.append(Path(folder_paths.get_temp_directory()) / "fastface")
    with contextlib.suppress(RuntimeError):  # nobody's home
        candidates.append(_platform_cache_folder() / "comfyui-fastface")
    return candidates


def _platform_cache_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


@lru_cache(maxsize=32)  # one warning for each folder, not one for each use
def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with unfinished_file(folder):
            return True
    except OSError as error:
        _log.warning(
            "cache folder %s can't be written to (%s); the next possible one is used. "
            "Give this account write permission to keep cached work between runs",
            folder,
            error.strerror or error,
        )
        return False
