"""A browser that shows a real ComfyUI with this pack.

They need COMFYUI_PATH (tests/comfyui/installations.py), `pip install playwright`, and a Chromium:
the system's, the one that FASTFACE_CHROMIUM names, or `playwright install chromium`.
FASTFACE_SCREENSHOTS names a folder for pictures of what was seen.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.front_end import FrontEnd
from tests.comfyui.comfyui_server import ComfyServer
from tests.comfyui.fixtures import (
    add_node,
    checkout,
    fill,
    installation,
    installed,
    instantid,
    options,
    python,
)

__all__ = ["checkout", "installation", "installed", "instantid", "options", "python"]

#: A folder name of whose files aiohttp 3.14 serves any; those of one with spaces it does not.
PACK = "comfyui-fastface"

#: A node that takes its time, so that something else can be done meanwhile.
WAIT = """
import time

class TestWait:
    FUNCTION, CATEGORY, RETURN_TYPES = "run", "tests", ("INT",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"seconds": ("INT", {})}}

    @classmethod
    def IS_CHANGED(cls, **inputs):
        return float("nan")

    def run(self, seconds):
        time.sleep(seconds)
        return (seconds,)

NODE_CLASS_MAPPINGS = {"TestWait": TestWait}
"""

#: No guided tour for newcomers over the canvas.
SETTINGS = {"Comfy.TutorialCompleted": True}


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        names = ("chromium", "chromium-browser", "google-chrome", "chrome")
        found = [os.environ.get("FASTFACE_CHROMIUM"), *map(shutil.which, names)]
        executable = next(filter(None, found), playwright.chromium.executable_path)
        if not Path(executable).is_file():
            pytest.skip(f"there is no Chromium: not in PATH, not at {executable}")
        arguments = ["--disable-gpu", "--disable-quic", "--disable-background-networking"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            arguments.append("--no-sandbox")  # there is none for root
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def with_weights(test_data: Path) -> Path | None:
    """The weights that ComfyUI has; a module of tests may have it otherwise."""
    return test_data / "models"


@pytest.fixture(scope="module")
def comfyui(
    chromium: Any,
    checkout: Path,
    python: str,
    options: str,
    installed: dict[str, str],
    instantid: Path | None,
    with_weights: Path | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ComfyServer]:
    base = tmp_path_factory.mktemp("comfyui")
    fill(base, PACK, installed, instantid, with_weights)
    add_node(base, "wait", WAIT)
    settings = base / "user" / "default" / "comfy.settings.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps(SETTINGS), encoding="utf-8")
    with ComfyServer(checkout, python, base, options) as server:
        yield server


@pytest.fixture
def front_end(
    chromium: Any, comfyui: ComfyServer, request: pytest.FixtureRequest
) -> Iterator[FrontEnd]:
    """The front end in a new window, with nothing remembered of others."""
    context = chromium.new_context(viewport={"width": 1920, "height": 1200})
    shown = FrontEnd(context.new_page(), comfyui, picture_path(request.node.name))
    shown.open()
    yield shown
    shown.take_picture("end")
    context.close()
    assert not shown.errors


def picture_path(test: str) -> Path | None:
    """Where pictures of a test are kept, and how their names begin."""
    folder = os.environ.get("FASTFACE_SCREENSHOTS")
    if not folder:
        return None
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder) / "".join(c if c.isalnum() or c in "._-" else "_" for c in test)
