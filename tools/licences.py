"""Writes the table of licences into the documents that show it: `python -m tools.licences`.

It stands between two comments that name it; `tests/utils/packs/test_licences.py` compares.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: Documents with the table, relative to the root -> whether theirs has two columns.
DOCUMENTS = {"README.md": False, "web/docs/FastFaceLoader.md": True}
BEGIN = "<!-- licences: made by python -m tools.licences -->"
END = "<!-- licences: end -->"


def with_table(text: str, table: str) -> str:
    """A document with the table between its two comments.

    Raises:
        ValueError: The comments are not in it, once each.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"expected {BEGIN} and then {END} in the document")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def main() -> None:
    sys.path.insert(0, str(ROOT))
    from install import import_pack

    import_pack("fastface")
    from fastface.utils.packs.licences import licence_table

    for name, narrow in DOCUMENTS.items():
        path = ROOT / name
        text = with_table(path.read_text(encoding="utf-8"), licence_table(narrow=narrow))
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
