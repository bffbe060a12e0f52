"""Which packs are found where, and what is read of a pack that is whole, damaged or none."""

from __future__ import annotations

import json
import logging
import os
import re
from pathlib import Path

import pytest

from fastface.utils.errors import InvalidInput, ModelError
from fastface.utils.packs import find as module
from fastface.utils.packs.find import find_packs, load_pack, misplaced_weights, pack_roots
from fastface.utils.packs.known import KNOWN_PACKS

DETECTOR = ([(1, 3, "?", "?")], [("?", 1)] * 9)
RECOGNISER = ([(1, 3, 112, 112)], [(1, 512)])
LANDMARKS_2D = ([(1, 3, 192, 192)], [(1, 212)])
LANDMARKS_3D = ([(1, 3, 192, 192)], [(1, 3309)])
GENDER_AGE = ([(1, 3, 96, 96)], [(1, 3)])
VERIFIER = ([("N", 3, 80, 80)], [("N",)])
SWAPPER = ([(1, 3, 128, 128), (1, 512)], [(1, 3, 128, 128)])


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, no environment variable, and every warning still to come."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    monkeypatch.delenv("FASTFACE_MODELS", raising=False)
    module._warn_once.cache_clear()
    return folder


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def name_in_environment(monkeypatch: pytest.MonkeyPatch, *folders: Path | str) -> None:
    monkeypatch.setenv("FASTFACE_MODELS", os.pathsep.join(map(str, folders)))


def test_finds_nothing_where_nothing_is(home):
    assert find_packs() == {}
    assert find_packs([home / "missing"]) == {}
    assert pack_roots() == (home / ".insightface" / "models",)


def test_searches_the_users_folders_first_and_insightfaces_last(home, tmp_path, monkeypatch):
    mine, comfy = tmp_path / "mine", tmp_path / "models" / "insightface"
    comfy.mkdir(parents=True)
    name_in_environment(monkeypatch, mine, "", " ", mine / "..", "relative")
    monkeypatch.chdir(tmp_path)
    assert pack_roots([comfy, comfy / "models"]) == (
        mine,
        tmp_path,
        tmp_path / "models",
        tmp_path / "relative",
        comfy / "models",
        comfy,
        home / ".insightface" / "models",
    )


def test_the_first_folder_that_has_a_pack_wins(home, tmp_path, monkeypatch):
    mine, comfy = tmp_path / "mine", tmp_path / "insightface"
    insightface = home / ".insightface" / "models"
    touch(mine / "a" / "x.onnx")
    touch(*(comfy / "models" / name / "x.onnx" for name in "ab"))
    touch(*(comfy / name / "x.onnx" for name in "bc"))
    touch(*(insightface / name / "x.onnx" for name in "cd"))
    name_in_environment(monkeypatch, mine)
    assert find_packs([comfy]) == {
        "a": mine / "a",
        "b": comfy / "models" / "b",
        "c": comfy / "c",
        "d": insightface / "d",
    }


def test_a_folder_of_comfyui_may_be_the_packs_folder_itself(tmp_path):
    touch(tmp_path / "models" / "a" / "x.onnx")
    packs = {"a": tmp_path / "models" / "a"}
    assert find_packs([tmp_path / "models"]) == find_packs([tmp_path]) == packs


def test_only_folders_with_models_are_packs(tmp_path):
    root = tmp_path / "models"
    touch(root / "pack" / "x.onnx", root / "other" / "x.pt", root / "upper" / "x.ONNX.txt")
    touch(root / ".pack.1.unpacking" / "x.onnx", root / "apple" / "._x.onnx", root / "loose.onnx")
    touch(root / "deep" / "er" / "x.onnx", root / "v1" / "manifest.json")
    (root / "v1" / "manifest.json").write_text('{"manifest_version": 1}')
    (root / "raccoon").mkdir()
    (root / "raccoon" / "manifest.json").write_text('{"manifest_version": 2}')
    assert find_packs([tmp_path]) == {"pack": root / "pack", "raccoon": root / "raccoon"}


