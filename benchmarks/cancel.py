"""How long a node goes on after the user pressed stop, at the worst moment.

    python benchmarks/cancel.py --photo PHOTO [--pack FOLDER ...] [--side 6000] [--frames 105]
        [--film FILM] [--people 20000] [--only WORD ...] [--list]

Each row is one piece of work by a node. It runs once to its end, and every moment is noted at
which it asks whether to go on; then it runs again, and stop is pressed right after the moment that
was followed by the longest silence. PHOTO, with faces, is enlarged to `--side` pixels, and repeated
to a film of `--frames` frames of 1080p. FOLDER is a pack's folder of ONNX files; packs of random
weights in the released sizes are named `random:antelopev2` and the like. On a busy machine the
seconds are longer than the work is; the second figure of "silence" is the processor time of all
threads. FILM is one with people, galleries are made of so many random people; an engine is built
where tensorrt_rtx is installed, and downloads are from a server here that is silent for a while.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from inputs import existing_file

from install import import_pack

import_pack("fastface")
from fastface.backends.interfaces import DetectionOptions
from fastface.benchmark.weights import choose_weights
from fastface.nodes import NODE_CLASS_MAPPINGS
from fastface.pipeline.choices import get_backend
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.insightface_compat.result_cache import forget_results
from fastface.pipeline.loading import load_face_analysis, load_for_pack
from fastface.utils import host
from fastface.utils.download.fetch import download_file
from fastface.utils.embedding import Embedding
from fastface.utils.faces import Faces
from fastface.utils.gallery.contents import Addition, with_added
from fastface.utils.gallery.places import gallery_store
from fastface.utils.images import Images

GRAPH_BACKENDS = ("onnxruntime", "openvino", "torch", "insightface")
LARGEST_DETECTOR = 4096
#: Faces that are described at once, where a photo is to have many.
CROWD = 96
EXAMPLE_FILM = (
    Path(__file__).resolve().parent.parent / "example_workflows/input/fastface_example.mp4"
)
GALLERY_ACTIONS = ("Add", "Search", "list", "rename", "merge", "delete", "undo")
#: Files that are brought into a gallery.
PHOTOS, FACE_MODELS = 24, 5000
#: Silence of a server in the middle of a download, in seconds.
SILENCE = 6.0


class Stop(BaseException):
    """As ComfyUI's own exception in new versions."""


class Watch:
    """Stands where ComfyUI stands: it is asked whether to go on."""

    def __init__(self) -> None:
        self.moments: list[tuple[float, float]] = []
        self.places: list[str] = []
        self.stop_after = -1
        self.pressed = 0.0

    def check_interrupted(self) -> None:
        if self.pressed:
            raise Stop
        self.moments.append((time.perf_counter(), time.process_time()))
        self.places.append(place_of_call())
        if len(self.moments) - 1 == self.stop_after:
            self.pressed = time.perf_counter()

    def begin(self, stop_after: int = -1) -> None:
        self.pressed, self.stop_after = 0.0, stop_after
        self.moments, self.places = [], []
        self.check_interrupted()


def place_of_call() -> str:
    """File and line that asked whether to go on, beneath those that only pass it on."""
    passing = {"cancel.py", "progress.py", "ending.py", "contextlib.py", "shutdown.py"}
    frames = traceback.extract_stack()
    for frame in reversed(frames):
        name = Path(frame.filename).name
        if name not in passing:
            return f"{name}:{frame.lineno}"
    return "the end"


