"""What a published layout of features is: how its files are called, and what lies in them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from .arrays import open_npy, save_npy

Kind = Literal["visual", "text"]


class Layout(ABC):
    """Features of many videos as files, by the rules of one family of projects.

    A file holds [snippets, dim], or [snippets, crops, dim] with its first two axes in either
    order; which, is told from the shapes of all files together (`shapes.py`).
    """

    name: ClassVar[str]
    says: ClassVar[str]  # whose it is, and what the files hold
    kind: ClassVar[Kind] = "visual"
    array: ClassVar[str] = "features"  # name in the store, unless another is given
    endings: ClassVar[tuple[str, ...]]  # of the names of its files; the first is written
    n_segments: ClassVar[int | None] = None  # rows of a video of any length, where that is fixed

    def claims(self, name: str, names: Container[str]) -> bool:
        """Whether a file is of this layout, by its name and those of the files beside it."""
        return name.endswith(self.endings)

    def split(self, name: str) -> tuple[str, int]:
        """The video that a file speaks of, and which of its crops, from 0.

        A name of another ending loses its suffix: lists of others write names in many ways.
        """
        for ending in self.endings:
            if name.endswith(ending):
                return name.removesuffix(ending), 0
        return str(Path(name).with_suffix("")), 0

    def open(self, path: Path) -> NDArray[Any]:
        """The array of one file, perhaps memory-mapped. Raises VideoError if there is none."""
        return open_npy(path)

    @abstractmethod
    def write(self, folder: Path, video: str, features: NDArray[np.float32]) -> list[Path]:
        """Write a video; returns its files in the order in which lists name them.

        features [snippets, crops, dim], or [snippets, dim] of text.
        """


class OneFile(Layout):
    """A layout of one .npy file a video, which holds the array as the store does."""

    def write(self, folder: Path, video: str, features: NDArray[np.float32]) -> list[Path]:
        return [save_npy(folder / f"{video}{self.endings[0]}", features)]
