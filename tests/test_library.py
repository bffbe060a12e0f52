"""Every block of docs/LIBRARY.md runs as it stands there, in a process that has no ComfyUI."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from install import ROOT

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks() -> list[str]:
    return _BLOCK.findall((ROOT / "docs" / "LIBRARY.md").read_text(encoding="utf-8"))


def test_the_page_has_what_it_promises():
    page = (ROOT / "docs" / "LIBRARY.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == [
        "Load",
        "Analyse",
        "The drop-in object",
        "Galleries",
        "Albums",
    ]
    assert len(blocks()) == 5
    # Ten lines each.
    assert all(len([line for line in block.splitlines() if line]) <= 10 for block in blocks())


@pytest.mark.skipif(os.name == "nt", reason="making links needs a right there")
def test_every_block_runs(test_data: Path, tmp_path: Path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("cv2")
    (tmp_path / "libraries").mkdir()
    (tmp_path / "libraries" / "fastface").symlink_to(ROOT, target_is_directory=True)
    work = tmp_path / "work"
    work.mkdir()
    shutil.copy(test_data / "images" / "multiface.jpg", work / "photo.jpg")
    program = work / "program.py"
    program.write_text("\nprint('-----')\n".join(blocks()), encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "libraries"),
        "FASTFACE_MODELS": str(test_data / "models"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    ended = subprocess.run(
        [sys.executable, str(program)],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    load, analyse, drop_in, gallery, album = ended.stdout.split("-----\n")
    assert "detection at 640 x 640" in load
    lines = analyse.splitlines()
    assert len(lines) == 12 and lines[0].startswith("0 [") and lines[-1].startswith("1 [")
    assert drop_in.count("(5, 2)") == 6 and drop_in.count("(128,)") == 6
    assert gallery.count("Anna") == 12 and re.search(r"Anna (1\.0|0\.99)", gallery)
    assert "photo.jpg 6 faces" in album and "program.py neither a picture nor a film" in album
    assert "6 people" in album
    assert {each.name for each in (work / "album").iterdir()} >= {"people.html", "album.json"}
