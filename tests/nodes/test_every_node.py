"""What holds for every node, found by walking the registry: a new node is tested by existing."""

from __future__ import annotations

import inspect
import logging
import re
from pathlib import Path

import pytest

import fastface
from fastface import nodes

ROOT = Path(inspect.getfile(fastface)).parent
NODES = sorted(nodes.NODE_CLASS_MAPPINGS.items())
IDS = [node_id for node_id, _ in NODES]


def inputs_of(node: type) -> dict[str, tuple]:
    declared = node.INPUT_TYPES()
    assert set(declared) <= {"required", "optional", "hidden"}
    return declared.get("required", {}) | declared.get("optional", {})


def help_page(node_id: str) -> str:
    page = ROOT / fastface.WEB_DIRECTORY / "docs" / f"{node_id}.md"
    assert page.is_file(), (
        f"write web/docs/{node_id}.md: the node's display name as its title, then Inputs, Outputs, "
        "Tips and Example; another node's shows how"
    )
    return page.read_text(encoding="utf-8")


def test_the_nodes_of_the_design_are_there():
    assert {
        *("FastFaceLoader", "FastFaceDetect", "FastFaceEmbed", "FastFaceKeypoints"),
        *("FastFaceSelect", "FastFaceGate", "FastFaceCrop", "FastFacePaste", "FastFaceCompare"),
    } <= set(IDS)
    assert set(nodes.NODE_DISPLAY_NAME_MAPPINGS) == set(IDS)


def test_no_file_forgets_to_name_its_nodes():
    silent = [
        file.name
        for file in sorted((ROOT / "nodes").glob("*.py"))
        if re.search(r"^    FUNCTION = ", text := file.read_text(encoding="utf-8"), re.MULTILINE)
        and not re.search(r"^NODES\b", text, re.MULTILINE)
    ]
    assert not silent, f"end each of {silent} with `NODES = {{id: class}}`, by which it is found"


@pytest.mark.parametrize(
    "words",
    ["insightface", "face detect", "ArcFace", "InstantID face analysis", "retinaface", "embedding"],
)
def test_what_people_search_for_finds_a_node(words: str):
    found = [
        node_id
        for node_id, node in NODES
        if any(words.lower() in alias.lower() for alias in node.SEARCH_ALIASES)
    ]
    assert found


@pytest.mark.parametrize("node_id, node", NODES, ids=IDS)
class TestEveryNode:
    def test_is_described(self, node_id: str, node: type):
        # web/js/node_text.js knows our nodes by it.
        assert node_id.startswith("FastFace"), "ids begin with FastFace"
        assert node.CATEGORY == "FastFace", "CATEGORY is that of nodes/sockets.py"
        assert node.DISPLAY_NAME.startswith("FastFace "), "display names begin with `FastFace `"
        assert node.DESCRIPTION.endswith("."), "DESCRIPTION is a sentence, with its full stop"
        assert len(node.RETURN_TYPES) == len(node.RETURN_NAMES) == len(node.OUTPUT_TOOLTIPS)
        assert all(each.endswith(".") for each in node.OUTPUT_TOOLTIPS), "tooltips are sentences"

    def test_is_found_by_other_words(self, node_id: str, node: type):
        aliases = node.SEARCH_ALIASES
        assert len(aliases) >= 2, "give SEARCH_ALIASES two or more words that people search for"
        assert len(set(aliases)) == len(aliases)
        assert all(isinstance(alias, str) and alias.strip() == alias for alias in aliases)

    def test_every_input_has_a_tooltip_and_a_sensible_range(self, node_id: str, node: type):
        for name, (kind, options) in inputs_of(node).items():
            tooltip = options.get("tooltip", "")
            assert tooltip.endswith("."), f"give {name} a tooltip, a sentence with its full stop"
            if isinstance(kind, list):
                assert kind and options.get("default", kind[0]) in kind, name
            elif kind in ("INT", "FLOAT"):
                missing = {"min", "default", "max", "step"} - options.keys()
                assert not missing, f"give {name}, {kind}, its {sorted(missing)}"
                assert options["min"] <= options["default"] <= options["max"], name
                assert options["step"] > 0, name

    def test_the_function_takes_what_is_declared(self, node_id: str, node: type):
        taken = inspect.signature(getattr(node, node.FUNCTION)).parameters
        declared = node.INPUT_TYPES()
        assert set(taken) - {"self"} == set(inputs_of(node)) | set(declared.get("hidden", {}))
        for name in (*declared.get("optional", {}), *declared.get("hidden", {})):
            assert taken[name].default is None, name

    def test_has_a_help_page_that_names_every_input_and_output(self, node_id: str, node: type):
        text = help_page(node_id)
        title = f"# {node.DISPLAY_NAME}\n"
        assert text.startswith(title), f"web/docs/{node_id}.md begins with {title!r}"
        unnamed = [
            each for each in (*inputs_of(node), *node.RETURN_NAMES) if f"`{each}`" not in text
        ]
        assert not unnamed, f"explain {unnamed} in web/docs/{node_id}.md, in backticks"

    def test_tables_of_its_help_page_fit_a_narrow_panel(self, node_id: str, node: type):
        # ComfyUI's help is 306 pixels wide.
        before: int | None = None
        for line in help_page(node_id).splitlines():
            columns = len(re.findall(r"(?<!\\)\|", line)) - 1 if line.startswith("|") else None
            if columns is not None:
                assert columns <= 2, line
                assert before in (None, columns), line
                if before is None:
                    assert line.startswith(("| name |", "| `")) is line.startswith("| name |"), line
            before = columns


class TestDiscovery:
    @pytest.fixture
    def package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        folder = tmp_path / f"nodes_of_{tmp_path.name}"  # Python remembers packages by name
        folder.mkdir()
        (folder / "__init__.py").write_text("")
        monkeypatch.syspath_prepend(str(tmp_path))
        return folder

    def test_nothing_there(self, package: Path):
        assert nodes.discover(package.name, [str(package)]) == {}

    def test_a_broken_module_hides_no_other(self, package: Path, caplog):
        (package / "a_broken.py").write_text("raise ZeroDivisionError('broken on purpose')")
        (package / "b_works.py").write_text("class Works: ...\nNODES = {'Works': Works}")
        (package / "c_no_node.py").write_text("")
        with caplog.at_level(logging.ERROR, "FastFace"):
            found = nodes.discover(package.name, [str(package)])
        assert list(found) == ["Works"]
        (record,) = caplog.records
        assert "a_broken.py" in record.getMessage() and record.exc_info
        assert "broken on purpose" in str(record.exc_info[1])

    def test_two_nodes_of_one_id(self, package: Path, caplog):
        for name in ("a", "b"):
            (package / f"{name}.py").write_text(f"class {name}: ...\nNODES = {{'Same': {name}}}")
        with caplog.at_level(logging.ERROR, "FastFace"):
            found = nodes.discover(package.name, [str(package)])
        assert found["Same"].__name__ == "a"
        assert "two nodes are called Same" in caplog.text
