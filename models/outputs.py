"""Holds what a head's network gives against what its task needs of it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..utils.errors import ModelError
from ..utils.packs import ModelFile


def values_a_face(
    outputs: Sequence[Tensor], model: ModelFile, faces: int, least: int = 1, multiple: int = 1
) -> Tensor:
    """The one output of a head, a row for each face.

    Args:
        outputs: Of the session.
        model: Names the file in errors.
        faces: How many were put in, at least one.
        least: Fewest values of a face.
        multiple: Their number is a multiple of this.

    Returns:
        `[faces,K]` float32, a view where it is float32 already.

    Raises:
        ModelError: There are several outputs, it has another size, or (checked on the CPU alone)
            values that are none.
    """
    only, *others = outputs
    values = only.numel() // faces
    has_rows = only.shape[:1] == (faces,) and not only.is_complex()
    if others or not has_rows or values < least or values % multiple:
        shapes = ", ".join(str(tuple(output.shape)) for output in outputs)
        many = f"{least} or more" if multiple == 1 else f"{least} or more, by {multiple},"
        raise ModelError(
            f"{model.path} gave {shapes} for {faces} faces, expected one output with {many} values "
            f"a face as task {model.task} needs; it is damaged or another network: delete it and "
            "download its pack again"
        )
    rows = only.float().reshape(faces, values)
    # Asking a card would make the host wait for it.
    if rows.device.type == "cpu" and not rows.isfinite().all():
        raise ModelError(
            f"{model.path} gave values that are NaN or infinite; where it runs in fp16, choose "
            "precision fp32, else it is damaged: delete it and download its pack again"
        )
    return rows
