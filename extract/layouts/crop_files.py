"""One file a crop: XDVioDet, DeepMIL, UR-DMU, PEL4VAD, BN-WVAD, VadCLIP.

`<video>__<k>.npy`, float32 [snippets, dim] each, k = 0..9 (UCF-Crime) or 0..4 (XD-Violence), the
centre crop first. PEL4VAD's UCF-Crime writes no suffix at crop 0. Lists name all crops of a video
one after the other. Source: github.com/Roc-Ng/XDVioDet, github.com/henrryzh1/UR-DMU.
"""

from __future__ import annotations

import re
from collections.abc import Container
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .arrays import save_npy
from .layout import Layout

CROP = re.compile(r"(.+)__(\d{1,2})\.npy")


class CropFiles(Layout):
    name = "crop-files"
    says = "XDVioDet, UR-DMU, PEL4VAD, VadCLIP: VIDEO__0.npy, VIDEO__1.npy ... [snippets, dim]"
    array = "i3d"
    endings = (".npy",)

    def claims(self, name: str, names: Container[str]) -> bool:
        beside = f"{name.removesuffix('.npy')}__1.npy"
        return CROP.fullmatch(name) is not None or (name.endswith(".npy") and beside in names)

    def split(self, name: str) -> tuple[str, int]:
        if found := CROP.fullmatch(name):
            return found[1], int(found[2])
        return super().split(name)

    def write(self, folder: Path, video: str, features: NDArray[np.float32]) -> list[Path]:
        crops = range(features.shape[1])
        return [save_npy(folder / f"{video}__{k}.npy", features[:, k]) for k in crops]
