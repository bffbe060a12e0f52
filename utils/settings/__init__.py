"""What users set by environment variables; read through `settings()` alone."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .fields import Settings

PREFIX = "FASTFACE_"

_lock = threading.Lock()
#: The variables last read, and what they said.
_known: tuple[tuple[str | None, ...], Settings] | None = None


def settings() -> Settings:
    """The settings as the environment has them now; a change counts from the next use on.

    Cheap enough for every call: the variables are only checked again when one has changed.

    Raises:
        InvalidInput: Variables have values that can't be used; names them all.
    """
    global _known
    # Imported here because pydantic takes half of what importing the whole pack may take.
    from .fields import VARIABLES, read

    values = tuple(os.environ.get(variable) for variable in VARIABLES)
    known = _known
    if known is None or known[0] != values:
        with _lock:
            known = _known = (values, read())
    return known[1]


def is_set(field: str) -> bool:
    """Whether the environment has a variable, without asking what it says. Imports nothing."""
    return bool(os.environ.get(PREFIX + field.upper()))
