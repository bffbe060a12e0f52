"""Writers of a gallery, killed (SIGKILL) at random moments: nothing lost, nothing half there.

    python -m tests.utils.gallery.killed_writers --kills 200 --seed 1

A writer adds people one after the other and says so after each. It is killed; then the gallery must
hold everybody who was said to be there, and at most one more, whole.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

if __name__ == "__main__":
    from install import import_pack

    import_pack("fastface")

import torch

from fastface.utils.gallery.contents import Gallery, with_added, with_deleted
from fastface.utils.gallery.gallery_store import GalleryStore
from tests.utils.gallery.people import SPACE, person, vectors_of

#: A writer is killed within this time, in seconds: some dozens of changes.
_LONGEST_SECONDS = 0.25
#: Every so many changes somebody is deleted again.
_DELETED_EVERY = 7


def write_until_killed(store: GalleryStore, first: int, told: int) -> None:
    """Adds people from a number on, and writes each number into a pipe once it is done."""
    for number in range(first, first + 100_000):
        store.change(lambda old, n=number: with_added(old, [person(n)], SPACE))
        os.write(told, number.to_bytes(8, "little"))
        if number % _DELETED_EVERY == 0:
            store.change(lambda old, n=number: with_deleted(old, f"person {n}"))
            os.write(told, (-number - 1).to_bytes(8, "little", signed=True))


def killed_once(store: GalleryStore, first: int, seconds: float) -> list[int]:
    """What a writer said that it did before it was killed: numbers added, `-n - 1` deleted."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(read)
            write_until_killed(store, first, write)
        finally:
            os._exit(1)
    os.close(write)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    parts = [said[start : start + 8] for start in range(0, len(said), 8)]
    return [int.from_bytes(part, "little", signed=True) for part in parts]


def run(folder: Path, kills: int, seed: int) -> int:
    """Kills so many writers of one gallery, one after the other; gives the changes they made.

    Raises:
        AssertionError: Somebody is lost, or half there.
    """
    store, chance = GalleryStore(folder), random.Random(seed)
    known: set[int] = set()
    changes = first = 0
    for _ in range(kills):
        said = killed_once(store, first, chance.uniform(0, _LONGEST_SECONDS))
        changes += len(said)
        for number in said:
            if number >= 0:
                known.add(number)
                first = number + 1
            else:
                known.discard(-number - 1)
        gallery = store.read() if store.exists() else Gallery()
        there = {int(name.removeprefix("person ")) for name in gallery.names}
        unsaid = there ^ known
        assert len(unsaid) <= 1, f"{unsaid} are there or missing after one kill"
        for identity in gallery.identities:
            number = int(identity.name.removeprefix("person "))
            assert torch.equal(gallery.of(identity), vectors_of(number))
        known = there
        first = max([first, *(number + 1 for number in there)])
    return changes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(2**31))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        changes = run(Path(folder) / "gallery", options.kills, options.seed)
    sys.stdout.write(
        f"seed {options.seed}: {options.kills} kills, {changes} changes, nobody lost or half\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
