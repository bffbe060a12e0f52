"""`python install.py demo [PHOTO]`: analyses one photo and shows what ran where."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from ...pipeline.choices import AUTO
from ...pipeline.insightface_compat.facade import FaceAnalysis
from ...pipeline.insightface_compat.result_cache import forget_results
from ...pipeline.loading import describe_loaded, load_face_analysis
from ...utils.draw import annotate
from ...utils.errors import FastFaceError
from ...utils.faces import Faces
from ...utils.images import Images
from ...utils.packs import Task
from ...utils.pictures import packaged_photo, read_picture, write_picture

_log = logging.getLogger("FastFace")
_OUTPUT = Path("demo_output")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo and gives the exit status: 0, or 1 when it could not be done."""
    parser = argparse.ArgumentParser(prog="python install.py demo", description=__doc__)
    parser.add_argument("photo", nargs="?", help="a picture file; by default InsightFace's own")
    parser.add_argument("--pack", default=AUTO, help="model pack (default: the best installed)")
    parser.add_argument("--backend", default=AUTO)
    parser.add_argument("--device", default=AUTO)
    parser.add_argument("--output", type=Path, help="where to write the annotated PNG")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        photo = Path(options.photo) if options.photo else packaged_photo()
        _run(photo, options)
    except FastFaceError as error:
        _log.error("%s", error)
        return 1
    return 0


def _run(photo: Path, options: argparse.Namespace) -> None:
    pixels = read_picture(photo)
    images = Images.from_comfy(torch.from_numpy(pixels)[None])
    face_analysis = load_face_analysis(
        model_pack=options.pack, backend=options.backend, device=options.device
    )
    analyzer = face_analysis.analyzer
    heads: tuple[Task, ...] = ("recognition", "genderage")
    tasks: list[Task] = [task for task in analyzer.pack.tasks if task in heads]
    first, faces = _timed(face_analysis, images, tasks)
    again, faces = _timed(face_analysis, images, tasks)
    height, width = images.sizes_hw[0]
    _log.info("%s", describe_loaded(face_analysis))
    _log.info("photo: %s, %d x %d pixels", photo.name, width, height)
    _log.info("time: %.0f ms, the first time %.0f ms", again * 1000, first * 1000)
    _log.info("%s", face_table(faces))
    output = options.output or _OUTPUT / f"{photo.stem}_faces.png"
    write_picture(output, annotate(pixels, faces))
    _log.info("annotated picture: %s", output.resolve())


def _timed(
    face_analysis: FaceAnalysis, images: Images, tasks: Sequence[Task]
) -> tuple[float, Faces]:
    forget_results()  # what is remembered takes no time to find again
    start = time.perf_counter()
    faces = face_analysis.analyze(images, tasks).to("cpu")
    return time.perf_counter() - start, faces


def face_table(faces: Faces) -> str:
    """The faces of one image as aligned text: score, box, eyes, and what else is known."""
    header = ["face", "score", "left", "top", "width", "height", "left eye", "right eye"]
    rows = []
    for number in range(len(faces)):
        left, top, right, bottom = faces.boxes[number].tolist()
        row = [str(number), f"{faces.scores[number]:.3f}"]
        row += [f"{value:.1f}" for value in (left, top, right - left, bottom - top)]
        eyes = [] if faces.landmarks is None else faces.landmarks[number, :2].tolist()
        row += [f"{x:.1f}, {y:.1f}" for x, y in eyes] or ["-", "-"]
        if faces.embeddings is not None:
            row.append(f"{faces.embeddings[number].norm():.2f}")
        if faces.gender is not None and faces.age is not None:
            row += ["M" if faces.gender[number] else "F", str(int(faces.age[number]))]
        rows.append(row)
    if faces.embeddings is not None:
        header.append("embedding norm")
    if faces.gender is not None:
        header += ["sex", "age"]
    if not rows:
        return "no face found"
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    return "\n".join(
        "  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True))
        for row in [header, *rows]
    )
