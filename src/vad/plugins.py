"""Detectors, backbones, captioners and file formats that other installed packages add.

A package names each of them by an entry point in its pyproject.toml:

    [project.entry-points."vad.detectors"]
    mine = "my_package:ROW"

The object is a row like those of the project's own tables: `DetectorRow` (vad.detectors),
`BackboneCard` (vad.backbones), `CaptionerCard` (vad.captioners) or `Format` (vad.formats).
Installed packages are looked at when a name is not one of the project's own, and when all names
are listed. `examples/plugin` is a template.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

log = logging.getLogger("vad")

Entry = TypeVar("Entry")


def add_plugins(kind: str, table: MutableMapping[str, Entry]) -> None:
    """Add to a table of detectors, backbones, captioners or formats what other packages add.

    kind: singular name of the entries, such as "detector". A plug-in that cannot be imported, whose
    object is no row of the table, or whose name is taken costs one warning and is left out.
    """
    row = type(next(iter(table.values())))
    for point, found in _plugins(f"vad.{kind}s"):
        package = point.dist.name if point.dist else "an unknown package"
        if isinstance(found, Exception):
            _warn(f"the plug-ins in {point.module} of {package} are left out: {found!r}")
        elif not isinstance(found, row):
            _warn(f"the plug-in {point.name} of {package} is left out: it is no {row.__name__}")
        elif table.setdefault(point.name, found) is not found:
            _warn(f"the plug-in {point.name} of {package} is left out: its name is taken")


@cache
def _plugins(group: str) -> list[tuple[EntryPoint, object]]:
    """Return the entry points of a group, each with its object or the exception of its import."""
    found: list[tuple[EntryPoint, object]] = []
    for point in entry_points(group=group):
        try:
            found.append((point, point.load()))
        except Exception as error:
            found.append((point, error))
    return found


@cache
def _warn(text: str) -> None:
    log.warning("%s", text)


def load_object(path: str, package: str | None) -> Any:
    """Return the object of a path "MODULE:NAME".

    A module whose name begins with a dot is relative to `package`.
    """
    module, _, name = path.partition(":")
    return getattr(import_module(module, package), name)