@dataclass(frozen=True)
class Work:
    """A node's work.

    Attributes:
        name: For people.
        run: Does it.
    """

    name: str
    run: Callable[[], object]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photo", type=existing_file, required=True)
    parser.add_argument("--pack", nargs="*", default=[])
    parser.add_argument("--side", type=int, default=6000)
    parser.add_argument("--frames", type=int, default=105)
    parser.add_argument("--film", type=existing_file, default=EXAMPLE_FILM)
    parser.add_argument("--people", type=int, default=20_000)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args(arguments)
    photo = cv2.imread(str(options.photo))
    if photo is None:
        parser.error(f"{options.photo} is no picture")
    packs = [str(Path(pack).resolve()) if Path(pack).exists() else pack for pack in options.pack]
    film = options.film.resolve()
    # Galleries, films and engines are kept where nothing of the user's is.
    folder = tempfile.mkdtemp(prefix="fastface_cancel_")
    os.environ["XDG_CACHE_HOME"] = folder
    os.chdir(folder)
    works = Works(photo[..., ::-1], options.side, options.frames, packs, film, options.people)
    watch = Watch()
    host.check_interrupted = watch.check_interrupted
    print("| work | s | asked | longest silence, s (processor s) | where | stopped within, s |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for name, make in works.all():
        if options.list:
            print(f"| {name} |")
        elif not options.only or any(word in name for word in options.only):
            watch.begin()  # what is made for the work is not stopped
            print(measured(watch, Work(name, make())), flush=True)
    return 0


def measured(watch: Watch, work: Work) -> str:
    """The table's row of a piece of work."""
    forget_results()
    watch.begin()
    work.run()
    watch.check_interrupted()  # the end of the node: the next one asks
    moments, places = watch.moments, watch.places
    gaps = [
        (after[0] - before[0], after[1] - before[1], place)
        for place, (before, after) in enumerate(pairwise(moments))
    ]
    longest, processor, place = max(gaps)
    forget_results()
    watch.begin(stop_after=place)
    try:
        work.run()
        stopped = "it had ended"
    except Stop:
        stopped = f"{time.perf_counter() - watch.pressed:.2f}"
    seconds = moments[-1][0] - moments[0][0]
    return (
        f"| {work.name} | {seconds:.1f} | {len(moments) - 2} | {longest:.2f} ({processor:.2f}) | "
        f"{places[place]} to {places[place + 1]} | {stopped} |"
    )


class Works:
    """Everything that is measured; what it needs is made when it is first asked for."""

    def __init__(
        self,
        photo: np.ndarray,
        side: int,
        frames: int,
        packs: Sequence[str],
        film: Path,
        people: int,
    ) -> None:
        """
        Args:
            photo: `[H,W,3]` uint8 RGB.
            side: Of the large photo, the longer one, in pixels.
            frames: Of the film that is made of it.
            packs: Folders, or names of random weights.
            film: A film with people.
            people: In galleries.
        """
        self._video = FilmOnDisk(film)
        self._people = people
        self._photo = photo
        self._side = side
        self._frames = frames
        self._packs = packs
        self._analyses: dict[Any, FaceAnalysis] = {}

    def all(self) -> Iterator[tuple[str, Callable[[], Callable[[], object]]]]:
        """Name of each piece of work, and what makes it."""
        for mode in ("auto", "robust"):
            yield f"Detect, MTCNN, {mode}, {self._side} px", lambda mode=mode: self._mtcnn(mode)
        for pack in self._packs:
            for backend in GRAPH_BACKENDS:
                if get_backend(backend).why_unavailable() is None:
                    yield from self._of_pack(pack, backend)
        yield f"Detect with annotate, {self._frames} frames of 1080p", self._annotate
        yield f"Mask with blur 512, {self._frames} frames of 1080p", lambda: self._film("Mask")
        yield f"Gate, {self._frames} frames of 1080p", lambda: self._film("Gate")
        yield f"to SEGS, {self._frames} frames of 1080p", lambda: self._film("SEGS")
        yield f"Crop, 6 of 4096 px from {self._side} px", self._crop
        yield f"Paste, 6 of 4096 px into {self._side} px", self._paste
        yield "Compare, 2000 with 2000 faces", self._compare
        yield "Video, facenet-mtcnn, exact", lambda: self._film_faces(self._mtcnn_app(), "exact")
        yield "Tracks, all outputs", self._tracks
        for name in (*GALLERY_ACTIONS, "export embeddings"):
            yield f"Gallery {name}, {self._people} people", lambda name=name: self._gallery(name)
        title = f"Gallery import photos, {PHOTOS} of {self._side} px"
        yield title, lambda: self._import_photos()
        yield f"Gallery import face models, {FACE_MODELS}", lambda: self._import_face_models()
        yield "Benchmark, onnxruntime and torch", self._benchmark
        if importlib.util.find_spec("tensorrt_rtx"):
            yield "Build Engine, random:buffalo_s, mixed", self._engine
        yield f"download, {SILENCE:g} s of silence in the middle", self._download

    def _of_pack(
        self, pack: str, backend: str
    ) -> Iterator[tuple[str, Callable[[], Callable[[], object]]]]:
        name = f"{Path(pack).name}, {backend}"
        standard = DetectionOptions()
        huge = DetectionOptions(((LARGEST_DETECTOR, LARGEST_DETECTOR),))
        robust = DetectionOptions(((128, 128), (640, 640)), robust=True)
        for title, options in (
            ("standard", standard),
            (f"det_size {LARGEST_DETECTOR}", huge),
            ("robust", robust),
        ):
            yield (
                f"Detect, {name}, {title}, {self._side} px",
                lambda options=options: self._detect(self._analysis(pack, backend, options)),
            )
        yield f"Embed, {name}, {CROWD} faces", lambda: self._embed(pack, backend)
        yield f"Person and Embed, {name}, {self._side} px", lambda: self._person(pack, backend)
        for accuracy in ("exact", "fast"):
            yield (
                f"Video, {name}, {accuracy}",
                lambda accuracy=accuracy: self._film_faces(
                    self._analysis(pack, backend, standard), accuracy
                ),
            )

    def _mtcnn(self, mode: str) -> Callable[[], object]:
        app = load_face_analysis(
            model_pack="facenet-mtcnn", backend="facenet", device="cpu", detection=mode
        )
        return self._detect(app)

    def _mtcnn_app(self) -> FaceAnalysis:
        return load_face_analysis(model_pack="facenet-mtcnn", backend="facenet", device="cpu")

    def _film_faces(self, app: FaceAnalysis, accuracy: str) -> Callable[[], object]:
        return lambda: node(
            "Video", faceanalysis=app, video=self._video, accuracy=accuracy, resume=False
        )

    def _tracks(self) -> Callable[[], object]:
        tracks = self._film_faces(self._mtcnn_app(), "exact")()["result"][0]  # type: ignore[index]
        return lambda: node("Tracks", tracks=tracks, video=self._video)

    def _person(self, pack: str, backend: str) -> Callable[[], object]:
        app = self._analysis(pack, backend, DetectionOptions())
        images = self._large()
        found = node("Embed", faceanalysis=app, images=images, which="largest")["result"]

        def run() -> object:
            person = node("Person", faceanalysis=app, reference=found[1])["result"][0]
            return node("Embed", faceanalysis=person, images=images, which="all")

        return run

    def _gallery(self, action: str) -> Callable[[], object]:
        store, space = gallery_store("people"), "any@1"
        drawn = torch.Generator().manual_seed(1)
        if not store.exists():
            rows = torch.randn(self._people, 512, generator=drawn)
            people = [
                Addition(f"person {number}", row[None], ("",), "")
                for number, row in enumerate(rows)
            ]
            store.change(lambda old: with_added(old, people, space, {}))
        faces = faces_in_rows(CROWD, torch.zeros(1, 64, 64, 3)).with_fields(
            embeddings=torch.randn(CROWD, 512, generator=drawn), embedding_space=space
        )
        names = iter(range(1_000_000))
        if action == "Search":
            return lambda: node("GallerySearch", gallery="people", faces=faces)
        if action == "Add":
            one = Embedding(faces.embeddings[:1], space)  # type: ignore[index]
            return lambda: node(
                "GalleryAdd", gallery="people", name=f"new {next(names)}", embedding=one
            )
        if action in ("rename", "merge", "delete"):

            def edit() -> object:
                first, second = (each.name for each in store.read().identities[:2])
                new = {"rename": f"other {next(names)}", "merge": second}.get(action, "")
                return node(
                    "GalleryEdit", gallery="people", action=action, name=first, new_name=new
                )

            return edit
        return lambda: node("GalleryEdit", gallery="people", action=action)

    def _import_photos(self) -> Callable[[], object]:
        folder = Path("input", "photos")
        folder.mkdir(parents=True, exist_ok=True)
        scale = self._side / max(self._photo.shape[:2])
        content = cv2.imencode(".png", cv2.resize(self._photo, None, fx=scale, fy=scale))[1]
        for number in range(PHOTOS):
            (folder / f"person {number}.png").write_bytes(content.tobytes())
        app = self._analysis(self._packs[0], GRAPH_BACKENDS[0], DetectionOptions())
        return lambda: node(
            "GalleryEdit",
            gallery="imported",
            action="import photos",
            faceanalysis=app,
            folder="photos",
        )

    def _import_face_models(self) -> Callable[[], object]:
        from safetensors.torch import save_file

        folder = Path("models", "reactor", "faces")
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(FACE_MODELS):
            save_file({"embedding": torch.randn(512)}, folder / f"person {number}.safetensors")
        return lambda: node("GalleryEdit", gallery="models", action="import face models")

    def _benchmark(self) -> Callable[[], object]:
        images = as_images(cv2.resize(self._photo, (640, 360)))
        return lambda: node(
            "Benchmark", images=images, contestants="onnxruntime, torch", device="cpu", rounds=3
        )

    def _engine(self) -> Callable[[], object]:
        pack = choose_weights("random:buffalo_s").pack
        os.environ["FASTFACE_MODELS"] = str(pack.folder.parent)
        return lambda: node("BuildEngine", model_pack=pack.name, rebuild=True)

    def _download(self) -> Callable[[], object]:
        def run() -> None:
            with closing(socket.create_server(("127.0.0.1", 0))) as server:
                threading.Thread(target=send_with_silence, args=(server,), daemon=True).start()
                target = Path(tempfile.mkdtemp(), "pack.zip")
                download_file(
                    f"http://127.0.0.1:{server.getsockname()[1]}/pack.zip",
                    target,
                    on_progress=lambda _done, _total: host.check_interrupted(),
                )

        return run

    def _detect(self, app: FaceAnalysis, annotate: bool = False) -> Callable[[], object]:
        images = self._large()
        return lambda: node("Detect", faceanalysis=app, images=images, annotate=annotate)

    def _embed(self, pack: str, backend: str) -> Callable[[], object]:
        app = self._analysis(pack, backend, DetectionOptions())
        images = self._large()
        faces = faces_in_rows(CROWD, images)
        return lambda: node("Embed", faceanalysis=app, images=images, faces=faces, which="all")

    def _annotate(self) -> Callable[[], object]:
        app = load_face_analysis(model_pack="facenet-mtcnn", backend="facenet", device="cpu")
        images = self._frames_of_1080p()
        return lambda: node("Detect", faceanalysis=app, images=images)

    def _film(self, name: str) -> Callable[[], object]:
        images = self._frames_of_1080p()
        faces = faces_in_rows(4, images)
        more = {"blur": 512.0} if name == "Mask" else {}
        return lambda: node(name, images=images, faces=faces, **more)

    def _crop(self) -> Callable[[], object]:
        images = self._large()
        faces = faces_in_rows(6, images)
        return lambda: node("Crop", images=images, faces=faces, size=4096, padding=4.0)

    def _paste(self) -> Callable[[], object]:
        images = self._large()
        crops, origin, *_ = self._crop()()["result"]  # type: ignore[index]
        edited = 1 - crops
        return lambda: node("Paste", images=images, crops=edited, origin=origin)

    def _compare(self) -> Callable[[], object]:
        faces = faces_in_rows(2000, torch.zeros(1, 64, 64, 3))
        rows = torch.randn(2000, 512, generator=torch.Generator().manual_seed(1))
        faces = faces.with_fields(embeddings=rows, embedding_space="any")
        return lambda: node("Compare", faces_a=faces, faces_b=faces)

    def _analysis(self, pack: str, backend: str, options: DetectionOptions) -> FaceAnalysis:
        key = pack, backend, options
        if key not in self._analyses:
            app = load_for_pack(choose_weights(pack).pack, options, backend, "cpu")
            app.analyzer.model("detection")  # opened before, as by an earlier node
            if "recognition" in app.models:
                app.analyzer.model("recognition")
            self._analyses[key] = app
        return self._analyses[key]

    def _large(self) -> Tensor:
        scale = self._side / max(self._photo.shape[:2])
        return as_images(cv2.resize(self._photo, None, fx=scale, fy=scale))

    def _frames_of_1080p(self) -> Tensor:
        return as_images(cv2.resize(self._photo, (1920, 1080))).expand(self._frames, -1, -1, -1)


class FilmOnDisk:
    """A film as ComfyUI's VIDEO hands it on."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get_stream_source(self) -> str:
        return str(self._path)

    def get_components(self) -> Any:
        raise NotImplementedError("it is read from its file")


def send_with_silence(server: socket.socket) -> None:
    """Serves one file of a megabyte, with a silence in the middle."""
    with suppress(OSError):
        connection, _ = server.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            connection.sendall(bytes(500_000))
            time.sleep(SILENCE)
            connection.sendall(bytes(500_000))


def node(node_name: str, /, **inputs: Any) -> Any:
    """Runs one of our nodes as ComfyUI does."""
    made = NODE_CLASS_MAPPINGS[f"FastFace{node_name}"]()
    return getattr(made, made.FUNCTION)(**inputs)


def as_images(picture: np.ndarray) -> Tensor:
    """An IMAGE of one picture `[H,W,3]` uint8 RGB."""
    return torch.from_numpy(np.ascontiguousarray(picture)).float()[None] / 255


def faces_in_rows(count: int, images: Tensor) -> Faces:
    """So many faces in each image, side by side, wherever there may be some."""
    sizes = Images.from_comfy(images).sizes_hw
    height, width = sizes[0]
    side = min(width / count, height / 2)
    left = torch.arange(count) * (width - side) / max(1, count - 1)
    one = torch.stack((left, left * 0 + height / 4, left + side, left * 0 + height / 4 + side), 1)
    spread = torch.tensor([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
    boxes = one.repeat(len(sizes), 1)
    return Faces(
        boxes=boxes,
        scores=torch.linspace(0.9, 0.8, count).repeat(len(sizes)),
        image_index=torch.arange(len(sizes)).repeat_interleave(count),
        image_sizes=sizes,
        landmarks=boxes[:, None, :2] + spread * side,
    )


if __name__ == "__main__":
    sys.exit(main())
