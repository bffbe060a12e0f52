"""Downloads files and known packs: verified, and put in place in one step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from ..errors import DownloadError, ModelError
from ..locks import left_locked
from .archive import move_into, remove_leftovers, unpack_zip
from .disk import disk_errors, exclusive, file_sha256, lock_file
from .transfer import Progress, Transfer

logger = logging.getLogger("FastFace")

TIMEOUT_SECONDS = 30.0
#: Weights hardly compress: a zip of them unpacks to at most about this multiple of its size.
UNPACKED_RATIO = 1.25


class DownloadablePack(Protocol):
    """What a download needs to know of a pack.

    `files` maps file names to their sha256 or None, `urls` to their addresses; without these all
    are in the zip at `url`, whose hash is `sha256`.
    """

    @property
    def name(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def sha256(self) -> str | None: ...
    @property
    def licence(self) -> str: ...
    @property
    def size_mb(self) -> float | None: ...
    @property
    def files(self) -> Mapping[str, str | None]: ...
    @property
    def urls(self) -> Mapping[str, str]: ...


def download_file(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    on_progress: Progress | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Path:
    """Downloads a file, or goes on with a download that broke off.

    What arrived lies in `<name>.part` beside the target until it is whole and verified. A target
    that is already there, say put there by hand, is verified and kept. Proxies are taken from the
    environment.

    Args:
        url: http or https address.
        target: File to make; missing folders are made too.
        sha256: Expected hash in hexadecimal, where known.
        on_progress: Gets `(done_bytes, total_bytes)` for every block, with total 0 while unknown,
            and while another process downloads the same file. What it raises ends the download and
            comes out unchanged; the next call goes on from there.
        timeout_seconds: Longest silence of the server.

    Returns:
        `target`.

    Raises:
        InvalidInput: The address is neither http nor https.
        DownloadError: Unreachable, refused, broken off again and again, not the expected content,
            or the disk is full or can't be written.
    """
    transfer = Transfer(url, target, on_progress or _unreported, timeout_seconds)
    with disk_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(target, transfer.report_waiting):
        _obtain(transfer, sha256)
    return target


def download_pack(
    known: DownloadablePack,
    models_root: Path,
    on_progress: Progress | None = None,
    notify: Callable[[str], None] | None = None,
) -> Path:
    """Downloads a known pack that the user chose, and unpacks it where it is a zip.

    What is already in `models_root` is used instead: a zip under the name `<pack>.zip`, single
    files under `<pack>.<file>`. It is removed once its content is in place.

    Args:
        known: The pack.
        models_root: Folder with one folder a pack; made if missing.
        on_progress: As in `download_file`.
        notify: Gets the licence notice, which also goes to the log, before the first byte.

    Returns:
        The pack's folder.

    Raises:
        DownloadError: As `download_file`.
        ModelError: The zip, or a file already in the pack's folder, is not the released one.
    """
    folder = models_root / known.name
    archive = models_root / f"{known.name}.zip"
    with disk_errors(models_root):
        models_root.mkdir(parents=True, exist_ok=True)
    if known.urls:
        return _download_files(known, models_root, on_progress or _unreported, notify)
    transfer = Transfer(
        known.url, archive, on_progress or _unreported, TIMEOUT_SECONDS, UNPACKED_RATIO
    )
    with exclusive(archive, transfer.report_waiting):
        remove_leftovers(folder)
        if known.files and not _missing_files(known, folder):
            with disk_errors(models_root):
                archive.unlink(missing_ok=True)
                transfer.discard_useless()
            return folder
        put_by_hand = archive.exists()
        if not put_by_hand:
            _show_notice(known, folder, notify)
        _obtain(transfer, known.sha256)
        try:
            unpack_zip(archive, folder, expected_sha256=known.files)
        except ModelError:
            if not put_by_hand:  # kept, it would fail every later try too
                archive.unlink()
            raise
        with disk_errors(models_root):
            archive.unlink()
    return folder


def _download_files(
    known: DownloadablePack,
    models_root: Path,
    on_progress: Progress,
    notify: Callable[[str], None] | None,
) -> Path:
    """`download_pack` of a pack whose files are to be had one by one.

    The folder gets them when all are there and verified: a pack is never half there.
    """
    folder = models_root / known.name
    transfers = _transfers(known, models_root, on_progress)
    first = next(iter(transfers.values()))
    with exclusive(folder, first.report_waiting):
        missing = _missing_files(known, folder)
        if missing:
            _show_notice(known, folder, notify)
            whole = {name: _whole(transfers[name], known.files[name]) for name in missing}
            move_into(folder, whole)
        with disk_errors(models_root):
            for transfer in transfers.values():
                transfer.discard()
                transfer.target.unlink(missing_ok=True)
    return folder


def _transfers(
    known: DownloadablePack, models_root: Path, on_progress: Progress
) -> dict[str, Transfer]:
    return {
        name: Transfer(url, models_root / f"{known.name}.{name}", on_progress, TIMEOUT_SECONDS)
        for name, url in known.urls.items()
    }


def clear_killed_download(known: DownloadablePack, models_root: Path) -> None:
    """Removes what a killed `download_pack` left that the next one could not go on from.

    Costs a look at one name where nothing was left.
    """
    folder = models_root / known.name
    archive = models_root / f"{known.name}.zip"
    with left_locked(lock_file(folder if known.urls else archive)) as left:
        if not left:
            return
        if known.urls:
            is_there = all((folder / name).exists() for name in known.files)
            for transfer in _transfers(known, models_root, _unreported).values():
                transfer.discard() if is_there else transfer.discard_useless()
            return
        remove_leftovers(folder)
        if known.files and all((folder / name).exists() for name in known.files):
            with disk_errors(models_root):
                archive.unlink(missing_ok=True)  # its content is in place
        Transfer(known.url, archive, _unreported, TIMEOUT_SECONDS).discard_useless()


def clear_killed_file(url: str, target: Path) -> None:
    """The same for a killed `download_file`."""
    with left_locked(lock_file(target)) as left:
        if left:
            Transfer(url, target, _unreported, TIMEOUT_SECONDS).discard_useless()


def _unreported(done_bytes: int, total_bytes: int) -> None:
    """Progress that nobody asked for."""


def _obtain(transfer: Transfer, sha256: str | None) -> None:
    """Leaves the verified file at the target, downloaded if it isn't there."""
    if _whole(transfer, sha256) != transfer.target:
        transfer.put_in_place()


