"""The seam to ComfyUI, with and without one: old and new versions are imitated by small modules."""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fastface.utils import host
from fastface.utils.host import folders
from fastface.utils.unfinished import clear_leftovers


@pytest.fixture(autouse=True)
def no_remembered_folders():
    folders._is_writable.cache_clear()
    yield
    folders._is_writable.cache_clear()


class Interrupted(BaseException):
    """As ComfyUI's own exception in new versions."""


@pytest.fixture
def comfyui(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """A ComfyUI of the new kind; tests take away what an old one lacks."""
    paths = {"checkpoints": (["somewhere"], set())}

    def add_model_folder_path(name: str, folder: str, is_default: bool = False) -> None:
        known = paths.setdefault(name, ([], set()))[0]
        if folder not in known:
            known.append(folder)

    folder_paths = ModuleType("folder_paths")
    folder_paths.__dict__.update(
        base_path=str(tmp_path),
        models_dir=str(tmp_path / "models"),
        folder_names_and_paths=paths,
        add_model_folder_path=add_model_folder_path,
        get_folder_paths=lambda name: list(paths[name][0]),
        get_user_directory=lambda: str(tmp_path / "user"),
        get_temp_directory=lambda: str(tmp_path / "temp"),
        get_input_directory=lambda: str(tmp_path / "input"),
    )
    state = SimpleNamespace(interrupted=False, bars=[], folder_paths=folder_paths, context=None)

    class ProgressBar:
        def __init__(self, total: int, node_id: str | None = None) -> None:
            self.total, self.node_id, self.current = total, node_id, 0
            state.bars.append(self)

        def update_absolute(self, value: int, total: int | None = None) -> None:
            self.current = value

    def throw_exception_if_processing_interrupted() -> None:
        if state.interrupted:
            raise Interrupted

    comfy, utils = ModuleType("comfy"), ModuleType("comfy.utils")
    management, server = ModuleType("comfy.model_management"), ModuleType("server")
    utils.__dict__["ProgressBar"] = ProgressBar
    management.__dict__.update(
        throw_exception_if_processing_interrupted=throw_exception_if_processing_interrupted,
        get_torch_device=lambda: torch.device("meta"),
        processing_interrupted=lambda: state.interrupted,
        InterruptProcessingException=Interrupted,
    )
    execution, context = ModuleType("comfy_execution"), ModuleType("comfy_execution.utils")
    context.__dict__["get_executing_context"] = lambda: state.context
    server.__dict__["PromptServer"] = SimpleNamespace(instance=SimpleNamespace())
    for module in (folder_paths, comfy, utils, management, server, execution, context):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    state.utils, state.server = utils, server
    return state


class TestOutside:
    def test_everything_has_a_sane_default(self):
        assert not host.in_comfyui()
        assert host.insightface_roots() == ()
        host.progress_bar(3, "1").update_absolute(1, 3)
        host.check_interrupted()
        assert host.node_interruption() is None
        assert host.preview([np.zeros((2, 2, 3), np.uint8)]) == {"images": []}
        assert host.torch_device().type in ("cpu", "cuda")

    def test_nothing_is_put_anywhere(self, tmp_path: Path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "photo.jpg").write_bytes(b"photo")
        host.provide_input(tmp_path / "photo.jpg")
        assert [path.name for path in tmp_path.rglob("*")] == ["photo.jpg"]

    def test_a_foreign_module_called_folder_paths_is_not_comfyui(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "folder_paths", ModuleType("folder_paths"))
        assert not host.in_comfyui()

    @pytest.mark.parametrize(
        "platform, variable, expected",
        [
            ("linux", "XDG_CACHE_HOME", "comfyui-fastface"),
            ("win32", "LOCALAPPDATA", "comfyui-fastface"),
            ("linux", None, ".cache/comfyui-fastface"),
            ("darwin", None, "Library/Caches/comfyui-fastface"),
            ("win32", None, "AppData/Local/comfyui-fastface"),
        ],
    )
    def test_cache_folder_of_the_platform(
        self, monkeypatch, tmp_path: Path, platform: str, variable: str | None, expected: str
    ):
        monkeypatch.setattr(sys, "platform", platform)
        monkeypatch.setattr(Path, "home", lambda: tmp_path)
        for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
            monkeypatch.delenv(name, raising=False)
        if variable:
            monkeypatch.setenv(variable, str(tmp_path))
        assert host.cache_folder() == tmp_path / expected
        assert (tmp_path / expected).is_dir()


class TestInside:
    @pytest.mark.parametrize("is_default", ["true", "false"])
    @pytest.mark.parametrize("base", ["base_path: {}", "base_path: packs/", "base_path:"])
    def test_a_yaml_may_say_that_its_folder_goes_first(
        self, comfyui, tmp_path: Path, is_default: str, base: str
    ):
        pytest.importorskip("yaml", reason="ComfyUI brings PyYAML")
        first, second = tmp_path / "packs" / "one", tmp_path / "packs" / "two"
        base = base.format(tmp_path / "packs")
        inside = "" if "packs" in base else "packs/"
        (tmp_path / "extra_model_paths.yaml").write_text(
            f"mine:\n    {base}\n    is_default: {is_default}\n"
            f"    insightface: |\n        {inside}one\n        {inside}two/\n    loras: loras\n"
            "nothing:\n"
            "theirs:\n    base_path: /elsewhere\n    insightface: insightface\n"
        )
        comfyui.folder_paths.__file__ = str(tmp_path / "folder_paths.py")
        for folder in (second, first, Path("/elsewhere/insightface")):
            comfyui.folder_paths.add_model_folder_path("insightface", str(folder))
        own = tmp_path / "models" / "insightface"
        named = (second, first)
        expected = (*named, own) if is_default == "true" else (own, *named)
        for _ in range(2):
            roots = host.insightface_roots()
            assert roots == (*expected, Path("/elsewhere/insightface"))

    def test_further_yamls_count_and_damaged_ones_do_not(self, comfyui, monkeypatch, tmp_path):
        pytest.importorskip("yaml", reason="ComfyUI brings PyYAML")
        good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
        good.write_text("mine:\n  base_path: /packs\n  is_default: true\n  insightface: a\n")
        bad.write_text("mine: [\n")
        arguments = ModuleType("comfy.cli_args")
        given = [[str(bad), str(tmp_path / "missing.yaml")], [str(good)]]
        arguments.__dict__["args"] = SimpleNamespace(extra_model_paths_config=given)
        monkeypatch.setitem(sys.modules, "comfy.cli_args", arguments)
        comfyui.folder_paths.add_model_folder_path("insightface", "/packs/a")
        own = tmp_path / "models" / "insightface"
        assert host.insightface_roots() == (Path("/packs/a"), own)

    def test_roots_keep_what_others_registered(self, comfyui, tmp_path: Path):
        comfyui.folder_paths.add_model_folder_path("insightface", "/shared/insightface")
        own = tmp_path / "models" / "insightface"
        assert host.insightface_roots() == (own, Path("/shared/insightface"))
        assert host.insightface_roots() == (own, Path("/shared/insightface"))
        registered = comfyui.folder_paths.folder_names_and_paths["insightface"][0]
        assert registered == ["/shared/insightface", str(own)]

    @pytest.mark.parametrize("old", [False, True])
    def test_progress_bar(self, comfyui, old: bool):
        if old:
            new = comfyui.utils.ProgressBar
            comfyui.utils.ProgressBar = lambda total: new(total)
        host.progress_bar(5, "7").update_absolute(2, 5)
        (bar,) = comfyui.bars
        assert (bar.total, bar.current, bar.node_id) == (5, 2, None if old else "7")

    def test_interruption_passes_through(self, comfyui):
        host.check_interrupted()
        comfyui.interrupted = True
        with pytest.raises(Interrupted):
            host.check_interrupted()

    def test_device(self, comfyui):
        assert host.torch_device() == torch.device("meta")

    def test_text_on_the_node(self):
        assert host.node_text("6 faces") | {"images": []} == {"text": ["6 faces"], "images": []}

    def test_a_text_names_no_folder_of_the_machine(self, comfyui, tmp_path: Path, monkeypatch):
        monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
        elsewhere = tmp_path.parent / "a.so"
        text = f"{tmp_path}/models/x, {tmp_path / 'user'}/y, /home/me/z, {elsewhere}"
        expected = "models/x, user/y, ~/z, .../a.so"
        assert host.redacted(text) == expected
        assert host.node_text(text) == {"text": [expected]}

    def test_an_account_without_a_home(self, monkeypatch):
        def no_home() -> Path:
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(Path, "home", no_home)
        assert host.redacted(f"{Path(__file__).absolute()}") == ".../test_host.py"

    @pytest.mark.parametrize("has_server", [True, False])
    def test_routes(self, comfyui, has_server: bool):
        from fastface.utils.web import Route, as_json

        added: dict[tuple[str, str], Any] = {}

        def route(method: str, path: str) -> Any:
            return lambda handler: added.update({(method, path): handler})

        server = comfyui.server.PromptServer.instance
        if has_server:
            server.routes = SimpleNamespace(route=route)
        host.add_routes([Route("GET", "/fastface/x", lambda body: as_json(1))])
        assert list(added) == ([("GET", "/fastface/x")] if has_server else [])

    def test_code_that_a_node_of_others_calls_can_be_stopped(self, comfyui):
        assert host.node_interruption() is None, "no node runs in this thread"
        comfyui.context = SimpleNamespace(prompt_id="1", node_id="2")
        check = host.node_interruption()
        assert check is not None
        check()
        comfyui.interrupted = True
        for _ in range(2):  # the flag stays for those who come after a node that catches it
            with pytest.raises(Interrupted):
                check()

    def test_a_comfyui_that_does_not_say_which_thread_runs_a_node(self, comfyui, monkeypatch):
        monkeypatch.setitem(sys.modules, "comfy_execution.utils", None)
        assert host.node_interruption() is None

    def test_preview_is_small(self, comfyui, tmp_path: Path):
        from PIL import Image

        assert host.preview([]) == {"images": []}
        shown = host.preview([np.zeros((600, 3000, 3), np.uint8), np.zeros((1, 1, 3), np.uint8)])
        assert [entry["type"] for entry in shown["images"]] == ["temp", "temp"]
        sizes = [Image.open(tmp_path / "temp" / e["filename"]).size for e in shown["images"]]
        assert sizes == [(1024, 205), (1, 1)]

    def test_a_preview_that_can_not_be_written_costs_the_preview(
        self, comfyui, tmp_path: Path, caplog
    ):
        (tmp_path / "temp").write_text("a file where a folder should be")
        assert host.preview([np.zeros((6, 6, 3), np.uint8)]) == {"images": []}
        assert "the preview is not shown: can't write in the folder" in caplog.text

    @pytest.mark.parametrize("old", [False, True])
    def test_cache_folder(self, comfyui, tmp_path: Path, old: bool):
        if old:
            del comfyui.folder_paths.get_user_directory
        expected = tmp_path / ("temp/fastface" if old else "user/__fastface")
        assert host.cache_folder() == expected and expected.is_dir()

    def test_unwritable_cache_folder_is_named_once(self, comfyui, tmp_path: Path, caplog):
        (tmp_path / "user").write_text("a file where a folder should be")
        with caplog.at_level(logging.WARNING, "FastFace"):
            for _ in range(2):
                assert host.cache_folder() == tmp_path / "temp" / "fastface"
        (record,) = caplog.records
        assert str(tmp_path / "user" / "__fastface") in record.getMessage()
        assert "write permission" in record.getMessage()

    def test_nothing_is_writable_but_the_temp_folder(self, comfyui, monkeypatch, tmp_path: Path):
        for name in ("user", "temp", "cache"):
            (tmp_path / name).write_text("")
        monkeypatch.setattr(folders, "_platform_cache_folder", lambda: tmp_path / "cache")
        folders._until_exit.close()  # a test before may have needed it
        folder = host.cache_folder()
        assert folder.is_dir() and folder.parent == Path(tempfile.gettempdir())
        assert host.cache_folder() == folder, "one for the process"
        assert clear_leftovers(folder.parent) == 0 and folder.is_dir()
        folder.rmdir()
        again = host.cache_folder()
        assert again.is_dir()
        folders._until_exit.close()
        assert not again.is_dir()


def test_a_file_for_the_input_folder_replaces_none(comfyui, tmp_path: Path, caplog):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"photo")
    host.provide_input(photo)
    there = tmp_path / "input" / "photo.jpg"
    assert there.read_bytes() == b"photo"
    there.write_bytes(b"somebody's own")
    host.provide_input(photo)
    assert there.read_bytes() == b"somebody's own"
    comfyui.folder_paths.get_input_directory = lambda: str(photo)  # a file is no folder
    with caplog.at_level("INFO", "FastFace"):
        host.provide_input(tmp_path / "photo.jpg")
    assert "photo.jpg can't be put into ComfyUI's input folder" in caplog.text


