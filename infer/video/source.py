"""The pictures and the sound of a scored video, for what is drawn or cut from it.

Decoding belongs to the extraction, so this file only says what is needed of a video.
`vad.stages.pipelines.video_source` implements it with the decoders that made the features, so that
the pictures are the same frames, in the same number.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # [height, width, 3] RGB, upright


class VideoSource(Protocol):
    """A video file that can be watched again."""

    @property
    def path(self) -> Path:
        """The file."""

    def pictures(self) -> Iterator[Picture]:
        """Every frame that has a score, in order.

        Raises VideoError where the file cannot be read any more, or is no longer what was scored.
        """

    def opened(self) -> AbstractContextManager[tuple[Any, Any]]:
        """The open av container and its video stream, for its sound. Raises VideoError."""
