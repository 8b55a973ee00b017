"""Write files atomically, and note and compare their checksums."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import UsageError
from .scratch import new_part, sweep_parts

UMASK = os.umask(0o077)  # mode bits that new files lack; reading the umask sets it
os.umask(UMASK)
_swept: set[Path] = set()  # folders in which no file of a killed process is left


@contextmanager
def committed(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, which is renamed to `path` if the block succeeds.

    If the block fails, the temporary file is deleted and `path` stays as it was. Temporary files
    that killed processes left in the folder are deleted too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if (folder := path.parent.absolute()) not in _swept:
        _swept.add(folder)
        sweep_parts(folder)
    part = new_part(path.parent)
    try:
        with located(path.parent):
            yield part
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.chmod(0o666 & ~UMASK)  # some libraries write files for their owner alone
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Check that files can be written into a folder, before the work whose results it will hold.

    The check leaves nothing behind. Raises UsageError if the folder cannot be made or written.
    """
    made: list[Path] = []
    try:
        made += [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        shown = str(folder) if len(str(folder)) < 200 else f"{str(folder)[:200]}..."
        raise UsageError(
            f"{shown} cannot be written: {error.strerror or error}", hint="name another folder"
        ) from None
    finally:
        for path in made:
            with suppress(OSError):
                path.rmdir()


@contextmanager
def located(folder: Path) -> Iterator[None]:
    """Add the folder to an OSError that names no file, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(folder)
        raise


def cache_folder() -> Path:
    """Return the folder of files that can be fetched or made again: $VAD_CACHE, or `vad` in the
    user's cache.
    """
    if given := os.environ.get("VAD_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vad"


def sha256_of(path: Path, n_bytes: int | None = None) -> str:
    """Return the hexadecimal SHA-256 of a file, or of its first `n_bytes`."""
    with path.open("rb") as file:
        if n_bytes is None:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256()
        while n_bytes > 0 and (part := file.read(min(n_bytes, 1 << 20))):
            digest.update(part)
            n_bytes -= len(part)
        return digest.hexdigest()


def note_checksum(path: Path) -> None:
    """Write the checksum of a file beside it, into `<name>.sha256`."""
    write_text(_note(path), f"{sha256_of(path)}  {path.name}\n")


def matches_checksum(path: Path) -> bool:
    """Return True if a file has the checksum that `note_checksum` wrote; False if either is
    missing.
    """
    try:
        return _note(path).read_text(encoding="utf-8").split()[:1] == [sha256_of(path)]
    except (OSError, UnicodeDecodeError):
        return False


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with committed(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write a JSON file atomically. Raises ValueError for a number that is not finite."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
