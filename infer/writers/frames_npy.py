"""NumPy, the frame scores alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vad.files import committed

from ..scores import VideoScores


def write(path: Path, scores: VideoScores) -> None:
    """Write float32 [frames]."""
    with committed(path) as part, part.open("wb") as file:
        np.save(file, scores.frames)
