"""Sultani's C3D features: `<video>.txt`, 32 lines of 4096 numbers.

A line is one of 32 segments of a video of any length. Where its number of frames is known,
every snippet takes the row of its segment; else the 32 rows stand for 32 snippets, which is enough
to train on, as training makes 32 segments anyway. Source: github.com/WaqasSultani/
AnomalyDetectionCVPR2018.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.errors import UsageError
from vad.files import write_text

from .arrays import open_text
from .layout import Layout


class C3dText(Layout):
    name = "c3d-text"
    says = "Sultani's C3D: VIDEO.txt, 32 lines of 4096 numbers"
    array = "c3d"
    endings = (".txt",)
    n_segments = 32

    def open(self, path: Path) -> NDArray[Any]:
        return open_text(path)

    def write(self, folder: Path, video: str, features: NDArray[np.float32]) -> list[Path]:
        if features.shape[1] != 1:
            raise UsageError(
                f"{self.name} files hold one crop, {video!r} has {features.shape[1]}",
                hint="--layout numpy keeps them all",
            )
        path = folder / f"{video}{self.endings[0]}"
        rows = (" ".join(f"{value:.9g}" for value in row) for row in features[:, 0])
        write_text(path, "".join(f"{row}\n" for row in rows))
        return [path]
