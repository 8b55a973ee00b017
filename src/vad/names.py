"""Names of videos."""

from __future__ import annotations

import hashlib
from urllib.parse import quote


def key_of(video_id: str) -> str:
    """The name of the folder in which a store keeps a video: ASCII, distinct for distinct ids."""
    key = quote(video_id, safe="")
    if key.startswith(".") or key == "zarr.json":
        key = f"%{ord(key[0]):02X}{key[1:]}"
    if len(key) > 200:  # file systems allow 255 bytes
        key = f"{key[:160]}~{hashlib.sha256(video_id.encode()).hexdigest()[:32]}"
    return key
