"""One table says whose weights each pack holds; what shows licences is made of it."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import fastface
from fastface.backends.registry import all_backends
from fastface.nodes.loader import FastFaceLoader
from fastface.pipeline.choices import AUTO
from fastface.pipeline.pack_choice import backend_packs, pack_names
from fastface.utils.packs.known import KNOWN_PACKS
from fastface.utils.packs.licences import (
    INSIGHTFACE,
    PACK_LICENCES,
    commercial_packs,
    licence_table,
)
from tools.licences import DOCUMENTS, with_table

ROOT = Path(inspect.getfile(fastface)).parent


def test_every_pack_that_can_be_had_by_its_name_has_a_row() -> None:
    own = [pack.name for backend in all_backends().values() for pack in backend.packs()]
    assert {*KNOWN_PACKS, *own} <= set(PACK_LICENCES)
    assert set(PACK_LICENCES) - set(KNOWN_PACKS) == {
        "facenet-mtcnn",
        "facenet-vggface2",
        "facenet-casia-webface",
    }
    assert set(pack_names()) >= {AUTO, *KNOWN_PACKS}


@pytest.mark.parametrize("row", PACK_LICENCES.values(), ids=PACK_LICENCES)
def test_a_row_says_all(row) -> None:
    assert row.pack and row.publishers
    for publisher in row.publishers:
        assert publisher.name and publisher.licence and publisher.url.startswith("https://")
        assert ("non-commercial" in publisher.terms) == (not publisher.commercial)
    assert ("commercial use: no" in row.terms) == (not row.commercial)


def test_insightfaces_are_for_research_alone() -> None:
    of_insightface = {name for name, row in PACK_LICENCES.items() if INSIGHTFACE in row.publishers}
    assert {"antelopev2", "buffalo_l", "raccoon_l"} <= of_insightface
    assert not of_insightface & set(commercial_packs())


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_show_the_table(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    table = licence_table(narrow=DOCUMENTS[document])
    assert text == with_table(text, table), "run `python -m tools.licences`"


def test_the_loader_shows_it() -> None:
    inputs = FastFaceLoader.INPUT_TYPES()["required"]
    pack_tooltip = inputs["model_pack"][1]["tooltip"]
    download_tooltip = inputs["download_missing"][1]["tooltip"]
    for name, row in PACK_LICENCES.items():
        assert (name in pack_tooltip.partition("commercial use")[2]) == row.commercial
        assert (name in download_tooltip) == (not row.commercial)
    shown = set(inputs["model_pack"][1]["non_commercial"])
    assert shown <= set(PACK_LICENCES) - set(commercial_packs())


def test_packs_of_backends_carry_it() -> None:
    for name, pack in backend_packs().items():
        assert pack.licence == PACK_LICENCES[name].terms


@pytest.mark.parametrize("pack", KNOWN_PACKS.values(), ids=KNOWN_PACKS)
def test_known_packs_carry_it(pack) -> None:
    assert pack.licence == PACK_LICENCES[pack.name].terms
