"""Names of the environment variables."""

from __future__ import annotations

import os

PREFIX = "FASTFACE_"


def variable(field: str) -> str:
    """The environment variable of a field of `Settings`."""
    return PREFIX + field.upper()


def is_set(field: str) -> bool:
    """Whether the environment has a variable, without asking what it says."""
    return bool(os.environ.get(variable(field)))
