"""Galleries of a thousand to a million people: recall, time, memory, disk.

    python benchmarks/gallery.py --pack FOLDER --photos FOLDER --sizes 1000 100000 1000000

Embeddings of the faces in the photos give the directions in which faces spread; people are drawn
with that covariance, and two photos of one person have the cosine of `--likeness`, which for the
pairs of LFW is about 0.6. Each person is searched by a photo that the gallery does not hold. With
FAISS installed both searches are measured, and their answers compared with those of torch.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from inputs import existing_folder, pack_folder

from install import import_pack

import_pack("fastface")

from fastface.backends.interfaces import DetectionOptions
from fastface.pipeline.loading import load_for_pack
from fastface.utils.faces import Faces
from fastface.utils.gallery.contents import Gallery, Identity, Sample
from fastface.utils.gallery.gallery_store import GalleryStore
from fastface.utils.gallery.search import GalleryIndex
from fastface.utils.images import Images
from fastface.utils.packs.read import read_pack
from fastface.utils.pictures import read_picture

_QUERIES = 1000


def real_embeddings(pack: Path, photos: Path) -> torch.Tensor:
    """`[N,D]` of all faces in the photos, of length 1."""
    app = load_for_pack(read_pack("gallery", pack), DetectionOptions(), device="cpu")
    found = []
    for file in sorted(photos.glob("*.jpg")):
        images = Images.from_comfy(torch.from_numpy(read_picture(file))[None])
        faces = app.analyze(images, ("recognition",))
        if faces.embeddings is not None:
            found.append(faces.embeddings)
    return torch.nn.functional.normalize(torch.cat(found))


def drawn_directions(real: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """So many directions `[count,D]` of length 1 that spread as real faces do."""
    dim = real.shape[1]
    # Shrunk towards equal spread: there are fewer real faces than directions.
    covariance = 0.5 * torch.cov(real.T) + 0.5 * torch.eye(dim) * real.var(0).mean()
    factor = torch.linalg.cholesky(covariance)
    drawn = torch.randn(count, dim, generator=generator) @ factor.T
    return torch.nn.functional.normalize(drawn)


def drawn_people(real: torch.Tensor, count: int, likeness: float) -> tuple[torch.Tensor, ...]:
    """One photo of each of so many people, and another one of some, by their rows."""
    generator = torch.Generator().manual_seed(count)

    def directions(number: int) -> torch.Tensor:
        return drawn_directions(real, number, generator)

    share = math.sqrt(likeness)
    own, rows = directions(count), torch.randperm(count, generator=generator)[:_QUERIES]
    rest = math.sqrt(1 - likeness)
    photos = share * own + rest * directions(count)
    others = share * own[rows] + rest * directions(len(rows))
    return torch.nn.functional.normalize(photos), others, rows


def queries_of(vectors: torch.Tensor) -> Faces:
    count = len(vectors)
    return Faces(
        torch.zeros(count, 4),
        torch.ones(count),
        torch.zeros(count, dtype=torch.int64),
        ((8, 8),),
        embeddings=vectors,
        embedding_space="drawn",
    )


def measured(index: GalleryIndex, queries: Faces) -> tuple[list[str], float]:
    """The first name for each query, and milliseconds a query."""
    started = time.perf_counter()
    found = index.search(queries)
    milliseconds = 1000 * (time.perf_counter() - started) / len(queries)
    return [matches[0].name for matches in found], milliseconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pack", type=pack_folder, required=True)
    parser.add_argument("--photos", type=existing_folder, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 100_000, 1_000_000])
    parser.add_argument("--likeness", type=float, default=0.6)
    options = parser.parse_args()
    real = real_embeddings(options.pack, options.photos)
    cosines = (real @ real.T)[~torch.eye(len(real), dtype=torch.bool)]
    say(
        f"{len(real)} real faces of {real.shape[1]} numbers; cosines of two of them "
        f"{cosines.mean():.2f} +- {cosines.std():.2f}"
    )
    for count in options.sizes:
        photos, others, rows = drawn_people(real, count, options.likeness)
        identities = tuple(Identity(f"{row}", (Sample(row),)) for row in range(count))
        gallery = Gallery(identities, photos, "drawn")
        with tempfile.TemporaryDirectory() as folder:
            store = GalleryStore(Path(folder) / "gallery")
            times = [time.perf_counter()]
            write(store, gallery)
            times.append(time.perf_counter())
            size = sum(path.stat().st_size for path in store.folder.iterdir())
            store.read()
            times.append(time.perf_counter())
        index = GalleryIndex(gallery)
        times.append(time.perf_counter())
        queries, expected = queries_of(others), [f"{row}" for row in rows.tolist()]
        by_faiss = index._faiss
        lines = []
        answers = {}
        for name in ("faiss", "torch"):
            if name == "faiss" and by_faiss is None:
                continue
            index._faiss = by_faiss if name == "faiss" else None
            answers[name], milliseconds = measured(index, queries)
            right = np.mean([a == b for a, b in zip(answers[name], expected, strict=True)])
            lines.append(f"{name}: {milliseconds:.3f} ms a query, right person {right:.4f}")
        if by_faiss is not None:
            same = np.mean(
                [a == b for a, b in zip(answers["faiss"], answers["torch"], strict=True)]
            )
            lines.append(
                f"recall@1 of faiss against torch {same:.4f} "
                f"({by_faiss.lists} lists, {by_faiss.probes} looked at; 0: all vectors)"
            )
        write_s, read_s, index_s = np.diff(times)
        say(
            f"{count} people: {size / 1e6:.1f} MB on disk, {index.size_bytes / 1e6:.1f} MB in "
            f"memory; written in {write_s:.2f} s, read in {read_s:.2f} s, index made in "
            f"{index_s:.2f} s"
        )
        for line in lines:
            say(f"  {line}")
    return 0


def write(store: GalleryStore, gallery: Gallery) -> None:
    store.change(lambda _: gallery)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