def test_lines_in_comfyuis_log_begin_with_the_packs_name(comfyui, caplog, monkeypatch):
    log = logging.getLogger("FastFace")
    monkeypatch.setattr(log, "filters", [])
    host.mark_log_lines()
    host.mark_log_lines()
    with caplog.at_level("INFO", "FastFace"):
        log.info("%d face(s)", 3)
    assert caplog.messages == ["[FastFace] 3 face(s)"]


def test_a_text_is_shown_while_a_node_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []
    server = SimpleNamespace(client_id="me", send_sync=lambda *told: sent.append(told))
    host.show_now("3", "nobody is there to see it")
    monkeypatch.setattr(host, "prompt_server", lambda: server)
    host.show_now(None, "no node")
    host.show_now("3", "frame 1 of 2")
    assert sent == [("fastface.node_text", {"node": "3", "text": "frame 1 of 2"}, "me")]


class TestDetectorFolders:
    def test_outside_comfyui_there_are_none(self):
        assert host.detector_folders() == {}

    def test_ours_and_those_of_ultralytics_nodes(self, comfyui: SimpleNamespace, tmp_path: Path):
        models = tmp_path / "models"
        ours = (models / "fastface" / "detectors",)
        boxes = models / "ultralytics" / "bbox"
        assert host.detector_folders() == {"detectors": ours, "bbox": (boxes,)}
        add = comfyui.folder_paths.add_model_folder_path
        add("ultralytics_bbox", str(boxes))
        add("ultralytics_bbox", str(tmp_path / "shared" / "bbox"))
        add("ultralytics", str(tmp_path / "other"))
        assert host.detector_folders()["bbox"] == (
            boxes,
            tmp_path / "shared" / "bbox",
            tmp_path / "other" / "bbox",
        )
        # Nothing of this is registered for others.
        assert "fastface" not in "".join(comfyui.folder_paths.folder_names_and_paths)
