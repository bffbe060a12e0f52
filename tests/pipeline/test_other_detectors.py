"""A pack's recognition behind another detector than its own."""

from __future__ import annotations

import copy
import logging
import os
import pickle
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from fastface.backends.onnx_graphs.graph_cache import graph_cache
from fastface.backends.onnx_graphs.ultralytics_graph import graph_of_checkpoint
from fastface.nodes.detect import FastFaceDetect
from fastface.nodes.embed import FastFaceEmbed
from fastface.nodes.loader import FastFaceLoader
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.lifecycle import unload
from fastface.pipeline.loading import describe_loaded, load_face_analysis
from fastface.utils import host
from fastface.utils.errors import BackendUnavailable, InvalidInput, ModelError
from fastface.utils.packs import detector_files
from fastface.utils.packs.detector_files import PACKS_OWN, find_detectors
from tests.backends.onnx_graphs.tiny_yolo import save, tiny_yolo
from tests.parity.detectors import photo

YUNET, BOXES = "detectors/yunet_n_dynamic.onnx", "bbox/boxes.onnx"


def without_landmarks(graph: Path, to: Path) -> Path:
    """SCRFD with its real weights, and without the outputs of landmarks."""
    model = onnx.load(str(graph))
    del model.graph.output[6:]
    onnx.save(model, str(to))
    return to


