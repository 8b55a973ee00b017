"""Fetch published weights once, and know them again.

No checksum of these files was published: the one of the first download is written beside the
file and must hold from then on.
"""

from __future__ import annotations

import http.client
import logging
import os
import urllib.request
from pathlib import Path

from vad.errors import UsageError
from vad.files import committed, write_text

from .backbones.table import KnownWeights
from .weights import sha256_of

TIMEOUT_S = 30.0
CHUNK_BYTES = 1 << 20

log = logging.getLogger("vad")


def weights_folder() -> Path:
    """Where downloads are kept: $VAD_CACHE/weights, or vad/weights in the user's cache folder."""
    if cache := os.environ.get("VAD_CACHE"):
        return Path(cache) / "weights"
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "vad" / "weights"


def fetch(known: KnownWeights, *, offline: bool = False) -> Path:
    """The file of known weights, downloaded if it is not there yet.

    Raises UsageError if it cannot be had, or is not what it was when it was first seen.
    """
    path = weights_folder() / known.source.rpartition("/")[2]
    if not path.exists():
        if offline:
            raise UsageError(
                f"the weights {known.name!r} are not at {path} and no connection may be opened",
                hint=f"fetch {known.source} elsewhere and put it there",
            )
        log.info("downloading %s (licence: %s)", known.source, known.licence)
        _download(known.source, path)
    _recognise(path)
    return path


def _download(address: str, path: Path) -> None:
    try:
        with (
            urllib.request.urlopen(address, timeout=TIMEOUT_S) as response,
            committed(path) as part,
            part.open("wb") as file,
        ):
            n_bytes = 0
            while chunk := response.read(CHUNK_BYTES):
                n_bytes += file.write(chunk)
            expected = response.headers.get("Content-Length")
            if expected is not None and int(expected) != n_bytes:
                raise OSError(f"the connection ended after {n_bytes} of {expected} bytes")
    except (OSError, http.client.HTTPException) as error:
        raise UsageError(
            f"could not download {address}: {error}",
            hint=f"fetch it elsewhere and put it at {path}",
        ) from error


def _recognise(path: Path) -> None:
    """Compare a file with its checksum, or write that down at the first sight."""
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
