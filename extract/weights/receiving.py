"""Download files whole or not at all, and resume interrupted downloads.

An interrupted download is resumed if the server confirms that the file has not changed. A file
appears at its place only when it is complete.
"""

from __future__ import annotations

import base64
import fcntl
import http.client
import os
import urllib.error
import urllib.request
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from vad.errors import UsageError
from vad.terminal import meter

TIMEOUT_S = 30.0
CHUNK_BYTES = 1 << 20
NOTHING_LEFT = 416  # HTTP status if the requested range begins at or behind the file's end


def download(address: str, path: Path, *, quiet: bool) -> None:
    """Download a file. Raises UsageError if that fails; what came so far is kept for a resume."""
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
            f"could not download {without_password(address)}: {error}",
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
    request = request_for(address)
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
        response = urllib.request.urlopen(request_for(address), timeout=TIMEOUT_S)
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


def request_for(address: str) -> urllib.request.Request:
    """Return a request for an address. A user and password in it are sent as the header that they
    mean, since urllib takes them for a part of the host's name.
    """
    user, _, _ = urlsplit(address).netloc.rpartition("@")
    request = urllib.request.Request(without_password(address))
    if user:
        token = base64.b64encode(unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    return request


def without_password(address: str) -> str:
    """Return an address without the user and password that it may hold."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
