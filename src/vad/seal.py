"""The seal of a store's metadata, so that one flipped byte in it is found.

The sha256 of an array's values lies in its metadata, a `zarr.json`. That carries a seal: the
sha256 of the rest of it, as JSON with sorted names, so that its layout does not matter.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


class SealError(Exception):
    """A file of metadata is not what was written."""


def seal(folder: Path) -> None:
    """Seal every `zarr.json` in and below a folder that nobody reads yet."""
    for path in folder.rglob("zarr.json"):
        document = json.loads(path.read_text(encoding="utf-8"))
        attributes = document.setdefault("attributes", {})
        attributes["seal"] = _digest(document)
        path.write_text(json.dumps(document, indent=2, allow_nan=False), encoding="utf-8")


def parse_sealed(content: bytes) -> dict[str, Any]:
    """The content of a sealed `zarr.json`. Raises SealError if it is not what was written."""
    try:
        document: dict[str, Any] = json.loads(content)
        found = document["attributes"].get("seal")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SealError("its zarr.json is damaged: it cannot be read") from error
    if found is None:
        raise SealError("its zarr.json has no seal")
    if found != _digest(document):
        raise SealError("its zarr.json is damaged: it does not match its seal")
    return document


def _digest(document: dict[str, Any]) -> str:
    attributes = {n: v for n, v in document["attributes"].items() if n != "seal"}
    rest = json.dumps({**document, "attributes": attributes}, sort_keys=True)
    return hashlib.sha256(rest.encode()).hexdigest()
