"""Many threads, objects of their own, one set of models."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.pool import forget_analyzers

Load = Callable[..., FaceAnalysis]


def answer(app: FaceAnalysis, picture: np.ndarray) -> list[Any]:
    """Boxes and embeddings, read from the last face to the first."""
    return [(face.bbox, face.det_score, face.embedding) for face in reversed(app.get(picture))]


def same(first: list[Any], second: list[Any]) -> bool:
    return len(first) == len(second) and all(
        np.allclose(a, b, atol=1e-3)
        for one, other in zip(first, second, strict=True)
        for a, b in zip(one, other, strict=True)
    )


def test_eight_threads_with_different_settings_get_what_one_would(load: Load, crowd: np.ndarray):
    pictures = [crowd, np.ascontiguousarray(crowd[:, ::-1])]
    settings = [(side, threshold) for side in (640, 320) for threshold in (0.5, 0.83)]
    jobs = [(picture, *setting) for picture in pictures for setting in settings]

    def work(job: tuple[np.ndarray, int, float]) -> list[Any]:
        picture, side, threshold = job
        app = load()
        app.prepare(ctx_id=0, det_thresh=threshold, det_size=(side, side))
        return answer(app, picture)

    forget_analyzers()
    expected = [work(job) for job in jobs]
    assert len({len(found) for found in expected}) > 1, "the threshold should matter"
    forget_analyzers()
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(work, jobs * 3))
    for number, result in enumerate(results):
        assert same(result, expected[number % len(jobs)])


def test_threads_that_read_one_list_of_faces(load: Load, crowd: np.ndarray):
    forget_analyzers()
    expected = answer(load(), crowd)
    forget_analyzers()
    faces = load().get(crowd)
    with ThreadPoolExecutor(8) as threads:
        embeddings = list(threads.map(lambda n: faces[n % len(faces)].embedding, range(40)))
    for number, embedding in enumerate(embeddings):
        assert np.allclose(embedding, expected[-1 - number % len(faces)][2], atol=1e-3)
