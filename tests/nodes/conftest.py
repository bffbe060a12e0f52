"""Fixtures for the nodes: no networks, no files."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from tests.nodes.fakes import CountingDetector, FakeBackend, analysis_of


@pytest.fixture
def face_analysis(tmp_path: Path) -> FaceAnalysis:
    return analysis_of(("detection", "recognition"), tmp_path)


@pytest.fixture
def detector(face_analysis: FaceAnalysis) -> CountingDetector:
    backend = face_analysis.analyzer.backend
    assert isinstance(backend, FakeBackend)
    return backend.detector
