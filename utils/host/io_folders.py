"""Files of ComfyUI's input and output folders; see the seam, `utils/host`."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import InvalidInput
from ..names import why_unusable_name
from . import in_comfyui


def input_films() -> list[str]:
    """Names of the films in ComfyUI's input folder, as Load Video lists them; none outside it."""
    if not in_comfyui():
        return []
    import folder_paths

    try:
        with os.scandir(folder_paths.get_input_directory()) as entries:
            files = [entry.name for entry in entries if entry.is_file()]
    except OSError:
        return []
    return sorted(folder_paths.filter_files_content_types(files, ["video"]))


def input_folder(name: str) -> Path:
    """A folder in ComfyUI's input folder by its path in it, whether or not it is there.

    Outside ComfyUI it is one in the folder `input`.

    Raises:
        InvalidInput: It would lie elsewhere, or no folder can have such a name.
    """
    folder = _input_folder()
    for part in name.replace("\\", "/").split("/"):
        if reason := why_unusable_name(part):
            raise InvalidInput(
                f"got the folder {name!r}, but of {part!r} {reason}; expected the name of a folder "
                "in ComfyUI's input folder, such as people"
            )
        folder /= part
    return folder


def _input_folder() -> Path:
    if not in_comfyui():
        return Path("input")
    import folder_paths

    return Path(folder_paths.get_input_directory())


def input_file(name: str) -> Path:
    """A file of ComfyUI's input folder by its name; outside ComfyUI, of the folder `input`.

    Raises:
        InvalidInput: There is none of that name.
    """
    folder = _input_folder()
    if why_unusable_name(name) is not None or not (folder / name).is_file():
        raise InvalidInput(
            f"there is no film {name!r} in ComfyUI's input folder; put it there, or choose another"
        )
    return folder / name


def output_file(prefix: str, suffix: str) -> tuple[Path, str]:
    """A new file in ComfyUI's output folder, numbered as Save Image numbers its own.

    Args:
        prefix: As of Save Image: it may name folders and, in ComfyUI, hold `%year%` and the like.
        suffix: Such as `.csv`.

    Returns:
        The file, which is not made, and its path from the output folder on. Outside ComfyUI that is
        the folder `output`.

    Raises:
        InvalidInput: It would lie outside the output folder, or no file can be called that.
    """
    for part in prefix.split("/"):
        if reason := why_unusable_name(part) or why_unusable_name(f"{part}_00001_{suffix}"):
            raise InvalidInput(
                f"got the prefix {prefix!r} for a file, but of {part!r} {reason}; expected a plain "
                "name such as faces, or one in folders of ComfyUI's output, such as films/faces"
            )
    if not in_comfyui():
        folder, name = Path("output", prefix).parent, Path(prefix).name
        taken = {file.name.rpartition(".")[0] for file in folder.glob(f"{name}_*_.*")}
        number = next(
            each for each in range(1, len(taken) + 2) if f"{name}_{each:05}_" not in taken
        )
        return folder / f"{name}_{number:05}_{suffix}", f"{prefix}_{number:05}_{suffix}"
    import folder_paths

    folder, name, number, subfolder, _ = folder_paths.get_save_image_path(
        prefix, folder_paths.get_output_directory()
    )
    file = f"{name}_{number:05}_{suffix}"
    return Path(folder) / file, (Path(subfolder) / file).as_posix()
