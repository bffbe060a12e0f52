"""The people of an album as one page of HTML that needs no other file."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from html import escape
from pathlib import Path
from urllib.parse import quote

from ...utils.files import write_whole
from ...utils.pictures import USE_OUTPUT
from ...utils.text import one_line
from .album import THUMBNAIL_PX, Album
from .album_people import AlbumPeople, AlbumPerson
from .reading import OTHER_FILE

#: What is shown at most: faces of a person, people, files that were left out, who was seen once.
_MOST_FACES, _MOST_PEOPLE, _MOST_LEFT_OUT, _MOST_ONCE = 10, 400, 500, 600

_STYLE = f"""
:root {{ color-scheme: light dark; --line: #8884; --soft: #888; }}
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 1140px; padding: 24px; }}
h1 {{ font-size: 24px; margin: 0; overflow-wrap: anywhere; }}
h2 {{ font-size: 18px; margin: 36px 0 8px; }}
p, summary, td {{ color: var(--soft); }}
section {{ border-top: 1px solid var(--line); display: flex; gap: 20px; padding: 12px 0; }}
section > div:first-child {{ flex: 0 0 170px; }}
section b {{ display: block; overflow-wrap: anywhere; }}
section span {{ color: var(--soft); font-size: 13px; }}
.faces {{ display: flex; flex-wrap: wrap; gap: 6px; align-items: center; }}
.faces img {{ border-radius: 6px; display: block; height: {THUMBNAIL_PX}px;
  width: {THUMBNAIL_PX}px; }}
.once img {{ height: 64px; width: 64px; }}
table {{ border-collapse: collapse; font-size: 13px; width: 100%; }}
td {{ border-top: 1px solid var(--line); overflow-wrap: anywhere; padding: 4px 12px 4px 0;
  vertical-align: top; width: 50%; }}
a:focus-visible img {{ outline: 3px solid; }}
@media (max-width: 640px) {{ section {{ display: block; }} .faces {{ margin-top: 8px; }} }}
"""


def write_sheet(path: Path, album: Album, people: AlbumPeople) -> None:
    """Writes the page, whole or not at all.

    Faces link to the files they are from, as they lie beside the page now.

    Args:
        path: Of the page.
        album: What was found.
        people: Who the faces are.

    Raises:
        FileError: It can't be written.
    """
    content = "".join(_page(path.parent, album, people))
    write_whole(path, content.encode("utf-8"), USE_OUTPUT)


def _page(folder: Path, album: Album, people: AlbumPeople) -> Iterator[str]:
    title = escape(one_line(album.root.name or str(album.root)))
    several = [person for person in people.people if len(person.faces) > 1 or person.name]
    # One film has many faces of somebody who is in no other file.
    several.sort(key=lambda person: (-person.files, -len(person.faces), person.number))
    once = [person for person in people.people if len(person.faces) == 1 and not person.name]
    shown, shown_once = several[:_MOST_PEOPLE], once[:_MOST_ONCE]
    pictures = _pictures(folder, album, people, [*shown, *shown_once])
    left_out = [
        (record.path, record.problem)
        for record in album.records()
        if record.problem and record.problem != OTHER_FILE
    ]
    yield "<!DOCTYPE html>\n<html lang='en'>\n<head><meta charset='utf-8'>"
    yield "<meta name='viewport' content='width=device-width'>"
    yield f"<title>People of {title}</title><style>{_STYLE}</style></head>\n<body>\n"
    yield f"<h1>People of {title}</h1>\n<p>{_counts(album, people, several, once)}</p>\n"
    for person in shown:
        yield _person(person, pictures)
    if len(several) > len(shown):
        yield f"<p>and {len(several) - len(shown):,} people with fewer faces.</p>\n"
    if once:
        yield f"<h2>Seen once</h2>\n<p>{len(once):,} faces like nobody else's.</p>\n"
        faces = "".join(pictures.get(person.faces[0], "") for person in shown_once)
        yield f"<div class='faces once'>{faces}{_more(len(once) - len(shown_once))}</div>\n"
    if left_out:
        yield f"<h2>Left out</h2>\n<details><summary>{len(left_out):,} files could not be analysed"
        yield "</summary><table>\n"
        for name, why in left_out[:_MOST_LEFT_OUT]:
            yield f"<tr><td>{escape(one_line(name))}</td><td>{escape(one_line(why))}</td></tr>\n"
        yield "</table>"
        if len(left_out) > _MOST_LEFT_OUT:
            yield f"<p>and {len(left_out) - _MOST_LEFT_OUT:,} more: album.json has all.</p>"
        yield "</details>\n"
    yield "</body>\n</html>\n"


def _counts(
    album: Album, people: AlbumPeople, several: list[AlbumPerson], once: list[AlbumPerson]
) -> str:
    told = f"{album.faces:,} faces in {len(album.files):,} files: {len(several):,} people"
    if once:
        told += f", {len(once):,} faces seen once"
    if people.unclear:
        told += f", {people.unclear:,} too small, turned away or uncertain to tell who it is"
    return told + "."


def _person(person: AlbumPerson, pictures: dict[int, str]) -> str:
    name = escape(one_line(person.name)) if person.name else f"Person {person.number}"
    faces, files = len(person.faces), person.files
    counted = f"{faces:,} face{'s' * (faces != 1)} in {files:,} file{'s' * (files != 1)}"
    shown = [pictures[row] for row in person.faces[:_MOST_FACES] if row in pictures]
    return (
        f"<section><div><b>{name}</b><span>{counted}</span></div>"
        f"<div class='faces'>{''.join(shown)}{_more(faces - len(shown))}</div></section>\n"
    )


def _more(count: int) -> str:
    return f"<span>+ {count:,}</span>" if count > 0 else ""


def _pictures(
    folder: Path, album: Album, people: AlbumPeople, shown: list[AlbumPerson]
) -> dict[int, str]:
    """The thumbnails that are shown, by the face's row, as links to their files."""
    wanted = {row for person in shown for row in person.faces[:_MOST_FACES]}
    found: dict[int, str] = {}
    for record in album.records():
        first = people.first_row(record)
        for face, thumbnail in enumerate(record.thumbnails):
            if first + face not in wanted or not thumbnail:
                continue
            # A name may begin as another scheme than a file's does.
            file = os.path.relpath(album.root / record.path, folder)
            link = "./" + quote(os.fsencode(file.replace(os.sep, "/")))
            label = escape(one_line(record.path))
            if record.frames:
                image = record.faces.images_of_faces()[face]
                label += f" at {record.times[image]:.1f} s"
            data = base64.b64encode(thumbnail).decode()
            found[first + face] = (
                f'<a href="{link}" title="{label}"><img alt="{label}" loading=\'lazy\' '
                f"src='data:image/jpeg;base64,{data}'></a>"
            )
    return found
