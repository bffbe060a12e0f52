"""What `extra_model_paths.yaml` says of a folder and ComfyUI does not pass on: that it goes first.

ComfyUI puts folders with `is_default` before those it has; but for kinds of models that it does not
know itself, the yaml's folder is there alone until a pack registers its own.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

_log = logging.getLogger("FastFace")


def default_folders(key: str) -> frozenset[str]:
    """The folders, normalised, that the user's yaml files give a kind of models as the first."""
    found = set()
    for file in _files():
        try:
            state = file.stat()
        except OSError:
            continue
        found |= {
            folder
            for name, folder in _defaults_in(file, state.st_mtime_ns, state.st_size)
            if name == key
        }
    return frozenset(found)


def _files() -> Iterator[Path]:
    """Those that ComfyUI reads when it starts: the one beside its main.py, and what it is given."""
    import folder_paths

    if main := getattr(folder_paths, "__file__", None):
        yield Path(main).resolve().parent / "extra_model_paths.yaml"
    try:
        from comfy.cli_args import args
    except ImportError:
        return
    further = getattr(args, "extra_model_paths_config", None) or ()
    yield from map(Path, itertools.chain.from_iterable(further))


@lru_cache(maxsize=16)
def _defaults_in(file: Path, _modified: int, _size: int) -> tuple[tuple[str, str], ...]:
    """Kind and folder of every entry with `is_default`; nothing of a file that can't be read.

    Source:
        ComfyUI, `load_extra_path_config` in utils/extra_config.py.
    """
    import yaml

    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        return tuple(_entries(config, file.resolve().parent))
    except (OSError, ValueError, TypeError, AttributeError, RuntimeError, yaml.YAMLError) as error:
        _log.debug("%s says nothing of folders that go first: %s", file, error)
        return ()


def _entries(config: Any, beside: Path) -> Iterator[tuple[str, str]]:
    for section in (config or {}).values():
        if not section or not section.get("is_default"):
            continue
        base = os.path.expandvars(Path(section.get("base_path") or "").expanduser())
        for kind, folders in section.items():
            if kind in ("base_path", "is_default"):
                continue
            for folder in filter(None, folders.split("\n")):
                yield kind, os.path.normpath(beside / base / folder)
