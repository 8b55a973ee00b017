"""Download published weights once, and check that they stay the same.

An interrupted download is resumed if the server confirms that the file has not changed. A file
appears in the cache only when it is complete. No checksums were published for these files, so the
checksum of the first download is written next to the file and must match from then on.
"""

from __future__ import annotations

import fcntl
import http.client
import logging
import os
import urllib.error
import urllib.request
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from typing import BinaryIO

from vad.errors import UsageError
from vad.files import cache_folder, sha256_of, write_text
from vad.terminal import meter

from ..backbones.table import KnownWeights

TIMEOUT_S = 30.0
CHUNK_BYTES = 1 << 20
NOTHING_LEFT = 416  # HTTP status if the requested range begins at or behind the file's end

log = logging.getLogger("vad")


def weights_folder(cache: Path | None = None) -> Path:
    """Return the folder of downloads: CACHE/weights, by default in $VAD_CACHE or the user's
    cache.
    """
    return (cache or cache_folder()) / "weights"


def place_of(known: KnownWeights, cache: Path | None = None) -> Path:
    """Return the path that the file of known weights has once it is downloaded."""
    return weights_folder(cache) / known.source.rpartition("/")[2]


def fetch(
    known: KnownWeights, *, offline: bool = False, cache: Path | None = None, quiet: bool = True
) -> Path:
    """Return the file of known weights, and download it first if it is not there.

    Raises UsageError if it cannot be downloaded, or differs from the first download.
    """
    path = place_of(known, cache)
    if not path.exists():
        if offline:
            raise UsageError(
                f"the weights {known.name!r} are not at {path} and no connection may be opened",
                hint=f"fetch {known.source} elsewhere and put it there",
            )
        log.info("downloading %s (licence: %s)", known.source, known.licence)
        _download(known.source, path, quiet=quiet)
    _recognise(path)
    return path


def _download(address: str, path: Path, *, quiet: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("ab") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)  # wait for another process that downloads it
            if not path.exists():
                _receive(address, file, part, quiet=quiet)
                os.fsync(file.fileno())
                part.replace(path)
    except (OSError, http.client.HTTPException) as error:
        raise UsageError(
            f"could not download {address}: {error}",
            hint=f"try again, or fetch it elsewhere and put it at {path}",
        ) from error
    finally:
        if part.exists() and (path.exists() or part.stat().st_size == 0):
            part.unlink()


def _receive(address: str, file: BinaryIO, part: Path, *, quiet: bool) -> None:
    """Download into `file`. Its present content is kept if the server still has the same
    version.

    The modification time of a partial file is that of the server's version. The request asks for
    the rest only under the condition that this version is still the current one.
    """
    request = urllib.request.Request(address)
    if file.tell():
        request.add_header("Range", f"bytes={file.tell()}-")
        request.add_header("If-Range", formatdate(part.stat().st_mtime, usegmt=True))
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != NOTHING_LEFT:
            raise
        error.close()  # the part may be complete or wrong: start again
        file.truncate(0)
        response = urllib.request.urlopen(address, timeout=TIMEOUT_S)
    with response:
        if response.status != http.client.PARTIAL_CONTENT:
            file.truncate(0)
        start = file.seek(0, os.SEEK_END)
        length = response.headers.get("Content-Length")
        expected = start + int(length) if length else None
        try:
            _copy(response, file, start, expected, quiet=quiet)
        except BaseException:
            _date(file, part, response.headers.get("Last-Modified"))
            raise


def _copy(
    response: http.client.HTTPResponse,
    file: BinaryIO,
    start: int,
    expected: int | None,
    *,
    quiet: bool,
) -> None:
    total = (expected or 0) // CHUNK_BYTES
    with meter("download", total, unit="MB", quiet=quiet) as progress:
        progress.advance(start // CHUNK_BYTES)
        while chunk := response.read(CHUNK_BYTES):
            file.write(chunk)
            progress.advance(len(chunk) // CHUNK_BYTES)
    if expected is not None and file.tell() != expected:
        raise OSError(f"the connection ended after {file.tell()} of {expected} bytes")


def _date(file: BinaryIO, part: Path, modified: str | None) -> None:
    """Set the modification time of a partial file to that of the server's version. If the server
    gave none, empty the file, as the download cannot be resumed.
    """
    if modified is None:
        file.truncate(0)
    file.flush()
    if modified is not None:
        time_s = parsedate_to_datetime(modified).timestamp()
        os.utime(part, (time_s, time_s))


def _recognise(path: Path) -> None:
    """Compare a file with its stored checksum, or store its checksum if there is none. Raises
    UsageError if they differ.
    """
    sha256 = sha256_of(path)
    note = path.with_name(f"{path.name}.sha256")
    if not note.exists():
        write_text(note, f"{sha256}  {path.name}\n")
        return
    first = note.read_text(encoding="utf-8").split()[:1]
    if first != [sha256]:
        raise UsageError(
            f"{path} is not the file it was: its SHA-256 is {sha256}, {note.name} says "
            f"{' '.join(first) or 'nothing'}",
            hint=f"delete both to download it again, or {note.name} alone to accept it",
        )
