"""No absolute path is left in a text, and nothing else is changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastface.utils.redact import redact_paths

ROOTS = [
    (Path("/srv/My ComfyUI"), ""),
    (Path("/home/me"), "~"),
    (Path("/srv/models"), "models"),
    (Path("/"), ""),
]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", ""),
        ("6 faces in 2 images, 0.5 images/s", "6 faces in 2 images, 0.5 images/s"),
        ("runs on cuda:0; see docs/TENSORRT.md", "runs on cuda:0; see docs/TENSORRT.md"),
        ("https://github.com/a/b and ~/.insightface/models", None),
        ("pack: x in {top}/packs/x (local folder)", "pack: x in .../x (local folder)"),
        ("pack in /srv/My ComfyUI/models/x (local)", "pack in models/x (local)"),
        ("from '/home/me/.insightface/models/x'", "from '~/.insightface/models/x'"),
        ("in /home/me", "in ~"),
        ("in /srv/My ComfyUI, or in /srv/models/x", "in ., or in models/x"),
        ("{top}/x.onnx failed:/onnxruntime_src/a.cc", ".../x.onnx failed:/onnxruntime_src/a.cc"),
        ("open:{top}/lib/x.so: no such file", "open:.../x.so: no such file"),
        ("2 nodes in fp32: /head/Conv /head/Reshape", None),
        (r"C:\Users\me\x.onnx is damaged", r".../x.onnx is damaged"),
        ("D:/packs/x/a.onnx, D:/b.onnx", ".../a.onnx, .../b.onnx"),
        (r"in \\server\share\packs\x", r"in .../x"),
        ("{top}/engines/", ".../"),
        ("in {top}/engines (read-only)", "in .../engines (read-only)"),
    ],
)
def test_texts(text: str, expected: str | None, tmp_path: Path):
    text = text.replace("{top}", f"/{tmp_path.parts[1]}")
    assert redact_paths(text, ROOTS) == (text if expected is None else expected)


def test_a_name_that_only_begins_as_a_root_does(tmp_path: Path):
    roots = [(tmp_path / "me", "~")]
    assert redact_paths(f"in {tmp_path / 'melanie'}", roots) == "in .../melanie"
