"""The fixtures of these tests; others import them from where they are."""

from tests.comfyui.fixtures import (
    checkout,
    comfyui,
    installation,
    installed,
    instantid,
    options,
    python,
    rtx,
)

__all__ = [
    "checkout",
    "comfyui",
    "installation",
    "installed",
    "instantid",
    "options",
    "python",
    "rtx",
]
