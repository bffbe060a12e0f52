"""What is measured: this pack's backends, and one file here for each library that does the same."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...utils.errors import InvalidInput
from ..implementation import Implementation
from ..ours import our_contestants


def all_implementations(extra: Sequence[Path] = ()) -> dict[str, Implementation]:
    """Everyone by name: ours first, then those of others, then those in files of the user's.

    Args:
        extra: Python files, each with a subclass of `Implementation`, like those in
            this folder: their relative imports work too.

    Raises:
        InvalidInput: A file is not there, or holds no contestant.
    """
    everyone = {contestant.name: contestant for contestant in our_contestants()}
    package = __name__
    for info in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{package}.{info.name}")
        everyone.update({peer.name: peer for peer in _implementations_in(module)})
    for file in extra:
        module = _module_of(file, f"{package}.{file.stem}")
        theirs = _implementations_in(module)
        if not theirs:
            raise InvalidInput(
                f"{file} holds no subclass of Implementation; see benchmark/implementations"
            )
        everyone.update({peer.name: peer for peer in theirs})
    return everyone


def _implementations_in(module: Any) -> list[Implementation]:
    return [
        value()
        for value in vars(module).values()
        if isinstance(value, type)
        and not value.__name__.startswith("_")  # what several have in common
        and issubclass(value, Implementation)
        and value.__module__ == module.__name__
    ]


def _module_of(file: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, file)
    try:
        is_there = file.is_file()
    except OSError:  # no name that a file can have, or not ours to look at
        is_there = False
    if spec is None or spec.loader is None or not is_there:
        raise InvalidInput(f"got contestant file {file}, expected a Python file that is there")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
