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
        ("pack: x in /data/packs/x (local folder)", "pack: x in .../x (local folder)"),
        ("pack in /srv/My ComfyUI/models/x (local)", "pack in models/x (local)"),
        ("from '/home/me/.insightface/models/x'", "from '~/.insightface/models/x'"),
        ("in /home/me", "in ~"),
        ("in /srv/My ComfyUI, or in /srv/models/x", "in ., or in models/x"),
        ("/home/melanie/x.onnx", ".../x.onnx"),
        ("open:/usr/lib/x.so: no such file", "open:.../x.so: no such file"),
        ("/opt/x.onnx failed:/onnxruntime_src/a.cc:12", ".../x.onnx failed:.../a.cc:12"),
        (r"C:\Users\me\x.onnx is damaged", r".../x.onnx is damaged"),
        ("D:/packs/x/a.onnx, D:/b.onnx", ".../a.onnx, .../b.onnx"),
        (r"in \\server\share\packs\x", r"in .../x"),
        ("/engines/", ".../"),
    ],
)
def test_texts(text: str, expected: str | None):
    assert redact_paths(text, ROOTS) == (text if expected is None else expected)
