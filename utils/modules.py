"""Which Python modules are there, without importing them."""

from __future__ import annotations

import importlib.util


def has_module(name: str) -> bool:
    """Whether a top-level module can be imported.

    A folder without an `__init__.py` is none: removing one of two packages that share a folder
    (`onnxruntime` and `onnxruntime-gpu`) takes the files of both, and what it leaves still imports,
    as an empty module.

    Args:
        name: Of the module, without dots.
    """
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # a module that was put into `sys.modules` by hand
        return True
    return spec is not None and spec.origin is not None
