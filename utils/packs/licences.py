"""Whose weights each pack holds and what they may be used for: the one table of it.

What the loader shows, what `info` says of weights that are known by their content, and the tables
of README and help pages are made of it (`python -m tools.licences` writes them).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Publisher:
    """Who released weights, and on which terms.

    Attributes:
        name: Of the authors, and of the release where there are several.
        url: Where the files and their terms are.
        licence: What the authors call their licence.
        commercial: Whether that licence allows commercial use.
        remark: What else to know of the terms; empty where there is nothing.
    """

    name: str
    url: str
    licence: str
    commercial: bool
    remark: str = ""

    @property
    def terms(self) -> str:
        """Licence, commercial use and remark in one line."""
        remark = f"; {self.remark}" if self.remark else ""
        return f"{self.licence} (commercial use: {_yes(self.commercial)}{remark})"


@dataclass(frozen=True)
class PackLicence:
    """One row of the table.

    Attributes:
        pack: Name of a pack that can be had by its name.
        publishers: Of its files, the detector's first.
    """

    pack: str
    publishers: tuple[Publisher, ...]

    @property
    def commercial(self) -> bool:
        """Whether the licences of all its files allow commercial use."""
        return all(publisher.commercial for publisher in self.publishers)

    @property
    def authors(self) -> str:
        """Names of the publishers."""
        return self._listed(lambda publisher: publisher.name)

    @property
    def terms(self) -> str:
        """What the files may be used for, in one line."""
        if len(self.publishers) == 1:
            return self.publishers[0].terms
        return self._listed(lambda publisher: f"{publisher.name}: {publisher.terms}")

    def _listed(self, text: Callable[[Publisher], str]) -> str:
        return "; ".join(dict.fromkeys(map(text, self.publishers)))


INSIGHTFACE = Publisher(
    name="InsightFace",
    url="https://github.com/deepinsight/insightface",
    licence="non-commercial research only",
    commercial=False,
    remark="for other uses ask InsightFace for a licence",
)
AURAFACE = Publisher(
    name="AuraFace v1 by fal",
    url="https://huggingface.co/fal/AuraFace-v1",
    licence="Apache-2.0",
    commercial=True,
)
YUNET = Publisher(
    name="YuNet by Shiqi Yu, OpenCV Zoo",
    url="https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet",
    licence="MIT",
    commercial=True,
)
SFACE = Publisher(
    name="SFace by Yaoyao Zhong, OpenCV Zoo",
    url="https://github.com/opencv/opencv_zoo/tree/main/models/face_recognition_sface",
    licence="Apache-2.0",
    commercial=True,
)
FACENET_MTCNN = Publisher(
    name="facenet-pytorch",
    url="https://github.com/timesler/facenet-pytorch",
    licence="MIT",
    commercial=True,
)
FACENET_VGGFACE2 = Publisher(
    name="facenet-pytorch",
    url="https://github.com/timesler/facenet-pytorch",
    licence="MIT",
    commercial=False,
    remark="trained on VGGFace2, a data set for non-commercial research: ask its authors before "
    "other uses",
)
FACENET_CASIA_WEBFACE = Publisher(
    name="facenet-pytorch",
    url="https://github.com/timesler/facenet-pytorch",
    licence="MIT",
    commercial=False,
    remark="trained on CASIA-WebFace, a data set for non-commercial research: ask its authors "
    "before other uses",
)

_TABLE = (
    *(
        PackLicence(pack, (INSIGHTFACE,))
        for pack in (
            "antelopev2",
            "buffalo_l",
            "buffalo_m",
            "buffalo_s",
            "buffalo_sc",
            "raccoon_s",
            "raccoon_l",
        )
    ),
    PackLicence("yunet-sface", (YUNET, SFACE)),
    PackLicence("auraface", (YUNET, AURAFACE)),
    PackLicence("facenet-mtcnn", (FACENET_MTCNN,)),
    PackLicence("facenet-vggface2", (FACENET_VGGFACE2,)),
    PackLicence("facenet-casia-webface", (FACENET_CASIA_WEBFACE,)),
)

#: Name of each pack that can be had by its name -> its row.
PACK_LICENCES: Mapping[str, PackLicence] = MappingProxyType({row.pack: row for row in _TABLE})


def commercial_packs() -> list[str]:
    """Names of the packs whose licences allow commercial use."""
    return [row.pack for row in PACK_LICENCES.values() if row.commercial]


def non_commercial_notice() -> str:
    """One sentence on the packs whose licences allow no commercial use."""
    names = [row.pack for row in PACK_LICENCES.values() if not row.commercial]
    return f"Not for commercial use: {', '.join(names)}."


def licence_table(*, narrow: bool = False) -> str:
    """The table as Markdown, with packs of the same terms in one row.

    Args:
        narrow: In two columns, for ComfyUI's help, which is 306 pixels wide.
    """
    rows: dict[tuple[Publisher, ...], list[str]] = {}
    for row in PACK_LICENCES.values():
        rows.setdefault(row.publishers, []).append(f"`{row.pack}`")
    if narrow:
        lines = ["| packs | whose, and on which terms |", "| --- | --- |"]
        for publishers, packs in rows.items():
            terms = _joined(f"{p.name}: {p.terms}, <{p.url}>" for p in publishers)
            lines.append(f"| {', '.join(packs)} | {terms} |")
        return "\n".join(lines)
    lines = [
        "| pack | authors | licence | commercial use | source |",
        "| --- | --- | --- | --- | --- |",
    ]
    for publishers, packs in rows.items():
        row = PackLicence("", publishers)
        licences = _joined(f"{p.licence}{f'; {p.remark}' if p.remark else ''}" for p in publishers)
        sources = _joined(f"<{p.url}>" for p in publishers)
        cells = (", ".join(packs), _joined(p.name for p in publishers), licences)
        lines.append(f"| {' | '.join(cells)} | {_yes(row.commercial)} | {sources} |")
    return "\n".join(lines)


def _joined(texts: Iterable[str]) -> str:
    return "<br>".join(dict.fromkeys(texts))


def _yes(value: bool) -> str:
    return "yes" if value else "no"
