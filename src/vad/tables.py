"""Text files that people write: lists, one entry per line, and tables: CSV with a line of names.

They come out of editors and spreadsheets: a byte order mark, the line ends of any system and spaces
around values are read over. What would be read wrongly is refused with the file, the line and what
to do: another encoding than UTF-8, a column that comes twice, a file that is none or too large.
"""

from __future__ import annotations

import codecs
import csv
import io
import logging
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from .errors import UsageError
from .names import did_you_mean

log = logging.getLogger("vad")

MAX_BYTES = 256 * 2**20  # of a text file; captions of the largest data set have 15 MB
WIDE = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path, max_bytes: int = MAX_BYTES) -> str:
    """The text of a file in UTF-8. Raises UsageError where it cannot be read, or is too large."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UsageError(f"{path} is a folder, not a file")
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device could be read for ever
            raise UsageError(f"{path} is no regular file", hint="save its content to a file")
        if status.st_size > max_bytes:
            raise UsageError(
                f"{path} has {status.st_size / 2**20:,.0f} MiB of text; "
                f"at most {max_bytes / 2**20:,.0f} are read",
                hint="split it",
            )
        content = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"no file {path}") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL in it
        raise UsageError(f"{path} cannot be read: {error}") from None
    if content.startswith(WIDE) or b"\0" in content[:4096]:
        raise UsageError(f"{path} is UTF-16 or no text", hint="save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}, line {line} is not UTF-8", hint="save it as UTF-8") from None


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines of a list that are not empty, each with `file, line n` to name it by."""
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if stripped := line.strip():
            yield f"{path}, line {number}", stripped


def read_rows(
    path: Path, required: Sequence[str], optional: Sequence[str] | None = None
) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a table by column, each with `file, line n` to name it by.

    required: columns that the first line must name. optional: the others that are read; columns
    beside these are named in a warning. None reads all columns. Raises UsageError for a column that
    is missing or comes twice, and for a line with more values than columns.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        columns = [column.strip() for column in next(reader, [])]
        _check(path, columns, required, optional)
        for values in reader:
            where = f"{path}, line {reader.line_num}"
            if len(values) > len(columns):
                raise UsageError(f"{where}: more values than columns")
            if values:
                padded = [value.strip() for value in values] + [""] * (len(columns) - len(values))
                yield where, dict(zip(columns, padded, strict=True))
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num} is no CSV: {error}") from None


def _check(
    path: Path, columns: Sequence[str], required: Sequence[str], optional: Sequence[str] | None
) -> None:
    if absent := [column for column in required if column not in columns]:
        raise UsageError(
            f"{path} has no column {absent[0]!r} (it has: {', '.join(columns) or 'none'})",
            hint=f"the first line must name {','.join(required)}",
        )
    for column, n_times in Counter(columns).items():
        if n_times > 1 and column:
            raise UsageError(
                f"{path} has the column {column!r} {n_times} times", hint="keep one of them"
            )
    known = [*required, *(optional or columns)]
    if unknown := [column for column in columns if column and column not in known]:
        near = did_you_mean(unknown[0], known)
        names = ", ".join(map(repr, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
        log.warning("%s: columns that are not read: %s%s", path, names, f"; {near}" if near else "")
