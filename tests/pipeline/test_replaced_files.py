"""A model file is replaced or deleted while the pack is in use: answers never mix two contents."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from cachetools import LRUCache

from fastface.backends.registry import all_backends
from fastface.pipeline import lifecycle
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.insightface_compat.result_cache import forget_results
from fastface.pipeline.loading import describe_loaded, load_face_analysis
from fastface.pipeline.pool import forget_analyzers
from fastface.utils.embedding import cosine_similarities
from fastface.utils.errors import InvalidInput, ModelError, ModelReplaced
from fastface.utils.faces import Faces
from fastface.utils.images import Images
from fastface.utils.packs import checksums
from fastface.utils.packs.checksums import content_sha256

onnx = pytest.importorskip("onnx")

DETECTOR, RECOGNISER = "scrfd_2.5g_bnkps.onnx", "mobilefacenet.onnx"
BACKENDS = ["onnxruntime", "torch", "openvino", "insightface"]

Load = Callable[..., FaceAnalysis]


@pytest.fixture(autouse=True)
def nothing_loaded() -> Iterator[None]:
    forget_analyzers()
    forget_results()
    yield
    forget_analyzers()
    forget_results()


@pytest.fixture
def packs(tmp_path: Path, test_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the pack `faces`."""
    (tmp_path / "packs" / "faces").mkdir(parents=True)
    for name in (DETECTOR, RECOGNISER):
        shutil.copy(test_data / "models" / name, tmp_path / "packs" / "faces")
    monkeypatch.setenv("FASTFACE_MODELS", str(tmp_path / "packs"))
    return tmp_path / "packs"


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    if reason := all_backends()[request.param].why_unavailable():
        pytest.skip(reason)
    return request.param


@pytest.fixture
def load(packs: Path, backend: str) -> Load:
    def loaded(pack: str = "faces") -> FaceAnalysis:
        return load_face_analysis(model_pack=pack, backend=backend, device="cpu")

    return loaded


@pytest.fixture
def portrait(test_data: Path) -> np.ndarray:
    """One face: `[H,W,3]` uint8 BGR."""
    return cv2_read(test_data / "images" / "rot_0.jpg")


@pytest.fixture
def crowd(test_data: Path) -> np.ndarray:
    """Six faces."""
    return cv2_read(test_data / "images" / "multiface.jpg")


def cv2_read(path: Path) -> np.ndarray:
    cv2 = pytest.importorskip("cv2")
    return cv2.imread(str(path))


def other_weights(source: Path, target: Path) -> None:
    """The same graph with its largest weights shuffled: another network, of the same size."""
    model = onnx.load(str(source))
    largest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = np.frombuffer(largest.raw_data, np.float32)
    largest.raw_data = np.random.default_rng(0).permutation(values).tobytes()
    beside = target.with_name("beside")
    beside.write_bytes(model.SerializeToString())
    assert beside.stat().st_size == source.stat().st_size
    beside.replace(target)


def swap_recogniser(packs: Path) -> Path:
    path = packs / "faces" / RECOGNISER
    other_weights(path, path)
    return path


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


def similar(picture: np.ndarray) -> np.ndarray:
    """The same person in another picture."""
    changed = picture.copy()
    changed[:4, :4] = 0
    return changed


def embedded(app: FaceAnalysis, picture: np.ndarray) -> Faces:
    return app.analyze(Images.from_bgr(picture), ["recognition"])


def test_what_is_loaded_goes_on(load: Load, packs: Path, portrait: np.ndarray) -> None:
    app = load()
    (before,) = app.get(portrait)
    embedding = before.embedding
    swap_recogniser(packs)
    (after,) = app.get(similar(portrait))
    assert cosine(embedding, after.embedding) > 0.99
    (packs / "faces" / RECOGNISER).unlink()
    (packs / "faces" / DETECTOR).unlink()
    (after,) = app.get(similar(portrait)[:, :-2])
    assert cosine(embedding, after.embedding) > 0.95


def test_what_is_deleted_is_missed_when_it_is_to_be_read(
    load: Load, packs: Path, portrait: np.ndarray
) -> None:
    app = load()
    assert app.get(portrait)[0].embedding is not None
    (packs / "faces" / RECOGNISER).unlink()
    lifecycle.unload()
    assert app.get(portrait)[0].embedding is not None, "what is known of a picture needs no file"
    with pytest.raises(ModelError, match=r"mobilefacenet\.onnx|no recognition model"):
        _ = app.get(similar(portrait))[0].embedding


