"""Functions of other packs, out of checkouts that the environment names."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any

import pytest


def function_of(variable: str, file: str, name: str, **scope: Any) -> Any:
    """One function of a file whose imports need a ComfyUI; skips the test without a checkout.

    Args:
        variable: The environment variable that names the checkout.
        file: In the checkout.
        name: Of the function.
        scope: What the function finds around it.
    """
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"{variable} names no checkout of that pack")
    path = Path(folder) / file
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name
    ]
    exec(compile(tree, str(path), "exec"), scope)
    return scope[name]
