"""What a model holds: read once, told apart whatever it is called, noticed when it changes."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fastface.utils.errors import ModelError, ModelReplaced
from fastface.utils.packs import ModelFile, checksums
from fastface.utils.packs.checksums import (
    content_bytes,
    content_of,
    content_sha256,
    is_replaced,
    model_states,
    note_content,
    unreplaced,
)
from fastface.utils.packs.graph_header import read_graph_header, read_own_header
from fastface.utils.packs.graph_tensors import check_declared_sizes
from fastface.utils.packs.protobuf_fields import Malformed, Message

WEIGHTS = np.arange(12, dtype=np.float32).reshape(3, 4)


def graph_of(*weights: TensorProto, nodes: list | None = None) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes or [helper.make_node("MatMul", ["x", weights[0].name], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        list(weights),
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])


def external(name: str, location: str, values: np.ndarray = WEIGHTS) -> TensorProto:
    """A tensor whose data lies in a file."""
    tensor = numpy_helper.from_array(values, name)
    onnx.external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    return tensor


def write_external(folder: Path, *locations: str, seed: int = 0) -> Path:
    """A graph with its weights in other files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, location in enumerate(locations):
        path = folder / location
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((WEIGHTS + number + seed).tobytes())
    tensors = [external(f"w{number}", location) for number, location in enumerate(locations)]
    path = folder / "model.onnx"
    path.write_bytes(graph_of(*tensors).SerializeToString())
    return path


def model_of(path: Path) -> ModelFile:
    return ModelFile(path, "recognition", files=model_states(path))


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read to be hashed."""
    names: list[str] = []
    read = checksums.file_sha256

    def note(path: Path) -> str:
        names.append(path.name)
        return read(path)

    monkeypatch.setattr(checksums, "file_sha256", note)
    return names


def test_of_one_file_it_is_the_published_hash(write_onnx, tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "a.onnx")
    assert content_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert content_sha256(path) == content_sha256(Path(shutil.copy(path, tmp_path / "b.onnx")))
    assert content_bytes(model_of(path)) == path.stat().st_size


def test_of_a_damaged_file_it_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"no graph")
    assert content_sha256(tmp_path / "a.onnx") == hashlib.sha256(b"no graph").hexdigest()


class TestRemembered:
    def test_a_file_is_read_once(self, write_onnx, tmp_path: Path, aged, hashed: list[str]) -> None:
        path = write_onnx(tmp_path / "a.onnx")
        assert content_sha256(path) == content_sha256(path)
        assert content_of(model_of(path)) == content_sha256(path)
        assert hashed == ["a.onnx"]

    def test_what_was_written_just_now_is_not_trusted(self, tmp_path: Path) -> None:
        """Twice within one step of the system's clock: size, times and number are the same."""
        path = tmp_path / "a.pt"
        for number in range(50):
            path.write_bytes(b"%06d" % number)
            assert content_sha256(path) == hashlib.sha256(b"%06d" % number).hexdigest()

    @pytest.mark.parametrize("how", ["in place", "by another file"])
    def test_a_change_is_seen_whatever_time_the_file_claims(
        self, tmp_path: Path, how: str, aged
    ) -> None:
        path = tmp_path / "a.pt"
        path.write_bytes(b"old weights")
        old, status = content_sha256(path), path.stat()
        written = path if how == "in place" else tmp_path / "b"
        written.write_bytes(b"new weights")
        os.utime(written, ns=(status.st_atime_ns, status.st_mtime_ns))
        written.replace(path)
        assert path.stat().st_mtime_ns == status.st_mtime_ns
        assert content_sha256(path) == hashlib.sha256(b"new weights").hexdigest() != old

    def test_a_file_that_is_being_written_is_read_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "a.pt"
        path.write_bytes(b"half")
        read = checksums.file_sha256

        def write_then_read(path: Path) -> str:
            digest = read(path)
            if path.stat().st_size < 10:
                path.write_bytes(path.read_bytes() + b"more")
            return digest

        monkeypatch.setattr(checksums, "file_sha256", write_then_read)
        assert content_sha256(path) == hashlib.sha256(b"halfmoremore").hexdigest()

    def test_one_that_never_stops_changing_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "a.pt"
        path.write_bytes(b"")
        monkeypatch.setattr(
            checksums, "file_sha256", lambda path: path.write_bytes(path.read_bytes() + b"more")
        )
        with pytest.raises(ModelError, match="being written to; wait until it is complete"):
            content_sha256(path)


