"""What the objects say they are and have: only what is true, since caches and nodes go by it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastface
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.insightface_compat.face import UPSTREAM_FIELDS, Face

#: Asked for by ComfyUI 0.33's and 0.8's caches, by nodes that show anything, and by libraries.
NOT_OURS = (
    *("is_dynamic", "get_ram_usage", "get_models", "patcher", "model_size", "value", "outputs"),
    *("shape", "dtype", "device", "numpy", "tolist", "to", "samples", "to_dict", "model_dump"),
    *("__array__", "__dlpack__", "__torch_function__", "__iter_not__", "_repr_html_", "anything"),
)


@pytest.mark.parametrize("name", NOT_OURS)
def test_nothing_has_what_it_has_not(full_app: FaceAnalysis, portrait: np.ndarray, name: str):
    (face,) = full_app.get(portrait)
    for each in (face, full_app, *full_app.models.values()):
        assert not hasattr(each, name)
        assert getattr(each, name, "absent") == "absent"


@pytest.mark.parametrize("name", sorted(UPSTREAM_FIELDS))
def test_fields_of_insightface_are_there_as_upstream(
    app: FaceAnalysis, upstream: Any, portrait: np.ndarray, name: str
):
    """This pack has detection and recognition alone: the other fields read None."""
    (mine,), (theirs,) = app.get(portrait), upstream.get(portrait)
    assert hasattr(mine, name) and hasattr(theirs, name)
    assert (getattr(mine, name) is None) == (getattr(theirs, name) is None)
    assert (name in mine) == (name in theirs)


def test_every_field_that_upstream_writes_is_known(full_upstream: Any, portrait: np.ndarray):
    """A field of a later insightface belongs into `UPSTREAM_FIELDS`."""
    (face,) = full_upstream.get(portrait)
    derived = {name for name, value in vars(type(face)).items() if isinstance(value, property)}
    for name in {*face, *derived}:
        assert hasattr(Face(), name), name


def test_easyapis_questions(full_app: FaceAnalysis, full_upstream: Any, crowd: np.ndarray):
    """PuLID-Flux2, ComfyUI-EasyAPI: a field if there is one; boxes in whole pixels; sex."""
    for insightface in (full_app, full_upstream):
        faces = insightface.get(crowd)
        for face in faces:
            assert hasattr(face, "det_score") and hasattr(face, "bbox")
            assert face.bbox.astype(int).dtype.kind == "i"
            assert (face.gender == 1) == (face.sex == "M")
    mine, theirs = full_app.get(crowd), full_upstream.get(crowd)
    for ours, reference in zip(mine, theirs, strict=True):
        assert np.array_equal(ours.bbox.astype(int), reference.bbox.astype(int))


def test_sorting_faces_is_as_with_upstream(app: FaceAnalysis, upstream: Any, crowd: np.ndarray):
    for insightface in (app, upstream):
        faces = insightface.get(crowd)
        assert type(faces) is list
        with pytest.raises(TypeError, match="not supported between instances of 'Face'"):
            faces.sort()
        faces.sort(key=lambda face: (face.bbox[2] - face.bbox[0]) * (face.bbox[3] - face.bbox[1]))
        assert faces[-1]["bbox"][0] > 0


def test_both_are_insightfaces_to_who_asks(app: FaceAnalysis, portrait: np.ndarray):
    upstream = pytest.importorskip("insightface.app")
    from insightface.app.common import Face as TheirFace

    (face,) = app.get(portrait)
    assert isinstance(app, upstream.FaceAnalysis) and isinstance(app, FaceAnalysis)
    assert isinstance(face, TheirFace) and isinstance(face, Face) and isinstance(face, dict)
    assert type(app) is FaceAnalysis and type(face) is Face
    assert not isinstance(app, TheirFace) and not isinstance(face, upstream.FaceAnalysis)
    # And the other way round nothing is claimed.
    assert not isinstance(TheirFace(), Face)


def test_asking_imports_nothing(tmp_path: Path):
    """insightface costs a second and half a GB; who has not imported it asks for nothing of it."""
    script = """
import sys
from install import import_pack
import_pack("fastface")
from fastface.pipeline.insightface_compat.face import Face
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
face, app = Face(), object.__new__(FaceAnalysis)
assert isinstance(face, Face) and isinstance(app, FaceAnalysis)
assert face.__class__ is Face and app.__class__ is FaceAnalysis
assert not any(name.partition(".")[0] == "insightface" for name in sys.modules)
"""
    root = Path(fastface.__file__ or "").parent
    subprocess.run([sys.executable, "-c", script], cwd=root, check=True, timeout=300)
