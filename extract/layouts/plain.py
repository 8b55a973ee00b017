"""A folder of arrays: one NumPy or PyTorch file a video, named as the video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.files import committed

from .arrays import open_torch
from .layout import Layout, OneFile


class Numpy(OneFile):
    name = "numpy"
    says = "VIDEO.npy [snippets, crops, dim], [crops, snippets, dim] or [snippets, dim]"
    endings = (".npy",)


class Torch(Layout):
    name = "torch"
    says = "VIDEO.pt or .pth: one tensor, shaped like those of numpy"
    endings = (".pt", ".pth")

    def open(self, path: Path) -> NDArray[Any]:
        return open_torch(path)

    def write(self, folder: Path, video: str, features: NDArray[np.float32]) -> list[Path]:
        import torch

        path = folder / f"{video}{self.endings[0]}"
        with committed(path) as part:
            torch.save(torch.from_numpy(features), part)
        return [path]