@pytest.fixture
def folders(test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Packs `arc` (SCRFD, MobileFaceNet) and `embed` (MobileFaceNet), and single detectors."""
    models = tmp_path / "models"
    for pack, files in {
        "arc": ("scrfd_2.5g_bnkps.onnx", "mobilefacenet.onnx"),
        "embed": ("mobilefacenet.onnx",),
    }.items():
        (models / pack).mkdir(parents=True)
        for file in files:
            shutil.copy(test_data / "models" / file, models / pack / file)
    loose = {"detectors": (tmp_path / "detectors",), "bbox": (tmp_path / "bbox",)}
    for (folder,) in loose.values():
        folder.mkdir()
    for file in ("yunet_n_dynamic.onnx", "retinaface_mobilenet025.onnx"):
        shutil.copy(test_data / "detectors" / file, tmp_path / "detectors" / file)
    without_landmarks(models / "arc" / "scrfd_2.5g_bnkps.onnx", tmp_path / "bbox" / "boxes.onnx")
    monkeypatch.setenv("FASTFACE_MODELS", str(models))
    monkeypatch.setattr(host, "detector_folders", lambda: loose)
    return loose


def load(folders: dict[str, Any], pack: str = "arc", **choices: Any) -> FaceAnalysis:
    given = {"backend": "onnxruntime", "device": "cpu", **choices}
    return load_face_analysis(model_pack=pack, detector_folders=folders, **given)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


class TestFinding:
    def test_packs_and_single_files_by_their_headers(
        self, folders: dict[str, Any], tmp_path: Path, test_data: Path
    ):
        shutil.copy(test_data / "models" / "mobilefacenet.onnx", tmp_path / "bbox")
        (tmp_path / "bbox" / "broken.onnx").write_bytes(b"<html>")
        found = find_detectors([], folders)
        assert {"arc", YUNET, "detectors/retinaface_mobilenet025.onnx", BOXES} == set(found)
        assert found["arc"].name == "scrfd_2.5g_bnkps.onnx"

    def test_the_loader_offers_them_behind_the_packs_own(self, folders: dict[str, Any]):
        names, options = FastFaceLoader.INPUT_TYPES()["optional"]["detector"]
        assert names[0] == options["default"] == PACKS_OWN and YUNET in names and "arc" in names

    def test_one_that_is_gone_is_refused_by_its_name(self, folders: dict[str, Any]):
        assert FastFaceLoader.VALIDATE_INPUTS("arc", YUNET) is True
        said = FastFaceLoader.VALIDATE_INPUTS("arc", "bbox/gone.onnx")
        assert isinstance(said, str) and "'bbox/gone.onnx' is not here" in said and YUNET in said
        with pytest.raises(InvalidInput, match=r"got detector 'bbox/gone.onnx', expected one of"):
            load(folders, detector="bbox/gone.onnx")

    def test_a_file_that_is_replaced_runs_the_loader_again(self, folders: dict[str, Any]):
        before = FastFaceLoader.IS_CHANGED("arc", YUNET)
        path = folders["detectors"][0] / "yunet_n_dynamic.onnx"
        os.utime(path, ns=(1, 1))
        assert FastFaceLoader.IS_CHANGED("arc", YUNET) != before
        assert YUNET not in FastFaceLoader.IS_CHANGED("arc", PACKS_OWN)

    def test_outside_comfyui_there_are_no_single_files(self):
        assert host.detector_folders() == {}


@pytest.mark.parametrize("detector", [YUNET, "detectors/retinaface_mobilenet025.onnx", "arc"])
@pytest.mark.parametrize("pack", ["arc", "embed"])
def test_its_boxes_feed_the_packs_recognition(
    folders: dict[str, Any], test_data: Path, tmp_path: Path, detector: str, pack: str
):
    """As if both files lay in one pack."""
    together = tmp_path / "models" / "both"
    together.mkdir()
    shutil.copy(find_detectors([], folders)[detector], together / "det.onnx")
    shutil.copy(test_data / "models" / "mobilefacenet.onnx", together)
    image = photo(test_data, "multiface")
    faces = load(folders, pack, detector=detector).get(image)
    expected = load(folders, "both").get(image)
    assert len(faces) == len(expected) > 3
    for mine, theirs in zip(faces, expected, strict=True):
        assert np.array_equal(mine.bbox, theirs.bbox) and np.array_equal(mine.kps, theirs.kps)
        assert np.array_equal(mine.embedding, theirs.embedding)


def test_info_names_both_files_and_whose_they_are(folders: dict[str, Any], test_data: Path):
    info = describe_loaded(load(folders, detector=YUNET))
    assert f"detector: {YUNET} ({folders['detectors'][0] / 'yunet_n_dynamic.onnx'})" in info
    assert "family YuNet" in info and "threshold 0.9" in info and "pack: arc in" in info
    assert "detection: file yunet_n_dynamic.onnx, of unknown origin" in info
    assert "recognition: local folder" in info


def test_two_detectors_never_share_results(folders: dict[str, Any], test_data: Path):
    image = photo(test_data, "solvay")
    counts = [len(load(folders, detector=name).get(image)) for name in (PACKS_OWN, YUNET, BOXES)]
    again = [len(load(folders, detector=name).get(image)) for name in (PACKS_OWN, YUNET, BOXES)]
    assert counts == again and counts[0] != counts[1]


class TestWithoutLandmarks:
    def test_the_packs_own_detector_looks_into_the_boxes(
        self, folders: dict[str, Any], test_data: Path
    ):
        image = photo(test_data, "multiface")
        app = load(folders, detector=BOXES)
        faces, own = app.get(image), load(folders).get(image)
        assert len(faces) == len(own)
        for face, expected in zip(faces, own, strict=True):
            assert np.abs(face.bbox - expected.bbox).max() < 1e-3, "the boxes are the detector's"
            side = (expected.bbox[2:] - expected.bbox[:2]).max()
            assert np.abs(face.kps - expected.kps).max() < 0.06 * side
            assert cosine(face.embedding, expected.embedding) > 0.9
        info = describe_loaded(app)
        assert "scrfd_2.5g_bnkps.onnx of arc looks into each box" in info
        assert "runs on CPU" in info.partition("looks into each box")[2]
        assert "landmarks: local folder" in info

    @pytest.mark.parametrize("backend", ["torch", "openvino"])
    def test_on_other_backends(self, folders: dict[str, Any], test_data: Path, backend: str):
        pytest.importorskip(backend)
        image = photo(test_data, "rot_0")
        (face,) = load(folders, detector=BOXES, backend=backend).get(image)
        (own,) = load(folders).get(image)
        assert cosine(face.embedding, own.embedding) > 0.9

    def test_without_any_the_embedding_is_refused_with_the_reason(
        self, folders: dict[str, Any], test_data: Path
    ):
        app = load(folders, "embed", detector=BOXES)
        assert "this detector gives no landmarks: faces have no embedding" in describe_loaded(app)
        (face,) = app.get(photo(test_data, "rot_0"))
        assert face.kps is None
        with pytest.raises(ModelError, match="gives no landmarks, so faces can't be aligned"):
            face["embedding"]

    def test_with_boxes_alone_wanted_nobody_looks_for_landmarks(
        self, folders: dict[str, Any], test_data: Path
    ):
        app = load(folders, detector=BOXES, heads="detection")
        image = photo(test_data, "solvay")
        boxes, landmarks = app.det_model.detect(image)
        assert landmarks is None and len(boxes) == len(load(folders).get(image))

    def test_no_face_is_a_normal_result(self, folders: dict[str, Any]):
        assert load(folders, detector=BOXES).get(np.zeros((200, 300, 3), np.uint8)) == []
        faces = FastFaceDetect().detect(load(folders, detector=BOXES), torch.zeros(2, 64, 64, 3))
        assert len(faces["result"][0]) == 0

    def test_batches_equal_single_images(self, folders: dict[str, Any], test_data: Path):
        app = load(folders, detector=BOXES)
        image = torch.from_numpy(photo(test_data, "multiface")[..., ::-1].copy()).float() / 255
        batch = torch.stack([image.roll(16 * step, 1) for step in range(8)])
        together = FastFaceEmbed().embed(app, batch)["result"][0]
        apart = [FastFaceEmbed().embed(app, each[None])["result"][0] for each in batch]
        assert together.per_image() == [len(faces) for faces in apart]
        assert torch.allclose(
            together.embeddings, torch.cat([faces.embeddings for faces in apart]), atol=1e-3
        )

    def test_robust(self, folders: dict[str, Any], test_data: Path):
        app = load(folders, detector=BOXES, detection="robust")
        (face,) = app.get(photo(test_data, "rot_90"))
        assert face.kps.shape == (5, 2) and face.embedding.shape == (128,)


class TestReplaced:
    @pytest.mark.parametrize("whose", ["the other", "the pack's own"])
    def test_another_file_is_another_detector(
        self, folders: dict[str, Any], test_data: Path, whose: str, caplog: Any
    ):
        image = photo(test_data, "Stallone")
        app = load(folders, detector=BOXES)
        (before,) = app.get(image)
        path = find_detectors([], folders)[BOXES if whose == "the other" else "arc"]
        model = onnx.load(str(path))
        model.doc_string = "another file"
        onnx.save(model, str(path))
        unload()
        with caplog.at_level(logging.WARNING, "FastFace"):
            (after,) = app.get(np.ascontiguousarray(image[:, :-1]))
        assert "were replaced" in caplog.text or whose != "the other"
        assert cosine(before.embedding, after.embedding) > 0.9


def test_copies_and_pickles_keep_it(folders: dict[str, Any], test_data: Path):
    image = photo(test_data, "Stallone")
    for detector in (YUNET, BOXES):
        app = load(folders, detector=detector)
        (expected,) = app.get(image)
        for twin in (copy.deepcopy(app), pickle.loads(pickle.dumps(app))):
            assert twin.analyzer.pack.detector.name == detector
            assert np.array_equal(twin.get(image)[0].bbox, expected.bbox)


def test_who_takes_no_other_detector_says_so(folders: dict[str, Any]):
    pytest.importorskip("facenet_pytorch")
    with pytest.raises(InvalidInput, match="whose networks belong together"):
        load(folders, "facenet-mtcnn", backend="auto", detector=YUNET)
    pytest.importorskip("insightface")
    with pytest.raises(BackendUnavailable, match="with its own detector"):
        load(folders, backend="insightface", detector="arc")


class TestCheckpoints:
    """Ultralytics' `.pt` files: read as data, run as the graph that is made of them."""

    @pytest.fixture
    def image(self, test_data: Path) -> np.ndarray:
        return photo(test_data, "multiface")[:320, :320].copy()

    @pytest.mark.parametrize("points", [None, 2, 3])
    @pytest.mark.parametrize("backend", ["onnxruntime", "torch", "openvino"])
    def test_it_is_its_graph(
        self, folders: dict[str, Any], image: np.ndarray, backend: str, points: int | None
    ):
        pytest.importorskip(backend)
        (bbox,) = folders["bbox"]
        save(tiny_yolo(points), bbox / "face.pt")
        (bbox / "face.onnx").write_bytes(graph_of_checkpoint(bbox / "face.pt"))
        found = []
        for file in ("bbox/face.pt", "bbox/face.onnx"):
            app = load(
                folders,
                backend=backend,
                detector=file,
                heads="detection",
                det_threshold=0.45,
                det_size=320,
            )
            found.append(app.det_model.detect(image))
        (boxes, landmarks), (expected, expected_landmarks) = found
        assert len(boxes) and np.array_equal(boxes, expected)
        assert (landmarks is None) == (points is None)
        if landmarks is not None:
            assert np.array_equal(landmarks, expected_landmarks)

    def test_it_comes_back_after_it_left_and_its_graph_was_deleted(
        self, folders: dict[str, Any], image: np.ndarray
    ):
        (bbox,) = folders["bbox"]
        save(tiny_yolo(), bbox / "face.pt")
        app = load(folders, detector="bbox/face.pt", heads="detection", det_threshold=0.45)
        first, _ = app.det_model.detect(image)
        unload()
        for file in graph_cache().folder.glob("ultralytics-*"):
            file.unlink()
        again, _ = app.det_model.detect(image[:, :-1].copy())
        assert len(first) and len(again)

    def test_info_names_the_file(self, folders: dict[str, Any]):
        (bbox,) = folders["bbox"]
        save(tiny_yolo(), bbox / "face.pt")
        info = describe_loaded(load(folders, detector="bbox/face.pt"))
        assert f"detector: bbox/face.pt ({bbox / 'face.pt'})" in info
        assert "YOLOv8-face" in info and "scrfd_2.5g_bnkps.onnx of arc looks into each box" in info

    def test_what_is_no_face_detector_is_not_offered(self, folders: dict[str, Any]):
        (bbox,) = folders["bbox"]
        save(tiny_yolo(name="hand"), bbox / "hand.pt")
        torch.save({"state_dict": {}}, bbox / "other.pt")
        (bbox / "broken.pt").write_bytes(b"<html>")
        assert not [name for name in find_detectors([], folders) if name.endswith(".pt")]

    def test_files_are_read_once_however_often_they_are_listed(
        self, folders: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ):
        (bbox,) = folders["bbox"]
        (bbox / "broken.pt").write_bytes(b"<html>")
        save(tiny_yolo(), bbox / "face.pt")
        before = find_detectors([], folders)
        time.sleep(0.2)  # what was written just now is read once more
        assert find_detectors([], folders) == before and "bbox/face.pt" in before
        monkeypatch.setattr(detector_files, "detector_at", lambda path: pytest.fail(f"read {path}"))
        assert find_detectors([], folders) == before
