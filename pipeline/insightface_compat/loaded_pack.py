"""`LoadedPack`: what the nodes, routes and commands of this pack call of an object they loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ...backends.interfaces import DetectionOptions
from ...backends.residency.idle_evictor import batch_of_work
from ...utils.errors import ModelReplaced
from ...utils.faces import Faces
from ...utils.images import Images
from ...utils.isolation import engine_call
from ...utils.packs import Task
from ...utils.progress import Progress
from ..analyzer import Analyzer
from ..pool import renewed
from .batches import analyze_batch, describe_batch
from .face_order import FaceOrder
from .offered_tasks import OfferedTasks

if TYPE_CHECKING:
    from ...models.multiview.inside_boxes import BoxesOfImages

Result = TypeVar("Result")

#: Files that are replaced again and again while they are being read are not waited for longer.
_MOST_RENEWALS = 3


class LoadedPack:
    """Batches of images to `Faces`, with the models of the files that are there now.

    Attributes:
        analyzer: The shared models. Another one takes its place when a model file was replaced on
            disk and the old content is not in memory any more.
        max_faces: Most faces an image when a call gives no `max_num`; 0 is no limit.
        order: Which of the faces that are found callers get, and in what order.
        offered: The tasks of the pack that were chosen.
        models: Those that are offered, by task, `detection` first.
        embedding_refusal: Why `embedding` can't be read from these faces, if it can't.
        other_embeddings: Whether the user allows embeddings that are made like InsightFace's.
    """

    analyzer: Analyzer
    max_faces: int
    offered: OfferedTasks
    models: dict[Task, Any]
    embedding_refusal: str | None
    #: Those of objects that were pickled before there were others.
    order = FaceOrder()
    other_embeddings = False
    _loaded_options: DetectionOptions

    @property
    def tasks(self) -> Sequence[Task] | None:
        """Tasks of the pack that are offered besides detection; None offers all."""
        return self.offered.chosen

    def options(self) -> DetectionOptions:
        """The detection settings it was loaded with.

        What consumers set on `det_model` is for `get` alone: it must not change what a node finds
        that happens to run after them.
        """
        return self._loaded_options

    @engine_call()
    def analyze(
        self,
        images: Images,
        tasks: Sequence[Task] = (),
        on_progress: Progress | None = None,
        options: DetectionOptions | None = None,
        remember: bool = True,
    ) -> Faces:
        """Detects the faces of a batch of images and describes them.

        Args:
            images: Any sizes, any device.
            tasks: What to add, such as `recognition`.
            on_progress: Called with work done and work in all between pieces of work; what it
                raises passes through.
            options: Other detection settings than those it was loaded with.
            remember: Whether the results are kept for when the same images come again; frames of
                films don't.

        Returns:
            Faces on the model's device.
        """
        self.offered.require(tasks)
        chosen = options or self.options()
        with batch_of_work():
            return self.with_models(
                lambda analyzer: analyze_batch(
                    analyzer,
                    images,
                    chosen,
                    self.order,
                    self.max_faces,
                    tasks,
                    on_progress,
                    remember,
                )
            )

    @engine_call()
    def analyze_boxes(
        self, images: Images, boxes: BoxesOfImages, on_progress: Progress | None = None
    ) -> tuple[Faces, list[int]]:
        """Finds the face in each of some boxes that somebody drew.

        The limit on faces does not count here: the boxes were asked for. A person who was asked
        for is looked for among their faces.

        Returns:
            Faces on the model's device, in the boxes' order, and the numbers of the boxes that hold
            a face, whether or not it is among these.
        """

        def work(analyzer: Analyzer) -> tuple[Faces, list[int]]:
            faces, held = analyzer.detect_inside(images, boxes, self.options(), on_progress)
            rows = self.order.rows(
                faces, lambda some: analyzer.describe(images, faces[some], ["recognition"]), 0
            )
            return faces if rows is None else faces[rows], held

        with batch_of_work():
            return self.with_models(work)

    @engine_call()
    def describe(
        self,
        images: Images,
        faces: Faces,
        tasks: Iterable[Task],
        on_progress: Progress | None = None,
    ) -> Faces:
        """Adds what the models of these tasks tell about faces that were found.

        Raises:
            InvalidInput: A task was left out when this object was loaded.
        """
        tasks = list(tasks)
        self.offered.require(tasks)
        return self.with_models(
            lambda analyzer: describe_batch(analyzer, images, faces, tasks, on_progress)
        )

    def with_models(self, work: Callable[[Analyzer], Result]) -> Result:
        """What some work gives with the models of the files that are there now.

        What is in memory is used as long as it is, whatever happens to its file.

        Args:
            work: Called with the analyzer, and again with another one when a file was replaced.

        Raises:
            ModelError: The files of the pack can't be used any more, or change all the time.
        """
        renewals = 0
        while True:
            analyzer = self.analyzer
            if not analyzer.is_current():
                analyzer = self.renew(analyzer)
            try:
                return work(analyzer)
            except ModelReplaced:
                if renewals == _MOST_RENEWALS:
                    raise
            renewals += 1
            self.renew(analyzer)

    def renew(self, old: Analyzer) -> Analyzer:
        """Moves on to the files that are there now, unless it did already; gives the analyzer."""
        if self.analyzer is old:
            analyzer = renewed(old)
            self.embedding_refusal = analyzer.embedding_refusal(self.other_embeddings)
            if self.embedding_refusal:
                self.models.pop("recognition", None)
            self.analyzer = analyzer
        return self.analyzer