def test_a_pack_unpacked_one_folder_too_deep_is_found_there(home):
    folder = home / ".insightface" / "models" / "antelopev2"
    touch(folder / "antelopev2" / "x.onnx")
    assert find_packs() == {"antelopev2": folder / "antelopev2"}
    touch(folder / "x.onnx")
    assert find_packs() == {"antelopev2": folder}


def test_the_environment_may_name_a_pack_itself(tmp_path, monkeypatch):
    touch(tmp_path / "a" / "x.onnx", tmp_path / "b" / "models" / "x.onnx")
    name_in_environment(monkeypatch, tmp_path / "a", tmp_path / "b")
    assert find_packs() == {"a": tmp_path / "a", "models": tmp_path / "b" / "models"}


@pytest.mark.parametrize(
    ("deep", "words"),
    [("antelopev2/antelopev2/antelopev2", "three folders"), ("x/antelopev2", "two folders")],
)
def test_a_pack_too_deep_is_mentioned_where_it_is_missed(home, tmp_path, deep, words):
    folder = tmp_path.joinpath(*deep.split("/"))
    touch(folder / "x.onnx")
    assert find_packs([tmp_path]) == {}
    with pytest.raises(ModelError) as caught:
        load_pack("antelopev2", [tmp_path])
    assert f"{folder} holds .onnx files {words} deep: move them into" in str(caught.value)
    assert f"move them into {tmp_path / 'antelopev2'}. To install it" in str(caught.value)


def test_a_pack_still_zipped_is_mentioned_where_it_is_missed(home, tmp_path):
    inside = home / ".insightface" / "models" / "buffalo_l" / "buffalo_l.ZIP"
    touch(tmp_path / "models" / "buffalo_l.zip", tmp_path / "models" / "other.zip", inside)
    with pytest.raises(ModelError) as caught:
        load_pack("buffalo_l", [tmp_path])
    message = str(caught.value)
    zipped = tmp_path / "models" / "buffalo_l.zip"
    assert f"{zipped} is still zipped: unpack it into {zipped.with_suffix('')}. " in message
    assert f"{inside} is still zipped: unpack it into {inside.parent}. " in message
    assert "other.zip" not in message


def test_what_is_found_is_not_mentioned_and_the_search_ends(home, tmp_path):
    touch(tmp_path / "a" / "x.onnx", tmp_path / "a" / "b" / "c" / "y.onnx", tmp_path / "a.zip")
    touch(tmp_path / "loose.onnx", tmp_path / ".hidden" / "d" / "x.onnx")
    touch(tmp_path / "1" / "2" / "3" / "4" / "5" / "x.onnx")
    assert misplaced_weights([tmp_path]) == ()
    for number in range(20):
        touch(tmp_path / "many" / "deep" / str(number) / "x.onnx")
    assert len(misplaced_weights([tmp_path])) == 5


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_a_folder_whose_name_is_no_text_is_a_pack_with_a_readable_name(
    write_onnx, tmp_path, monkeypatch
):
    folder = tmp_path / os.fsdecode(b"pack-\xff")
    folder.mkdir()
    write_onnx(folder / "x.onnx", *DETECTOR)
    assert find_packs([tmp_path]) == {r"pack-\udcff": folder}
    for name in (r"pack-\udcff", folder.name):
        pack = load_pack(name, [tmp_path])
        assert (pack.name, pack.folder) == (r"pack-\udcff", folder)
    assert load_pack(folder, allow_path=True).name == r"pack-\udcff"
    name_in_environment(monkeypatch, folder)
    assert find_packs() == {r"pack-\udcff": folder}
    with pytest.raises(ModelError, match=r"Searched: .*pack-\\udcff"):
        load_pack("missing")


def test_loose_files_of_others_are_no_pack(home, tmp_path):
    comfy = tmp_path / "insightface"
    touch(comfy / "inswapper_128.onnx", comfy / "models" / "inswapper_128.onnx")
    touch(home / ".insightface" / "models" / "inswapper_128.onnx")
    assert find_packs([comfy]) == {}