def test_after_an_unload_all_answers_are_the_new_files(
    load: Load, packs: Path, portrait: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    app = load()
    old = app.get(portrait)[0].embedding
    faces = embedded(app, portrait)
    swap_recogniser(packs)
    lifecycle.unload()
    with caplog.at_level(logging.WARNING, logger="FastFace"):
        known, new = app.get(portrait)[0].embedding, app.get(similar(portrait))[0].embedding
        again = embedded(app, portrait)
    assert cosine(known, new) > 0.99, "two pictures of one person"
    assert cosine(known, old) < 0.9, "another network, and not what was remembered of the old one"
    assert again.embedding_space != faces.embedding_space
    with pytest.raises(InvalidInput, match="can't be compared"):
        cosine_similarities(faces, again)
    lines = [record.message for record in caplog.records if "replaced" in record.message]
    assert len(lines) == 1 and str(packs / "faces") in lines[0]


def test_the_next_loader_run_takes_the_new_file(
    load: Load, packs: Path, portrait: np.ndarray
) -> None:
    held = load()
    old = embedded(held, portrait)
    path = swap_recogniser(packs)
    app = load()
    new = embedded(app, portrait)
    assert content_sha256(path)[:12] in (new.embedding_space or "")
    assert content_sha256(path)[:12] in describe_loaded(app)
    with pytest.raises(InvalidInput, match="can't be compared"):
        cosine_similarities(old, new)
    again = embedded(held, similar(portrait))
    assert again.embedding_space == old.embedding_space, "it goes on with what it loaded"
    assert cosine_similarities(old, again).item() > 0.99
    assert cosine(*(faces.embeddings[0].numpy() for faces in (old, new))) < 0.9  # type: ignore[index]


def test_a_file_that_was_replaced_before_it_was_ever_read(
    load: Load, packs: Path, portrait: np.ndarray
) -> None:
    app = load()
    assert len(app.get(portrait)) == 1  # the detector alone is open
    path = swap_recogniser(packs)
    (face,) = app.get(portrait)
    embedding = face.embedding
    assert cosine(embedding, load().get(portrait)[0].embedding) > 0.9999
    assert content_sha256(path)[:12] in (embedded(app, portrait).embedding_space or "")


def test_a_face_from_before_is_told_by_the_new_file_if_nothing_was_read_of_it(
    load: Load, packs: Path, crowd: np.ndarray
) -> None:
    app = load()
    faces = app.get(crowd)
    other = app.get(crowd[:, ::-1].copy())
    assert other[0].embedding is not None
    swap_recogniser(packs)
    lifecycle.unload()
    first, second = faces[0].embedding, faces[1].embedding
    new = app.get(crowd)
    assert cosine(first, new[0].embedding) > 0.9999 and cosine(second, new[1].embedding) > 0.9999
    with pytest.raises(ModelError, match="replaced while the faces of this image were being read"):
        _ = other[1].embedding


def test_the_detector_is_replaced_with_all_that_belongs_to_it(
    load: Load, packs: Path, portrait: np.ndarray
) -> None:
    app = load()
    assert len(app.get(portrait)) == 1
    path = packs / "faces" / DETECTOR
    model = onnx.load(str(path))
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 4:  # convolutions that see nothing find nothing
            tensor.raw_data = bytes(len(tensor.raw_data))
    path.write_bytes(model.SerializeToString())
    assert len(app.get(portrait)) == 1
    lifecycle.unload()
    assert app.get(portrait) == [] and app.get(similar(portrait)) == []
    assert len(app.det_model.detect(portrait)[0]) == 0


@pytest.mark.parametrize("is_forgotten", [False, True])
def test_the_same_content_again_changes_nothing(
    load: Load,
    packs: Path,
    portrait: np.ndarray,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    is_forgotten: bool,
) -> None:
    app = load()
    old = embedded(app, portrait)
    for name in (DETECTOR, RECOGNISER):
        path = packs / "faces" / name
        shutil.copy(path, path.with_name("copy"))
        path.with_name("copy").replace(path)
        os.utime(path, ns=(1, 1))
    if is_forgotten:  # as after a thousand other models
        monkeypatch.setattr(checksums, "_contents", LRUCache(1024))
    assert load().analyzer is app.analyzer
    lifecycle.unload()
    with caplog.at_level(logging.WARNING, logger="FastFace"):
        new = embedded(app, similar(portrait))
    assert new.embedding_space == old.embedding_space and "replaced" not in caplog.text


def test_two_packs_of_one_file_name_and_size(load: Load, packs: Path, portrait: np.ndarray) -> None:
    shutil.copytree(packs / "faces", packs / "others")
    other_weights(packs / "faces" / RECOGNISER, packs / "others" / RECOGNISER)
    one, other = (embedded(load(name), portrait) for name in ("faces", "others"))
    assert one.embedding_space != other.embedding_space
    with pytest.raises(InvalidInput, match=f"{one.embedding_space}.*{other.embedding_space}"):
        cosine_similarities(one, other)
    with pytest.raises(InvalidInput, match="embedding spaces"):
        Faces.cat([one, other])
    assert cosine(*(faces.embeddings[0].numpy() for faces in (one, other))) < 0.9  # type: ignore[index]


def test_one_content_in_two_packs_is_one_space(
    load: Load, packs: Path, portrait: np.ndarray
) -> None:
    shutil.copytree(packs / "faces", packs / "others")
    (packs / "others" / RECOGNISER).rename(packs / "others" / "model.onnx")
    one, other = (embedded(load(name), portrait) for name in ("faces", "others"))
    assert one.embedding_space == other.embedding_space
    assert cosine_similarities(one, other).item() > 0.9999


def test_a_manifests_hash_is_checked_at_every_open(
    load: Load, packs: Path, portrait: np.ndarray
) -> None:
    def task(name: str) -> dict[str, str]:
        content = (packs / "faces" / name).read_bytes()
        return {"file": name, "sha256": hashlib.sha256(content).hexdigest()}

    tasks = {"detection": task(DETECTOR), "recognition": task(RECOGNISER)}
    manifest = {"manifest_version": 2, "model_id": "faces", "license": "MODEL.LICENSE"}
    (packs / "faces" / "manifest.json").write_text(json.dumps({**manifest, "tasks": tasks}))
    app = load()
    assert app.get(portrait)[0].embedding is not None
    swap_recogniser(packs)
    lifecycle.unload()
    with pytest.raises(ModelError, match="its pack declares"):
        _ = app.get(similar(portrait))[0].embedding
    with pytest.raises(ModelError, match="its pack declares"):
        embedded(load(), portrait)


def test_a_session_that_was_put_there_needs_no_file(
    load: Load, packs: Path, portrait: np.ndarray
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    app = load()
    expected = app.get(portrait)[0].embedding
    path = packs / "faces" / RECOGNISER
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    app.models["recognition"].session = session
    other_weights(path, path)
    lifecycle.unload()
    assert cosine(app.get(similar(portrait))[0].embedding, expected) > 0.99
    path.unlink()
    assert cosine(app.get(similar(portrait)[:, :-2])[0].embedding, expected) > 0.95


def test_files_that_change_all_the_time_under_many_threads(
    load: Load, packs: Path, portrait: np.ndarray
) -> None:
    """Every answer is of one of the two contents, under the space of that content, or an error."""
    path = packs / "faces" / RECOGNISER
    contents = [path.read_bytes()]
    other_weights(path, path)
    contents.append(path.read_bytes())
    expected = {}
    for content in contents:
        path.write_bytes(content)
        faces = embedded(load(), portrait)
        assert faces.embeddings is not None
        expected[faces.embedding_space] = faces.embeddings[0].numpy()
    assert len(expected) == 2
    app, wrong, seen, stop = load(), [], set(), threading.Event()

    def ask(number: int) -> None:
        picture = portrait.copy()
        for step in range(4):
            picture[0, 0] = (number, step, 0)
            try:
                faces = embedded(app, picture)
            except ModelReplaced:  # faster than it can be read
                continue
            assert faces.embeddings is not None
            seen.add(faces.embedding_space)
            if cosine(faces.embeddings[0].numpy(), expected[faces.embedding_space]) < 0.99:
                wrong.append(faces.embedding_space)

    def replace_files() -> None:
        step = 0
        while not stop.wait(1):
            step += 1
            path.with_name("beside").write_bytes(contents[step % 2])
            path.with_name("beside").replace(path)
            lifecycle.unload()

    replacing = threading.Thread(target=replace_files)
    asking = [threading.Thread(target=ask, args=(number,)) for number in range(2)]
    for thread in (replacing, *asking):
        thread.start()
    for thread in asking:
        thread.join()
    stop.set()
    replacing.join()
    assert not wrong and seen and seen <= set(expected)


class TestExternalData:
    @pytest.fixture
    def data(self, packs: Path) -> Path:
        """The file beside the recogniser in which its weights lie."""
        path = packs / "faces" / RECOGNISER
        onnx.save(
            onnx.load(str(path)),
            str(path),
            save_as_external_data=True,
            location="recogniser.data",
            size_threshold=0,
        )
        return path.with_name("recogniser.data")

    @staticmethod
    def other(data: Path) -> bytes:
        values = np.frombuffer(data.read_bytes(), np.float32)
        return (values[::-1] if len(values) else values).tobytes()

    def test_it_is_part_of_what_a_model_is(
        self, load: Load, data: Path, portrait: np.ndarray
    ) -> None:
        app = load()
        old = embedded(app, portrait)
        data.with_name("beside").write_bytes(self.other(data))
        data.with_name("beside").replace(data)
        assert embedded(app, similar(portrait)).embedding_space == old.embedding_space
        new = embedded(load(), portrait)
        assert new.embedding_space != old.embedding_space
        lifecycle.unload()
        assert embedded(app, portrait).embedding_space == new.embedding_space

    def test_a_running_network_does_not_see_what_is_written_into_it(
        self, load: Load, data: Path, portrait: np.ndarray, backend: str
    ) -> None:
        if backend == "insightface":
            pytest.skip("insightface opens the file itself")
        app = load()
        old = app.get(portrait)[0].embedding
        with data.open("r+b") as file:
            file.write(self.other(data))
        assert cosine(app.get(similar(portrait))[0].embedding, old) > 0.99
        with data.open("r+b") as file:
            file.truncate(100)
        assert cosine(app.get(similar(portrait)[:, :-2])[0].embedding, old) > 0.95

    def test_a_pack_without_it_goes_on_without_the_task(
        self, load: Load, data: Path, portrait: np.ndarray
    ) -> None:
        data.unlink()
        app = load()
        assert app.analyzer.pack.tasks == ("detection",)
        assert "'recogniser.data', which is not beside it" in app.analyzer.pack.left_out[0]
