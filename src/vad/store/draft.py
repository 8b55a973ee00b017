"""Write a video, which appears in the store only when complete."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import zarr
from numpy.typing import NDArray

from ..errors import VideoError
from ..files import located
from ..names import key_of
from .arrays import ArrayWriter, is_text
from .backends import QUARANTINE, Backend
from .metadata import Provenance, VideoRecord, add_checksums
from .reading import StoredVideo


class Draft:
    """A video that is being written: call `append` for rows, then `commit` or `discard`."""

    def __init__(self, backend: Backend, video_id: str) -> None:
        self.video_id = video_id
        self._backend, self._folder = backend, backend.scratch()
        self._arrays: dict[str, ArrayWriter] = {}

    def append(self, name: str, rows: NDArray[np.generic]) -> None:
        """Append rows to an array: `visual/...` [n, crops, dim], `text/...` [n, dim],
        `captions/...` [n] of str.

        Raises VideoError if a number is not finite.
        """
        if not is_text(rows) and not np.isfinite(rows).all():
            raise VideoError(
                "not-finite",
                f"{name} is not finite in {rows.dtype}",
                hint="store with --dtype float32, or check the weights",
            )
        with located(self._backend.disk):
            if name not in self._arrays:
                self._arrays[name] = ArrayWriter(self._folder / name, rows)
            self._arrays[name].append(rows)

    def commit(
        self,
        record: VideoRecord,
        times: NDArray[np.float64],
        provenance: Mapping[str, Provenance],
    ) -> None:
        """Make the video visible, and delete the draft.

        If the video is already stored, from a file with the same content, the arrays of this draft
        are added to it; if from other content, it is replaced. A stored video that is damaged is
        moved to the quarantine first.

        times: [frames], seconds from the first frame; provenance: by name of the array.
        """
        try:
            with located(self._backend.disk):
                self._close(record, times, provenance)
                self._publish(record)
        finally:
            self.discard()

    def discard(self) -> None:
        """Delete the draft."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _close(
        self,
        record: VideoRecord,
        times: NDArray[np.float64],
        provenance: Mapping[str, Provenance],
    ) -> None:
        zarr.create_group(str(self._folder), attributes={"id": self.video_id, **asdict(record)})
        writer = ArrayWriter(self._folder / "times", times)
        writer.append(times)
        writer.close(Provenance({}))
        for name, array in self._arrays.items():
            parent = self._folder / name.split("/")[0]
            if not (parent / "zarr.json").exists():
                zarr.create_group(str(parent))
            array.close(provenance[name])
        add_checksums(self._folder)

    def _publish(self, record: VideoRecord) -> None:
        backend, key = self._backend, key_of(self.video_id)
        while True:
            try:
                backend.publish(self._folder, key)
                return
            except FileExistsError:
                stored = StoredVideo(backend, key)
            with contextlib.suppress(
                FileNotFoundError
            ):  # another process has just removed or replaced it
                if not stored.is_whole():
                    backend.set_aside(key, QUARANTINE)
                elif not _same_content(stored.record(), record):
                    backend.remove(key)
                else:
                    for name in self._arrays:
                        backend.join(self._folder, key, name)
                    return


def _same_content(one: VideoRecord, other: VideoRecord) -> bool:
    ours, theirs = ((r.source_sha256, r.n_frames, r.grid) for r in (one, other))
    return ours == theirs
