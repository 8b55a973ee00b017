"""Make names and messages from outside safe to print on a terminal."""

from __future__ import annotations

import logging
import unicodedata

UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control characters, text direction, surrogates, line ends


def plain(text: str) -> str:
    r"""Return text as one line in which control characters are escaped, such as `\x1b`.

    Unescaped, they could recolour a terminal, rename its window, or hide and reverse the text that
    follows.
    """
    return "".join(_escaped(c) if unicodedata.category(c) in UNSEEN else c for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


class PlainFormatter(logging.Formatter):
    """Formats log records as single lines without control characters; see `plain`."""

    def format(self, record: logging.LogRecord) -> str:
        return plain(super().format(record))
