"""Words of tasks and precisions: plain strings at run time, checked where they are written."""

# pyright: reportUnnecessaryTypeIgnoreComment=error

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from fastface.backends.placement import PRECISIONS
from fastface.pipeline.choices import PRECISION_WORDS
from fastface.utils.insightface_fields import FACE_KEYS
from fastface.utils.packs import TASK_ORDER

if TYPE_CHECKING:  # by their places, where the type checker finds them
    from ..backends.placement import Placement
    from ..pipeline.insightface_compat.facade import FaceAnalysis
    from ..utils import insightface_fields
    from ..utils.packs import ModelPack


@pytest.mark.parametrize("words", [TASK_ORDER, PRECISIONS, PRECISION_WORDS, tuple(FACE_KEYS)])
def test_are_plain_strings(words: tuple[str, ...]):
    """Other packs, pickles and JSON meet them."""
    assert all(type(word) is str for word in words)
    assert pickle.loads(pickle.dumps(words)) == words
    assert json.loads(json.dumps(words)) == list(words)


def test_every_head_has_its_fields():
    assert tuple(FACE_KEYS) == TASK_ORDER[1:]


def misspelt(pack: ModelPack, placement: Placement, app: FaceAnalysis) -> list[Any]:
    """Never run: the type checker refuses each line, and reports one that it has come to accept."""
    return [
        pack.model("detecton"),  # pyright: ignore[reportArgumentType]
        pack.models[0].task == "genderages",  # pyright: ignore[reportUnnecessaryComparison]
        "recogniton" in pack.tasks,  # pyright: ignore[reportUnnecessaryContains]
        app.analyzer.model("landmarks_3d_68"),  # pyright: ignore[reportArgumentType]
        app.models["verfication"],  # pyright: ignore[reportArgumentType]
        insightface_fields.FACE_KEYS["landmark_2d_10"],  # pyright: ignore[reportArgumentType]
        Placement("cpu", "fp61"),  # pyright: ignore[reportArgumentType]
        placement.precision == "mixd",  # pyright: ignore[reportUnnecessaryComparison]
        placement.precision_of("detector"),  # pyright: ignore[reportArgumentType]
    ]
