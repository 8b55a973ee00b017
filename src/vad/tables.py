"""Read text files that people write: lists with one entry per line, and CSV tables with a header.

Such files come from editors and spreadsheets, so a byte order mark, the line ends of any system and
spaces around values are ignored. Input that would be misread raises UsageError with the file, the
line and what to do: an encoding other than UTF-8, a repeated column, a file that is too large.
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
from .names import check_name, did_you_mean
from .terminal import plain

log = logging.getLogger("vad")

MAX_BYTES = 256 * 2**20  # largest text file; captions of the largest data set have 15 MB
WIDE = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path, max_bytes: int = MAX_BYTES) -> str:
    """Return the text of a UTF-8 file. Raises UsageError if it cannot be read or is too large."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UsageError(f"{path} is a folder, not a file")
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device might never end
            raise UsageError(f"{path} is no regular file", hint="save its content to a file")
        if status.st_size > max_bytes:
            raise UsageError(
                f"{path} has {status.st_size / 2**20:,.0f} MiB of text; "
                f"at most {max_bytes / 2**20:,.0f} are read",
                hint="is it the right file?",
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
    """Yield the lines of a list that are not empty, each after its place "FILE, line N"."""
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if stripped := line.strip():
            yield f"{path}, line {number}", stripped


def read_rows(
    path: Path,
    required: Sequence[str],
    optional: Sequence[str] | None = None,
    *,
    max_bytes: int = MAX_BYTES,
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the rows of a table as {column: value}, each after its place "FILE, line N".

    required: columns that the header must contain. optional: further columns that are read; None
    reads all. Any other column is named in a warning. Raises UsageError if a column is missing or
    repeated, or if a line has more values than the header.
    """
    reader = csv.reader(io.StringIO(read_text(path, max_bytes), newline=""), strict=True)
    try:
        columns = [column.strip() for column in next(reader, [])]
        _check(path, columns, required, optional)
        for values in reader:
            where = f"{path}, line {reader.line_num}"
            if len(values) > len(columns):
                raise UsageError(f"{where}: more values than columns")
            if values:
                padded = [value.strip() for value in values] + [""] * (len(columns) - len(values))
                row = dict(zip(columns, padded, strict=True))
                check_name(row.get("video", ""), where)
                yield where, row
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


def cell(text: str) -> str:
    """Return text as one line that a spreadsheet does not take for a formula.

    A leading apostrophe marks it as text, as OWASP's page on CSV injection advises.
    """
    line = plain(" ".join(text.split()))
    return f"'{line}" if line.startswith(("=", "+", "-", "@")) else line