class TestExternalData:
    def test_it_is_part_of_the_content(self, tmp_path: Path, aged) -> None:
        path = write_external(tmp_path / "a", "one.data", "below/two.data")
        same = write_external(tmp_path / "b", "one.data", "below/two.data")
        assert content_sha256(path) == content_sha256(same)
        assert content_sha256(path) != hashlib.sha256(path.read_bytes()).hexdigest()
        for location in ("one.data", "below/two.data"):
            before = content_sha256(path)
            data = bytearray((path.parent / location).read_bytes())
            data[5] ^= 1
            (path.parent / location).write_bytes(data)
            assert content_sha256(path) != before

    def test_two_files_that_change_places_are_another_content(self, tmp_path: Path) -> None:
        path = write_external(tmp_path / "a", "one.data", "two.data")
        before = content_sha256(path)
        one, two = (path.parent / name for name in ("one.data", "two.data"))
        first, second = one.read_bytes(), two.read_bytes()
        one.write_bytes(second)
        two.write_bytes(first)
        assert content_sha256(path) != before

    def test_a_file_that_is_cut_short_is_noticed_whatever_is_remembered_of_the_graph(
        self, tmp_path: Path, aged
    ) -> None:
        path = write_external(tmp_path, "w.data")
        read_graph_header(path)
        (tmp_path / "w.data").write_bytes(WEIGHTS.tobytes()[:-1])
        with pytest.raises(ModelError, match="up to byte 48, but it has 47 bytes; download"):
            read_graph_header(path)
        with pytest.raises(ModelError, match="up to byte 48, but it has 47 bytes"):
            content_sha256(path)

    def test_it_counts_in_the_size(self, tmp_path: Path) -> None:
        path = write_external(tmp_path, "one.data", "two.data")
        assert content_bytes(model_of(path)) == path.stat().st_size + 2 * WEIGHTS.nbytes

    @pytest.mark.parametrize(
        ("location", "message"),
        [
            ("../out.data", "expected a file in its own folder"),
            ("/etc/hostname", "expected a file in its own folder"),
            ("C:\\out.data", "expected a file in its own folder"),
            ("", "expected a file in its own folder"),
            ("gone.data", "'gone.data', which is not beside it; put it into"),
        ],
    )
    def test_nothing_outside_the_folder_is_read(
        self, tmp_path: Path, location: str, message: str, hashed: list[str]
    ) -> None:
        (tmp_path / "out.data").write_bytes(WEIGHTS.tobytes())
        path = tmp_path / "pack" / "model.onnx"
        path.parent.mkdir()
        path.write_bytes(graph_of(external("w", location)).SerializeToString())
        with pytest.raises(ModelError, match=message):
            content_sha256(path)
        assert hashed == []

    def test_nor_is_a_link_followed(self, tmp_path: Path, link, hashed: list[str]) -> None:
        path = write_external(tmp_path / "pack", "w.data")
        (tmp_path / "pack" / "w.data").replace(tmp_path / "out.data")
        link(tmp_path / "pack" / "w.data", tmp_path / "out.data")
        with pytest.raises(
            ModelError, match=r"'w\.data', which is a link; put the file itself there"
        ):
            content_sha256(path)
        assert hashed == []

    def test_a_linked_folder_is_as_good_as_the_folder(self, tmp_path: Path, link) -> None:
        path = write_external(tmp_path / "real", "below/w.data")
        link(tmp_path / "linked", tmp_path / "real")
        assert content_sha256(tmp_path / "linked" / "model.onnx") == content_sha256(path)