def test_links_keep_the_name_users_gave_them(link, tmp_path):
    touch(tmp_path / "store" / "4ab1d6" / "x.onnx")
    (tmp_path / "models").mkdir()
    link(tmp_path / "models" / "antelopev2", tmp_path / "store" / "4ab1d6")
    link(tmp_path / "models" / "circle", tmp_path / "models" / "circle")
    link(tmp_path / "models" / "nowhere", tmp_path / "gone")
    assert find_packs([tmp_path]) == {"antelopev2": tmp_path / "models" / "antelopev2"}


def test_a_wrong_environment_is_named_once(tmp_path, monkeypatch, caplog):
    touch(tmp_path / "file")
    name_in_environment(monkeypatch, tmp_path / "missing", tmp_path / "file")
    for _ in range(3):
        assert find_packs() == {}
    assert len(caplog.records) == 2
    assert f"FASTFACE_MODELS names {tmp_path / 'missing'}" in caplog.text


def test_a_forbidden_folder_is_named_once_and_skipped(tmp_path, monkeypatch, caplog):
    touch(tmp_path / "models" / "a" / "x.onnx", tmp_path / "models" / "b" / "x.onnx")
    iterdir = Path.iterdir

    def forbid(folder: Path):
        if folder.name == "a":
            raise PermissionError(13, "Permission denied", str(folder))
        return iterdir(folder)

    monkeypatch.setattr(Path, "iterdir", forbid)
    for _ in range(3):
        assert find_packs([tmp_path]) == {"b": tmp_path / "models" / "b"}
    assert len(caplog.records) == 1
    assert "check the rights" in caplog.text


