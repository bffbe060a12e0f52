"""Albums on Ray: two workers give the rows of one process, whatever the files are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from fastface.pipeline.album.album_analysis import analyze_album
from fastface.pipeline.album.album_table import FaceName, arrow_table, rows_of, schema
from fastface.pipeline.album.ray_data import AlbumRows, file_rows
from fastface.pipeline.loading import load_face_analysis
from install import ROOT
from tests.pipeline.album import odd_files

arrow = pytest.importorskip("pyarrow")

_PROGRAM = """
import sys
import ray
from pathlib import Path
from fastface.pipeline.album.ray_data import AlbumRows, file_rows
if __name__ == "__main__":
    root, output = Path(sys.argv[1]), sys.argv[2]
    ray.init(num_cpus=2, include_dashboard=False, logging_level="error")
    ray.data.DataContext.get_current().enable_progress_bars = False
    files = ray.data.from_items(list(file_rows(root, [root])), override_num_blocks=4)
    rows = files.map_batches(
        AlbumRows,
        fn_constructor_kwargs={"root": str(root), "load": {"device": "cpu"}},
        batch_format="pyarrow",
        batch_size=8,
        compute=ray.data.ActorPoolStrategy(size=2),
    )
    rows.write_parquet(output)
"""


@pytest.fixture
def folder(test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("FASTFACE_MODELS", str(test_data / "models"))
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("multiface.jpg", "Stallone.jpg", "rot_0.jpg", "rot_90.jpg"):
        shutil.copy(test_data / "images" / name, photos)
    picture = Image.open(test_data / "images" / "Stallone.jpg").convert("RGB")
    for name, content in odd_files.good_files(picture).items():
        (photos / name).write_bytes(content)
    for name, (content, _) in odd_files.bad_files(picture.resize((64, 64))).items():
        if name != "large.png":
            (photos / name).write_bytes(content)
    if os.name != "nt":
        (photos / os.fsdecode(odd_files.NOT_UNICODE)).write_bytes(odd_files.encoded(picture, "PNG"))
        odd_files.special_files(photos)
    return photos


def of_one_process(folder: Path) -> list[dict]:
    app = load_face_analysis(device="cpu")
    album = analyze_album(app, [folder], folder.parent / "output")
    return [
        row
        for record in album.records()
        for row in arrow_table(
            list(rows_of(record, [FaceName()] * len(record.faces))), schema(album.embedding_dim)
        ).to_pylist()
    ]


def assert_same(one: list[dict], other: list[dict]) -> None:
    def place(row: dict) -> tuple:
        return row["path"], row["frame"] or 0, row["face"] or 0

    one, other = sorted(one, key=place), sorted(other, key=place)
    assert list(map(place, one)) == list(map(place, other)) and len(one) > 40
    for row, same in zip(one, other, strict=True):
        assert row.keys() == same.keys()
        for name, value in row.items():
            if isinstance(value, float):
                assert value == pytest.approx(same[name], abs=1e-3), (row["path"], name)
            elif name == "embedding" and value is not None:
                assert value == pytest.approx(same[name], abs=1e-3), row["path"]
            else:
                assert value == same[name], (row["path"], name)


def test_a_worker_gives_the_rows_of_one_process(folder: Path):
    work = AlbumRows(folder, {"device": "cpu"})
    files = list(file_rows(folder, [folder]))
    rows: list[dict] = []
    for start in range(0, len(files), 5):
        table = work(arrow.Table.from_pylist(files[start : start + 5]))
        assert table.schema.equals(schema(128))
        rows += table.to_pylist()
    assert_same(rows, of_one_process(folder))


@pytest.mark.skipif(os.name == "nt", reason="making links needs a right there")
def test_two_workers_give_the_rows_of_one_process(folder: Path, tmp_path: Path):
    pytest.importorskip("ray", reason='ray is not installed: pip install "ray[data]"')
    from pyarrow import parquet

    (tmp_path / "libraries").mkdir()
    (tmp_path / "libraries" / "fastface").symlink_to(ROOT, target_is_directory=True)
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "libraries")}
    output = tmp_path / "faces"
    command = [sys.executable, str(program), str(folder), str(output)]
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=400
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    rows = [
        row
        for file in sorted(output.glob("*.parquet"))
        for row in parquet.read_table(file).to_pylist()
    ]
    assert_same(rows, of_one_process(folder))
