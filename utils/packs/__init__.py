"""`ModelPack`: a folder of weights and what each file is for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from ..errors import ModelError
from .checksums import content_of
from .file_state import FileState
from .graph_header import GraphHeader
from .released import RELEASED_FILES

#: What a network of a pack is for, in the order in which InsightFace's consumers expect to walk
#: `FaceAnalysis.models`. Plain strings, as other packs, files and messages have them; the type
#: checker refuses all other words.
Task = Literal[
    "detection",
    "landmark_3d_68",
    "landmark_2d_106",
    "genderage",
    "recognition",
    "verification",
]
TASK_ORDER: tuple[Task, ...] = get_args(Task)

#: Names the embedding space of weights that nobody is known to have released. File names differ
#: from machine to machine, so they are no part of it.
UNNAMED_SPACE = "custom"
#: How many digits of the weights' hash an embedding space shows.
SPACE_DIGITS = 12


@dataclass(frozen=True)
class ModelFile:
    """One network of a pack, described without reading its weights.

    Attributes:
        path: The file.
        task: What it is for.
        input_shape: `(N, C, H, W)`; None where the graph leaves an axis open. Empty if not a graph.
        input_dtype: `float32`, `float16` or `uint8`.
        output_shapes: Shape of each output in the graph's order; None for open axes.
        mean, std: The network expects `(rgb_0_to_255 - mean) / std`; `mean` is one number, or one
            for each channel in the network's order.
        bgr: Whether the network's channels are blue, green, red.
        family: Name of a detector's family, see `utils/detectors`; None for other tasks, and where
            it is of none that is known.
        sha256: Declared hash of the file, or None.
        expansion: Verification crops are this much larger than the box.
        header: What the graph says of itself, as it was when the pack was read; None where nothing
            was read, or it is no graph.
        files: The file and what it keeps in others, as they were when the pack was read: a model
            of another content is another model. Empty where nothing was read.
    """

    path: Path
    task: Task
    input_shape: tuple[int | None, ...] = ()
    input_dtype: str = "float32"
    output_shapes: tuple[tuple[int | None, ...], ...] = ()
    mean: float | tuple[float, float, float] = 127.5
    std: float = 128.0
    bgr: bool = False
    family: str | None = None
    sha256: str | None = None
    expansion: float = 1.3
    header: GraphHeader | None = None
    files: tuple[FileState, ...] = ()

    @property
    def fixed_size_wh(self) -> tuple[int, int] | None:
        """The only input size (width, height) the graph takes, or None when it takes any."""
        if len(self.input_shape) != 4:
            return None
        height, width = self.input_shape[2:]
        return (width, height) if width and height else None

    @property
    def black(self) -> float:
        """What a black pixel is in the network's input, where that is the same in all channels."""
        mean = self.mean[0] if isinstance(self.mean, tuple) else self.mean
        return -mean / self.std

    @property
    def takes_batches(self) -> bool:
        """Whether the graph as released takes more than one image at a time."""
        if not self.input_shape or self.input_shape[0] is not None:
            return False
        rank = 3 if self.task == "detection" else 2
        return all(len(shape) >= rank for shape in self.output_shapes)


@dataclass(frozen=True)
class OtherDetector:
    """Of a pack whose detector is not its own.

    Attributes:
        name: Of the detector, as users choose it.
        landmarks_from: The pack with its own detector, which is shown what is in the boxes, since
            the other one gives no landmarks; None where it does, or the pack's gives none either.
    """

    name: str
    landmarks_from: ModelPack | None = None


@dataclass(frozen=True)
class ModelPack:
    """A folder of weights that belong together.

    Attributes:
        name: As users choose it.
        folder: Where the files are.
        models: One file a task, in `TASK_ORDER`.
        licence: What the weights may be used for by what lies beside them, in one line. Where they
            are known by their content, `provenance` knows better.
        origin: Where they come from, likewise.
        det_threshold: Lowest score that tells a face from none with this detector, 0..1.
        nms_threshold: Overlap above which the weaker of two faces goes with this detector, 0..1.
        left_out: Why other files of the folder are not among the models, a line each.
        space: Name of its embeddings, for people; by default that of the network.
        detector: Given where its detector is another one than its folder's.
    """

    name: str
    folder: Path
    models: tuple[ModelFile, ...]
    licence: str = "unknown: ask whoever gave you the weights"
    origin: str = "local folder"
    det_threshold: float = 0.5
    nms_threshold: float = 0.4
    left_out: tuple[str, ...] = ()
    space: str | None = None
    detector: OtherDetector | None = None

    @property
    def tasks(self) -> tuple[Task, ...]:
        return tuple(model.task for model in self.models)

    @property
    def embedding_space(self) -> str | None:
        """What its embeddings may be compared with: those of the very same recognition weights.

        A name for people, and the beginning of the weights' hash: `w600k_r50@4c06341c33c2`. It is
        the same on every machine, wherever the weights lie and whatever their file is called. The
        first call reads them.

        Raises:
            ModelReplaced: The weights are others than when the pack was read.
            ModelError: They can't be read.
        """
        if "recognition" not in self.tasks:
            return None
        return self.space_of(content_of(self.model("recognition")))

    def space_of(self, content: str) -> str:
        """The embedding space of recognition weights, by their `content_sha256`."""
        released = RELEASED_FILES.get(content)
        name = self.space or (released.name if released else UNNAMED_SPACE)
        return f"{name}@{content[:SPACE_DIGITS]}"

    def model(self, task: Task) -> ModelFile:
        """The file of one task.

        Raises:
            ModelError: The pack has none.
        """
        for model in self.models:
            if model.task == task:
                return model
        raise ModelError(self.lacks(task))

    def lacks(self, task: Task) -> str:
        """That it has no model of a task, and what to do, for people."""
        left_out = "".join(f"; left out: {line}" for line in self.left_out)
        return (
            f"pack {self.name!r} in {self.folder} has no {task} model, only "
            f"{', '.join(self.tasks) or 'none at all'}; choose a pack that has one in FastFace "
            f"Loader, such as antelopev2 or buffalo_l, which download_missing gets{left_out}"
        )
