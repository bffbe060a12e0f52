"""The quality report, on real faces: right ways are fit, a wrong one is found and drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastface.benchmark.plan import Options
from fastface.benchmark.quality import BATCH, examine
from fastface.benchmark.quality_report import quality_markdown, worst_pictures
from fastface.benchmark.weights import Weights, choose_weights
from fastface.utils.errors import InvalidInput
from fastface.utils.pictures import read_picture

from .conftest import ODD


def test_a_wrong_way_is_found_and_drawn(test_data: Path):
    pytest.importorskip("insightface")
    names = ("Stallone.jpg", "multiface.jpg")
    photos = {name: read_picture(test_data / "images" / name) for name in names}
    options = Options(
        contestants=("onnxruntime", "shifted", "missing"),
        devices=("cpu",),
        contestant_files=(ODD,),
    )
    report = examine(options, photos, choose_weights(str(test_data / "models")))
    rows = {(row["label"], row["against"]): row for row in report["rows"]}
    reference = "insightface cpu fp32"
    right = rows["onnxruntime cpu fp32", reference]
    assert right["verdict"] == "fit" and right["matched"] == right["faces"] >= 7
    assert rows["onnxruntime cpu fp32", BATCH]["verdict"] == "fit"
    wrong = rows["shifted cpu fp32", reference]
    assert wrong["verdict"] == "unfit" and wrong["box_px"] == pytest.approx(3, abs=0.01)
    ((name, picture),) = worst_pictures(report, photos)
    assert name == "worst_1.png" and picture.dtype == np.uint8 and picture.shape[1] >= 400
    text = quality_markdown(report, [name])
    assert "UNFIT: boxes off by 3.0" in text and "missing: not here" in text and name in text


def test_random_weights_have_no_quality(photo: np.ndarray, random_weights: Weights):
    with pytest.raises(InvalidInput, match="trained weights"):
        examine(Options(), {"photo": photo}, random_weights)