def test_finding_opens_no_model(write_onnx, tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    write_onnx(tmp_path / "a" / "x.onnx")
    monkeypatch.setattr(Path, "open", lambda *args: pytest.fail("a file was opened"))
    assert find_packs([tmp_path]) == {"a": tmp_path / "a"}


def whole_pack(folder: Path, write_onnx) -> Path:
    folder.mkdir(parents=True)
    graphs = {
        "1k3d68": LANDMARKS_3D,
        "2d106det": LANDMARKS_2D,
        "genderage": GENDER_AGE,
        "glintr100": RECOGNISER,
        "scrfd_10g_bnkps": DETECTOR,
    }
    for name, graph in graphs.items():
        write_onnx(folder / f"{name}.onnx", *graph)
    return folder


def test_loads_a_pack_in_the_order_consumers_walk_it(write_onnx, tmp_path):
    folder = whole_pack(tmp_path / "antelopev2" / "antelopev2", write_onnx)
    pack = load_pack("antelopev2", [tmp_path])
    assert (pack.name, pack.folder, pack.left_out) == ("antelopev2", folder, ())
    assert [(model.task, model.path.name) for model in pack.models] == [
        ("detection", "scrfd_10g_bnkps.onnx"),
        ("landmark_3d_68", "1k3d68.onnx"),
        ("landmark_2d_106", "2d106det.onnx"),
        ("genderage", "genderage.onnx"),
        ("recognition", "glintr100.onnx"),
    ]
    assert [[state.path for state in model.files] for model in pack.models] == [
        [model.path] for model in pack.models
    ]


def test_loads_the_released_files(test_data, monkeypatch):
    name_in_environment(monkeypatch, test_data)
    assert load_pack("models").tasks == ("detection", "recognition")


@pytest.mark.parametrize(("graph", "task"), [(DETECTOR, "detection"), (RECOGNISER, "recognition")])
def test_one_model_is_a_pack(graph, task, write_onnx, tmp_path):
    (tmp_path / "single").mkdir()
    write_onnx(tmp_path / "single" / "x.onnx", *graph)
    pack = load_pack("single", [tmp_path])
    assert pack.tasks == (task,)
    with pytest.raises(ModelError, match="has no landmark_2d_106 model, only " + task):
        pack.model("landmark_2d_106")


@pytest.mark.parametrize("backwards", [False, True])
def test_the_first_file_of_a_task_serves(backwards, write_onnx, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG, logger="FastFace")
    iterdir = Path.iterdir  # a disk lists files in any order
    monkeypatch.setattr(Path, "iterdir", lambda folder: sorted(iterdir(folder), reverse=backwards))
    (tmp_path / "pack").mkdir()
    for name in ("b.onnx", "a.onnx", "B.onnx"):
        write_onnx(tmp_path / "pack" / name, *RECOGNISER)
    pack = load_pack("pack", [tmp_path])
    assert pack.model("recognition").path.name == "B.onnx"
    assert "a.onnx: B.onnx serves recognition" in pack.left_out
    assert len(pack.left_out) == 2
    assert "a.onnx: B.onnx serves recognition" in caplog.text


def test_a_damaged_file_costs_its_task_only(write_onnx, tmp_path, caplog):
    folder = whole_pack(tmp_path / "antelopev2", write_onnx)
    (folder / "scrfd_10g_bnkps.onnx").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    write_onnx(folder / "inswapper.onnx", *SWAPPER)
    write_onnx(folder / "hair.onnx", [(1, 3, 96, 96)], [(1, 5)])
    pack = load_pack("antelopev2", [tmp_path])
    assert pack.tasks == ("landmark_3d_68", "landmark_2d_106", "genderage", "recognition")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "scrfd_10g_bnkps.onnx" in caplog.text
    message = "no detection model.*scrfd_10g_bnkps.onnx.*git-lfs pointer.*git lfs pull"
    with pytest.raises(ModelError, match=message):
        pack.model("detection")
    assert "hair.onnx: nothing here uses attribute_5" in pack.left_out
    assert any("inswapper.onnx: no network for face analysis" in line for line in pack.left_out)


def test_a_folder_without_a_usable_model_says_why(write_onnx, tmp_path, caplog):
    folder = tmp_path / "pack"
    folder.mkdir()
    write_onnx(folder / "inswapper.onnx", *SWAPPER)
    (folder / "page.onnx").write_bytes(b"<html>Not Found</html>")
    (folder / "half.onnx").write_bytes((folder / "inswapper.onnx").read_bytes()[:300])
    with pytest.raises(ModelError) as caught:
        load_pack("pack", [tmp_path])
    message = str(caught.value)
    assert re.search(r"no model for face analysis is in .*pack:", message)
    assert re.search(r"- inswapper\.onnx: .*data0 float32\[1x3x128x128\]", message)
    assert re.search(r"- .*page\.onnx .* a web page", message)
    assert re.search(r"- .*half\.onnx .* only .* left", message)
    assert not caplog.records


@pytest.mark.parametrize("name", ["", "nope", ".", "C", "antelope v2", "buffalo_l"])
def test_an_unknown_name_says_what_there_is_and_what_to_do(name, tmp_path):
    touch(tmp_path / "models" / "mine" / "x.onnx")
    with pytest.raises(ModelError) as caught:
        load_pack(name, [tmp_path])
    message = str(caught.value)
    assert f"no model pack {name!r}; choose one of mine" in message
    assert f"Searched: {tmp_path / 'models'}, {tmp_path}, " in message
    assert "(not there)" in message
    assert str(tmp_path / "models") in message.split("(not there)")[1]
    download = "buffalo_l.zip (289 MB)" if name == "buffalo_l" else "Packs to download: antelopev2"
    assert download in message


def test_an_unknown_name_where_no_pack_is(tmp_path):
    with pytest.raises(ModelError, match="no model pack 'x'; none is installed"):
        load_pack("x", [tmp_path])


@pytest.mark.parametrize("name", ["..", "../pack", "/pack", "a/b", "a\\b", "C:pack", "a\0b", "{}"])
def test_a_path_is_taken_only_where_allowed(name, tmp_path, monkeypatch, write_onnx):
    (tmp_path / "pack").mkdir()
    write_onnx(tmp_path / "pack" / "x.onnx", *DETECTOR)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InvalidInput, match="expected a name, not a path"):
        load_pack(name.format(tmp_path / "pack"), [tmp_path / "here"])


