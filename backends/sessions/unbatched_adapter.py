"""`UnbatchedAdapter`: batches for a network that takes one image at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...utils.errors import InvalidInput
from ...utils.packs import ModelFile
from ..interfaces import Session
from ..onnx_graphs.foreign import foreign_graph


class UnbatchedAdapter:
    """A session that runs the images of a batch singly and joins their results.

    Released SCRFD and ArcFace graphs take one image. Whoever uses this session passes `[B,C,H,W]`
    and gets results with a leading B, as from a graph that takes batches.
    """

    def __init__(self, session: Session, model: ModelFile) -> None:
        """`model`: what the session runs; its task tells what the outputs are."""
        self._session = session
        self._file_name = model.path.name
        self._finds_rows = model.task == "detection"
        self.device = session.device
        self.runs_on = session.runs_on

    @property
    def raw(self) -> Any:
        """The engine's own object, where the session has one."""
        return getattr(self._session, "raw", None)

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        """Runs the network once for each image.

        Args:
            x: `[B,C,H,W]` on `device`, B at least 1.

        Returns:
            The graph's outputs in its order, on `device`: a detector's `[anchors,K]` as
            `[B,anchors,K]`, others `[B,...]`.

        Raises:
            InvalidInput: The batch is empty.
            ModelError: The results of two images don't fit together.
        """
        if len(x) == 0:
            raise InvalidInput(
                f"got an empty batch {tuple(x.shape)}, expected at least one image; "
                "what an empty batch gives is the caller's to say"
            )
        singles = [self._session.run(x[i : i + 1]) for i in range(len(x))]
        with foreign_graph(self._file_name, "run"):
            return tuple(self._join(outputs) for outputs in zip(*singles, strict=True))

    def _join(self, outputs: Sequence[Tensor]) -> Tensor:
        # A detector's [anchors, K] is recognised by its rank, not by a first axis of 1: a small
        # input may have one anchor.
        has_batch_axis = outputs[0].ndim > 2 if self._finds_rows else outputs[0].shape[:1] == (1,)
        if not has_batch_axis:
            return torch.stack(list(outputs))
        return outputs[0] if len(outputs) == 1 else torch.cat(list(outputs))
