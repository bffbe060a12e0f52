"""What the demo prints is measured."""

from __future__ import annotations

from pathlib import Path

from fastface.installer.pack_commands.demo import _timed
from fastface.utils.images import Images
from tests.nodes.fakes import FakeBackend, analysis_of, images_with


def test_the_second_time_is_not_that_of_looking_up_the_first(tmp_path: Path):
    face_analysis = analysis_of(("detection",), tmp_path)
    backend = face_analysis.analyzer.backend
    assert isinstance(backend, FakeBackend)
    for calls in (1, 2):
        _, faces = _timed(face_analysis, Images.from_comfy(images_with(3)), [])
        assert len(faces) == 3 and backend.detector.calls == calls