class TestLocations:
    def test_wherever_a_tensor_can_be(self, tmp_path: Path) -> None:
        sparse = onnx.SparseTensorProto(
            values=external("values", "values.data"), indices=external("indices", "indices.data")
        )
        inner = graph_of(external("inner", "inner.data")).graph
        deepest = graph_of(external("deepest", "deepest.data")).graph
        inner.node.append(
            helper.make_node("If", ["c"], ["d"], then_branch=deepest, else_branch=deepest)
        )
        constant = helper.make_node("Constant", [], ["k"], value=external("k", "constant.data"))
        listed = helper.make_node("Mine", [], ["l"], tensors=[external("l", "listed.data")])
        branch = helper.make_node("If", ["c"], ["e"], then_branch=inner, else_branch=inner)
        model = graph_of(external("w", "weight.data"), nodes=[constant, listed, branch])
        model.graph.sparse_initializer.append(sparse)
        function = helper.make_function(
            "mine",
            "f",
            ["x"],
            ["y"],
            [helper.make_node("Constant", [], ["y"], value=external("f", "function.data"))],
            [helper.make_opsetid("", 13)],
        )
        model.functions.append(function)
        names = ("weight", "values", "indices", "inner", "deepest")
        names += ("constant", "listed", "function")
        (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
        header = read_own_header(tmp_path / "model.onnx")
        assert [data.location for data in header.external_data] == sorted(
            f"{name}.data" for name in names
        )

    def test_none_in_a_graph_that_holds_its_weights(self, write_onnx, tmp_path: Path) -> None:
        path = write_onnx(tmp_path / "a.onnx")
        assert read_graph_header(path).external_data == ()

    def test_what_is_named_but_not_used_is_none(self, tmp_path: Path) -> None:
        """A tensor that was taken back into the graph may still say where it lay."""
        tensor = external("w", "w.data")
        tensor.raw_data = WEIGHTS.tobytes()
        tensor.data_location = TensorProto.DEFAULT
        data = graph_of(tensor).SerializeToString()
        assert check_declared_sizes(Message(data), range(len(data))) == ()

    def test_graphs_without_end_inside_each_other_are_refused(self) -> None:
        graph = graph_of(external("w", "w.data")).graph
        for _ in range(20):
            outer = graph_of(external("w", "w.data")).graph
            outer.node.append(helper.make_node("Loop", [], ["y"], body=graph))
            graph = outer
        data = helper.make_model(graph).SerializeToString()
        with pytest.raises(Malformed, match="graphs inside graphs"):
            check_declared_sizes(Message(data), range(len(data)))


class TestReplaced:
    def test_a_model_is_the_content_its_pack_was_read_from(self, tmp_path: Path, aged) -> None:
        path = tmp_path / "a.pt"
        path.write_bytes(b"old")
        model = model_of(path)
        old = content_of(model)
        path.write_bytes(b"new")
        assert is_replaced(model)
        with pytest.raises(ModelReplaced, match=r"a\.pt was replaced since .*load the pack again"):
            content_of(model)
        assert content_of(model_of(path)) != old

    @pytest.mark.parametrize("is_aged", [False, True])
    def test_the_same_content_again_is_the_same_model(
        self, tmp_path: Path, is_aged: bool, request: pytest.FixtureRequest
    ) -> None:
        if is_aged:
            request.getfixturevalue("aged")
        path = tmp_path / "a.pt"
        path.write_bytes(b"weights")
        model = model_of(path)
        content = content_of(model)
        path.unlink()
        path.write_bytes(b"weights")
        os.utime(path, ns=(1, 1))
        assert model_of(path).files != model.files
        assert not is_replaced(model) and content_of(model) == content

    def test_external_data_counts(self, tmp_path: Path, aged) -> None:
        model = model_of(write_external(tmp_path, "w.data"))
        content_of(model)
        write_external(tmp_path, "w.data", seed=1)
        assert is_replaced(model)

    def test_what_nobody_read_before_it_changed_is_another(self, tmp_path: Path, aged) -> None:
        path = tmp_path / "a.pt"
        path.write_bytes(b"old")
        model = model_of(path)
        path.write_bytes(b"new")
        assert is_replaced(model)

    def test_what_another_noted_of_it_counts(self, tmp_path: Path, aged) -> None:
        path = tmp_path / "a.pt"
        path.write_bytes(b"old")
        model = model_of(path)
        path.write_bytes(b"new")
        note_content(model, hashlib.sha256(b"new").hexdigest())
        assert not is_replaced(model)

    def test_a_file_that_is_replaced_while_it_is_hashed_is_another(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "a.pt"
        path.write_bytes(b"old")
        model = model_of(path)
        read = checksums.file_sha256

        def replace_then_read(path: Path) -> str:
            path.write_bytes(b"new weights")
            return read(path)

        monkeypatch.setattr(checksums, "file_sha256", replace_then_read)
        with pytest.raises((ModelReplaced, ModelError)):
            content_of(model)
        monkeypatch.undo()
        assert is_replaced(model)

    def test_what_is_gone_is_not_replaced(self, tmp_path: Path) -> None:
        path = write_external(tmp_path, "w.data")
        model = model_of(path)
        (tmp_path / "w.data").unlink()
        assert not is_replaced(model)
        path.unlink()
        assert not is_replaced(model)
        with pytest.raises(ModelError, match="there is no file"):
            content_of(model)

    @pytest.mark.parametrize("when", ["before", "while"])
    def test_no_other_content_is_opened(self, tmp_path: Path, when: str, aged) -> None:
        path = tmp_path / "a.pt"
        path.write_bytes(b"old")
        model = model_of(path)
        content_of(model)
        if when == "before":
            path.write_bytes(b"new")
        opened: list[bytes] = []
        with pytest.raises(ModelReplaced, match=r"a\.pt was replaced"), unreplaced([model]):
            opened.append(path.read_bytes())
            path.write_bytes(b"new")
        assert opened == ([] if when == "before" else [b"old"])

    def test_what_is_deleted_while_it_is_opened_was_read_before(self, tmp_path: Path) -> None:
        path = tmp_path / "a.pt"
        path.write_bytes(b"weights")
        with unreplaced([model_of(path)]) as (content,):
            path.unlink()
        assert content == hashlib.sha256(b"weights").hexdigest()

    def test_a_declared_hash_is_compared_each_time(self, tmp_path: Path) -> None:
        path = tmp_path / "a.pt"
        path.write_bytes(b"other weights")
        model = replace(model_of(path), sha256=hashlib.sha256(b"weights").hexdigest())
        for _ in range(2):
            with pytest.raises(ModelError, match="its pack declares"), unreplaced([model]):
                pytest.fail("opened")


def test_threads_agree(tmp_path: Path, write_onnx: Callable[..., Path]) -> None:
    path, found = write_onnx(tmp_path / "a.onnx"), []
    threads = [
        threading.Thread(target=lambda: found.append(content_sha256(path))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1