def test_a_folder_is_a_pack_where_paths_are_allowed(tmp_path, monkeypatch, write_onnx, home):
    write_onnx(tmp_path / "x.onnx", *DETECTOR)
    (tmp_path / "antelopev2" / "antelopev2").mkdir(parents=True)
    write_onnx(tmp_path / "antelopev2" / "antelopev2" / "x.onnx", *DETECTOR)
    monkeypatch.chdir(tmp_path)
    assert load_pack(tmp_path, allow_path=True).folder == tmp_path
    for name in (tmp_path / "antelopev2", "antelopev2", "./antelopev2", f"~/../{'antelopev2'}"):
        pack = load_pack(name, allow_path=True)
        assert (pack.name, pack.tasks) == ("antelopev2", ("detection",))
        assert pack.folder == tmp_path / "antelopev2" / "antelopev2"
    with pytest.raises(ModelError, match=r"home:.*it has no \.onnx file"):
        load_pack(home, allow_path=True)
    with pytest.raises(ModelError, match="no model pack"):
        load_pack(tmp_path / "missing", allow_path=True)


def declared_pack(folder: Path, write_onnx) -> Path:
    (folder / "weights").mkdir(parents=True)
    write_onnx(folder / "weights" / "det.onnx", *DETECTOR)
    write_onnx(folder / "weights" / "ver.onnx", *VERIFIER)
    write_onnx(folder / "weights" / "rec.onnx", *RECOGNISER)
    files = {"detection": "det", "verification": "ver", "recognition": "rec"}
    tasks = {task: {"file": f"weights/{name}.onnx"} for task, name in files.items()}
    manifest = {"manifest_version": 2, "model_id": "raccoon_s", "license": "MODEL.LICENSE"}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "tasks": tasks}))
    return folder


def test_a_manifest_is_honoured(write_onnx, tmp_path):
    folder = declared_pack(tmp_path / "raccoon_s", write_onnx)
    write_onnx(folder / "a_detector_it_does_not_declare.onnx", *DETECTOR)
    pack = load_pack("raccoon_s", [tmp_path])
    assert pack.tasks == ("detection", "recognition", "verification")
    assert pack.model("detection").path == folder / "weights" / "det.onnx"
    assert (pack.model("verification").mean, pack.model("verification").std) == (0.0, 1.0)
    assert pack.licence.startswith("unknown")
    (folder / "MODEL.LICENSE").touch()
    assert load_pack("raccoon_s", [tmp_path]).licence == f"see {folder / 'MODEL.LICENSE'}"


def test_a_wrong_manifest_stops_the_pack_and_a_damaged_file_its_task(write_onnx, tmp_path, caplog):
    folder = declared_pack(tmp_path / "raccoon_s", write_onnx)
    (folder / "weights" / "rec.onnx").unlink()
    pack = load_pack("raccoon_s", [tmp_path])
    assert pack.tasks == ("detection", "verification")
    assert "there is no file" in caplog.text
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace("weights/det", "../det"))
    with pytest.raises(ModelError, match=r"tasks\.detection\.file is '\.\./det\.onnx'"):
        load_pack("raccoon_s", [tmp_path])


@pytest.mark.parametrize("pack", KNOWN_PACKS.values(), ids=KNOWN_PACKS)
def test_known_packs_can_be_downloaded_and_checked(pack):
    assert KNOWN_PACKS[pack.name] is pack
    if pack.urls:
        assert not pack.url and set(pack.urls) == set(pack.files)
        assert all(
            url.startswith("https://") and url.endswith(".onnx") for url in pack.urls.values()
        )
        assert all(pack.files.values()) and pack.size_mb
    else:
        assert pack.url.startswith("https://")
        assert pack.url.endswith(f"/model-zoo/{pack.name}.zip")
        assert (pack.sha256 is None) == (pack.size_mb is None)
        assert "non-commercial" in pack.licence
    assert pack.files
    for sha256 in (pack.sha256, *pack.files.values()):
        assert sha256 is None or re.fullmatch("[0-9a-f]{64}", sha256)
