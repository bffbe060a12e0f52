"""Manifests of insightface 2.x packs: what is read, what is refused, the hash of a file."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
from pathlib import Path

import pytest

from fastface.utils.errors import ModelError
from fastface.utils.packs import ModelFile
from fastface.utils.packs.checksums import verify_sha256
from fastface.utils.packs.graph_header import GraphHeader, TensorInfo
from fastface.utils.packs.manifest import DeclaredModel, has_manifest, read_manifest

HASH = "0123456789abcdef" * 4
DOCUMENT = {
    "manifest_version": 2,
    "model_id": "raccoon_s",
    "license": "MODEL.LICENSE",
    "tasks": {
        "recognition": {"file": "weights/rec.onnx", "sha256": HASH},
        "detection": {"file": "det.onnx", "preprocessing": "embedded"},
        "verification": {"file": "ver.ONNX", "expansion": 2, "unknown": "ignored"},
        "pose": "of tasks nobody knows nothing is checked",
    },
}
REMOVED = object()


def write(folder: Path, document: object) -> Path:
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    return folder


def changed(way: str, value: object) -> dict:
    """The document with one field changed, named as in `tasks.detection.file`."""
    document = copy.deepcopy(DOCUMENT)
    *parents, last = way.split(".")
    target = document
    for parent in parents:
        target = target[parent]
    if value is REMOVED:
        del target[last]
    else:
        target[last] = value
    return document


@pytest.mark.parametrize(
    "document",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 100_000,
        '{"manifest_version": ' + "9" * 5000 + "}",
        {},
        {"manifest_version": 1, "tasks": "of another time"},
        {"manifest_version": 3},
        {"manifest_version": "2"},
        {"manifest_version": 2.0},
        {"manifest_version": True},
        " " * (1 << 20) + '{"manifest_version": 2}',
    ],
    ids=lambda document: str(document)[:30],
)
def test_other_manifests_are_left_alone(document, tmp_path):
    write(tmp_path, document)
    assert read_manifest(tmp_path) is None
    assert not has_manifest(tmp_path)


def test_a_folder_without_a_manifest_has_none(tmp_path):
    assert read_manifest(tmp_path) is None
    assert not has_manifest(tmp_path / "missing")


def test_reads_what_is_declared(tmp_path):
    manifest = read_manifest(write(tmp_path, DOCUMENT))
    assert manifest is not None
    assert (manifest.model_id, manifest.display_name) == ("raccoon_s", "raccoon_s")
    assert manifest.licence_path == tmp_path / "MODEL.LICENSE"
    assert manifest.models == (
        DeclaredModel("detection", tmp_path / "det.onnx", 0.0, 1.0),
        DeclaredModel("verification", tmp_path / "ver.ONNX", 0.0, 1.0, expansion=2.0),
        DeclaredModel("recognition", tmp_path / "weights/rec.onnx", 127.5, 127.5, HASH, 112),
    )


#: The field, a value for it, and whether it is valid.
FIELDS = [
    ("model_id", REMOVED, False),
    ("model_id", "", False),
    ("model_id", "../raccoon", False),
    ("model_id", " raccoon_l ", True),
    ("model_id", 5, False),
    ("display_name", None, False),
    ("display_name", "Raccoon S", True),
    ("license", REMOVED, False),
    ("license", "LICENSE.txt", False),
    ("license", "../MODEL.LICENSE", False),
    ("license", "legal/MODEL.LICENSE", True),
    ("tasks", REMOVED, False),
    ("tasks", ["detection"], False),
    ("tasks", {}, True),
    ("tasks.detection", "det.onnx", False),
    ("tasks.detection.file", REMOVED, False),
    ("tasks.detection.file", "det.pt", False),
    ("tasks.detection.file", "weights/rec.onnx", False),
    ("tasks.detection.file", "./weights//rec.onnx", False),
    ("tasks.detection.file", "../det.onnx", False),
    ("tasks.detection.file", "a/../../det.onnx", False),
    ("tasks.detection.file", "a/../det.onnx", False),
    ("tasks.detection.file", "/etc/det.onnx", False),
    ("tasks.detection.file", "C:/det.onnx", False),
    ("tasks.detection.file", "a\\det.onnx", False),
    ("tasks.detection.file", "a\0.onnx", False),
    ("tasks.detection.file", "\ud800.onnx", False),
    ("tasks.detection.file", ["det.onnx"], False),
    ("tasks.detection.sha256", None, False),
    ("tasks.detection.sha256", HASH.upper(), False),
    ("tasks.detection.sha256", HASH[1:], False),
    ("tasks.detection.sha256", HASH, True),
    ("tasks.detection.preprocessing", None, False),
    ("tasks.detection.preprocessing", "none", False),
    ("tasks.detection.preprocessing", {"mean": 127.5}, False),
    ("tasks.detection.preprocessing", {"mean": 1, "std": 1, "scale": 1}, False),
    ("tasks.detection.preprocessing", {"mean": 0, "std": 0}, False),
    ("tasks.detection.preprocessing", {"mean": math.nan, "std": 1}, False),
    ("tasks.detection.preprocessing", {"mean": "0", "std": 1}, False),
    ("tasks.detection.preprocessing", {"mean": [0, 0, 0], "std": 1}, False),
    ("tasks.detection.preprocessing", {"mean": True, "std": 1}, False),
    ("tasks.detection.preprocessing", {"mean": -1, "std": 0.5}, True),
    ("tasks.detection.preprocessing_version", "", False),
    ("tasks.verification.expansion", 0, False),
    ("tasks.verification.expansion", math.inf, False),
    ("tasks.verification.expansion", "1.3", False),
    ("tasks.recognition.input_size", [112, 96], False),
    ("tasks.recognition.input_size", [0, 0], False),
    ("tasks.recognition.input_size", [112.0, 112.0], False),
    ("tasks.recognition.input_size", [112], False),
    ("tasks.recognition.input_size", 112, False),
    ("tasks.recognition.input_size", [128, 128], True),
    ("tasks.recognition.embedding_dimension", -1, False),
    ("tasks.recognition.embedding_dimension", 128, True),
]


@pytest.mark.parametrize(("field", "value", "valid"), FIELDS)
def test_accepts_and_refuses_as_insightface_does(field, value, valid, tmp_path):
    manifests = pytest.importorskip("insightface.model_zoo.package_manifest")
    write(tmp_path, changed(field, value))
    if valid:
        assert read_manifest(tmp_path) is not None
        manifests.load_model_package(tmp_path)
        return
    with pytest.raises(ModelError, match=r"manifest\.json: .*expected .*; ask the maker") as ours:
        read_manifest(tmp_path)
    assert field.split(".")[-1] in str(ours.value) or field == "tasks.detection.file"
    assert has_manifest(tmp_path)
    with pytest.raises((TypeError, ValueError)):
        manifests.load_model_package(tmp_path)


def test_refuses_a_number_no_float_can_hold(tmp_path):
    text = json.dumps(changed("tasks.verification.expansion", 10**400))
    with pytest.raises(ModelError, match="expansion"):
        read_manifest(write(tmp_path, text))


def test_refuses_links_out_of_the_pack(link, tmp_path):
    pack, outside = tmp_path / "pack", tmp_path / "outside"
    pack.mkdir()
    outside.mkdir()
    write(pack, DOCUMENT)
    link(pack / "weights", outside)
    with pytest.raises(ModelError, match=r"tasks\.recognition\.file"):
        read_manifest(pack)
    (pack / "weights").unlink()
    (pack / "manifest.json").rename(outside / "manifest.json")
    link(pack / "manifest.json", outside / "manifest.json")
    with pytest.raises(ModelError, match="link out of its folder"):
        read_manifest(pack)


def header(dtype: str, shape: tuple[int | None, ...]) -> GraphHeader:
    tensors = (TensorInfo("in", dtype, shape),), (TensorInfo("out", "float32", (None, 512)),)
    return GraphHeader(*tensors, node_names=(), op_types=(), node_count=1, opset=13)


def test_joins_manifest_and_graph(tmp_path):
    declared = DeclaredModel("recognition", tmp_path, 1.0, 2.0, HASH, 128, 1.5)
    model = declared.model_file(header("float32", (None, 3, None, 112)))
    assert model == ModelFile(
        path=tmp_path,
        task="recognition",
        input_shape=(None, 3, 128, 112),
        output_shapes=((None, 512),),
        mean=1.0,
        std=2.0,
        sha256=HASH,
        expansion=1.5,
    )


def test_whole_numbers_are_not_normalised_twice(tmp_path):
    shape = (None, 3, 112, 112)
    embedded = DeclaredModel("verification", tmp_path, 0.0, 1.0)
    assert embedded.model_file(header("uint8", shape)).input_dtype == "uint8"
    with pytest.raises(ModelError, match='expected preprocessing "embedded"'):
        DeclaredModel("verification", tmp_path, 127.5, 127.5).model_file(header("uint8", shape))


def test_a_file_without_a_declared_hash_is_not_read(tmp_path):
    verify_sha256(ModelFile(tmp_path / "missing.onnx", "detection"))


def test_compares_a_file_with_its_hash(tmp_path, monkeypatch, aged):
    path = tmp_path / "det.onnx"
    path.write_bytes(b"weights")
    model = ModelFile(path, "detection", sha256=hashlib.sha256(b"weights").hexdigest())
    verify_sha256(model)
    before = path.stat()
    with monkeypatch.context() as patch:  # the second time nothing is read
        patch.setattr(Path, "open", lambda *args: pytest.fail("read again"))
        verify_sha256(model)
    path.write_bytes(b"WEIGHTS")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
    with pytest.raises(ModelError, match=r"declares .* download the pack again"):
        verify_sha256(model)
    path.unlink()
    with pytest.raises(ModelError, match=r"there is no file .*det\.onnx; download"):
        verify_sha256(model)
