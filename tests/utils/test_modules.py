from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from fastface.backends.registry import all_backends
from fastface.utils.modules import has_module


def test_what_an_import_would_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "fastface_plain.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "fastface_package").mkdir()
    (tmp_path / "fastface_package" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "fastface_remainder" / "capi").mkdir(parents=True)
    assert has_module("fastface_plain") and has_module("fastface_package")
    assert not has_module("fastface_remainder") and not has_module("fastface_nowhere")
    monkeypatch.setitem(sys.modules, "fastface_by_hand", ModuleType("fastface_by_hand"))
    assert has_module("fastface_by_hand")


@pytest.mark.parametrize(
    ("backend", "module"),
    [
        ("insightface", "onnxruntime"),
        ("insightface", "insightface"),
        ("onnxruntime", "onnxruntime"),
        ("facenet", "facenet_pytorch"),
        ("torch", "onnx"),
    ],
)
def test_the_empty_folder_of_a_removed_package_is_no_engine(
    backend: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    chosen = all_backends()[backend]
    for name in ("insightface", "onnxruntime", "facenet_pytorch", "torchvision", "onnx"):
        (tmp_path / name / "capi").mkdir(parents=True)
        if name != module:
            (tmp_path / name / "__init__.py").touch()
    # Without the folders of installed packages: a whole one would be found behind the empty one.
    rest = [folder for folder in sys.path if "site-packages" not in folder]
    monkeypatch.setattr(sys, "path", [str(tmp_path), *rest])
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    reason = chosen.why_unavailable()
    assert reason is not None and module in reason and "python install.py" in reason
