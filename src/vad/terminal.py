"""Text from outside on a terminal: names and messages that cannot command it."""

from __future__ import annotations

import logging
import unicodedata

UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # controls, directions of writing, halves, line ends


def plain(text: str) -> str:
    r"""One line without control characters: they are written as escapes, such as `\x1b`.

    Raw, they could recolour a terminal, rename its window, or hide and reverse what follows.
    """
    return "".join(_escaped(c) if unicodedata.category(c) in UNSEEN else c for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


class PlainFormatter(logging.Formatter):
    """Log lines that cannot command the terminal they are shown on."""

    def format(self, record: logging.LogRecord) -> str:
        return plain(super().format(record))