def _whole(transfer: Transfer, sha256: str | None) -> Path:
    """The verified file: the target, if it is there already, or the part, downloaded."""
    target = transfer.target
    if target.exists():
        transfer.discard_useless()
        if got := _wrong_hash(target, sha256):
            raise DownloadError(
                f"{target} has the sha256 {got}, expected {sha256}; delete it and run again"
            )
        return target
    transfer.complete_part()
    if got := _wrong_hash(transfer.part, sha256):
        transfer.discard()
        raise transfer.error(
            f"what arrived has the sha256 {got}, expected {sha256}, and was deleted; run again, "
            "and if the hash stays wrong, the file on the server is not the released one"
        )
    return transfer.part


def _wrong_hash(path: Path, expected: str | None) -> str | None:
    """The hash of the file if another one is expected, else None."""
    if expected is None or (got := file_sha256(path)) == expected.lower():
        return None
    return got


def _missing_files(known: DownloadablePack, folder: Path) -> list[str]:
    """Names of the pack's files that are not in the folder; a foreign file there is refused."""
    missing = []
    for name, expected in known.files.items():
        path = folder / name
        if not path.exists():
            missing.append(name)
        elif got := _wrong_hash(path, expected):
            raise ModelError(
                f"{path} is not the released file of {known.name}: it has the sha256 {got}, "
                f"expected {expected}; move it away or delete it, then choose the pack again"
            )
    return missing


def _show_notice(
    known: DownloadablePack, folder: Path, notify: Callable[[str], None] | None
) -> None:
    size = f" ({known.size_mb:,.0f} MB)" if known.size_mb else ""
    notice = (
        f"downloading {known.name}{size} from {known.url or ', '.join(known.urls.values())} to "
        f"{folder}; "
        f"licence of these weights: {known.licence}"
    )
    logger.info(notice)
    if notify:
        notify(notice)
