"""The analysis of albums for Ray Data: paths in, rows of an album's table out, a model a worker.

    files = ray.data.from_items(file_rows(root, [root]))
    rows = files.map_batches(
        AlbumRows,
        fn_constructor_kwargs={"root": root},
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=2),
    )
    rows.write_parquet("faces")

Ray itself is not imported here: the class is called with tables of Arrow's by whoever wants to.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...backends.residency.idle_evictor import batch_of_work
from ...utils.gallery.gallery_store import GalleryStore
from ..loading import load_face_analysis
from .album import AlbumOptions
from .album_analysis import AlbumAnalyst
from .album_people import names_by_gallery
from .album_results import THRESHOLD
from .album_table import arrow_table, rows_of, schema
from .found_files import FoundFile, walk

if TYPE_CHECKING:
    import pyarrow


def file_rows(
    root: Path, paths: Sequence[Path], follow_links: bool = False
) -> Iterator[dict[str, Any]]:
    """Rows for `AlbumRows` of all that lies in some folders, by their path.

    Args:
        root: The folder that all lie in, on every machine.
        paths: Folders and files.
        follow_links: See `walk`.

    Yields:
        Dictionaries of `path_bytes`, from the root, `bytes`, `mtime_ns` and `problem`.
    """
    for file in sorted(walk(root, paths, follow_links), key=lambda file: file.path):
        yield {
            "path_bytes": os.fsencode(file.path),
            "bytes": file.size,
            "mtime_ns": file.mtime_ns,
            "problem": file.problem,
        }


class AlbumRows:
    """Analyses batches of files; one object, and so one model of each kind, for each worker.

    What is known by looking at all files is not in its rows: `person` is empty, and a name is what
    the gallery says of the face itself.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        load: Mapping[str, Any] | None = None,
        options: AlbumOptions | None = None,
        gallery: str | os.PathLike[str] | None = None,
        threshold: float = THRESHOLD,
    ) -> None:
        """
        Args:
            root: The folder that paths begin at, on the worker's machine.
            load: Arguments of `load_face_analysis`, such as `model_pack` and `device`.
            options: What is looked at, and how; nothing is kept here to go on with.
            gallery: The folder of a gallery of known people.
            threshold: Lowest similarity (cosine) of a face to one of them.

        Raises:
            BackendUnavailable, ModelError: As `load_face_analysis`.
        """
        self._app = load_face_analysis(**(load or {}))
        self._options = options or AlbumOptions()
        self._analyst = AlbumAnalyst(self._app, Path(root), self._options)
        self._gallery = None if gallery is None else GalleryStore(Path(gallery))
        self._threshold = threshold

    def __call__(self, files: pyarrow.Table) -> pyarrow.Table:
        """The rows of some files, in their order.

        Args:
            files: With the columns of `file_rows`.

        Returns:
            The columns of `schema`.
        """
        found = [
            FoundFile(os.fsdecode(row["path_bytes"]), row["bytes"], row["mtime_ns"], row["problem"])
            for row in files.to_pylist()
        ]
        dim = self._analyst.embedding_dim
        rows: list[dict[str, Any]] = []
        with batch_of_work():
            for records in self._analyst.records(found):
                for record in records:
                    names = names_by_gallery(record, self._gallery, self._threshold)
                    rows += rows_of(record, names, dim is not None)
        return arrow_table(rows, schema(dim))
