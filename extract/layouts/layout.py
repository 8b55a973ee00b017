"""The published layouts of features: their file names and the arrays in the files.

To add a layout, write one class here and add it to `LAYOUTS`.
"""

from __future__ import annotations

import csv
import io
import re
from abc import ABC, abstractmethod
from collections.abc import Container, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from vad.datasets.ucf_crime import KIND
from vad.datasets.xd_violence import CODES
from vad.errors import UsageError
from vad.files import committed, write_text
from vad.labels import Label
from vad.names import find_by_name

from .arrays import open_npy, open_text, open_torch, save_npy, segment_means

Kind = Literal["visual", "text"]


class Layout(ABC):
    """The file format in which one family of projects stores the features of many videos.

    A file holds [snippets, dim], or [snippets, crops, dim] with its first two axes in either order;
    the shapes of all files together show which (`common_shape`).
    """

    name: ClassVar[str]
    says: ClassVar[str]  # the projects that use it, and the content of a file
    kind: ClassVar[Kind] = "visual"
    array: ClassVar[str] = "features"  # default name in the store
    endings: ClassVar[tuple[str, ...]]  # of file names; `write` uses the first
    n_segments: ClassVar[int | None] = None  # fixed number of rows per video, if any
    joins_dims: ClassVar[bool] = False  # a video's files are parts of dim, not crops

    def claims(self, name: str, names: Container[str]) -> bool:
        """Return True if a file is of this layout, judged by its name and the names of the other
        files.
        """
        return name.endswith(self.endings)

    def split(self, name: str) -> tuple[str, int]:
        """Return the video's name and the crop's number, from 0, of a file name.

        If the name ends in one of `endings`, that ending is removed; otherwise only the file's
        suffix is, because lists of other projects name files that they do not hold.
        """
        for ending in self.endings:
            if name.endswith(ending):
                return name.removesuffix(ending), 0
        return str(Path(name).with_suffix("")), 0

    def open(self, path: Path) -> NDArray[np.generic]:
        """Open the array of one file, memory-mapped if possible. Raises VideoError if it holds no
        features.
        """
        return open_npy(path)

    @abstractmethod
    def write(self, folder: Path, video: str, features: NDArray[np.float32]) -> list[Path]:
        """Write the features of a video; returns the files in the order in which lists name
        them.

        features: [snippets, crops, dim], or [snippets, dim] of text.
        """

    def listed(self, files: Sequence[tuple[Label | None, Sequence[Path]]]) -> str:
        """Return the text of a list of written files: for each video its label, if there are
        labels, and its files.
        """
        return "".join(f"{path.resolve()}\n" for _, paths in files for path in paths)


class OneFile(Layout):
    """A layout with one .npy file per video, whose array is shaped as in the store."""

    def write(self, folder: Path, video: str, features: NDArray[np.float32]) -> list[Path]:
        return [save_npy(folder / f"{video}{self.endings[0]}", features)]


class Rtfm(OneFile):
    """RTFM's layout, which MGFN, S3R, TEVAD and GlanceVAD share.

    `<video>_i3d.npy`, float32 [snippets, 10, 2048] (TEVAD's XD-Violence: [snippets, 5, 1024]), with
    one row per 16 frames. Lists name one file per line, abnormal videos first, because these
    projects take the label from the position in the list. Source: github.com/tianyu0207/RTFM, its
    list/ and dataset.py.
    """

    name = "rtfm"
    says = "RTFM, MGFN, S3R, TEVAD: VIDEO_i3d.npy [snippets, crops, dim]"
    array = "i3d"
    endings = ("_i3d.npy",)


class TevadText(OneFile):
    """TEVAD's sentence embeddings: `<video>_emb.npy`, float32 [snippets, 768].

    Row i is the pooler output of sup-simcse-bert-base-uncased for the caption of the 64 frames that
    begin at frame 16 i. There are ceil(frames / 16) rows, often one more than the visual features
    have. Source: github.com/coranholmes/TEVAD.
    """

    name = "tevad-text"
    says = "TEVAD's sentence embeddings: VIDEO_emb.npy [snippets, 768]"
    kind = "text"
    array = "simcse"
    endings = ("_emb.npy",)


CROP = re.compile(r"(.+)__(\d{1,2})\.npy")


class CropFiles(Layout):
    """The layout with one file per crop: XDVioDet, DeepMIL, UR-DMU, PEL4VAD, BN-WVAD, VadCLIP.

    `<video>__<k>.npy`, float32 [snippets, dim] each, k = 0..9 (UCF-Crime) or 0..4 (XD-Violence),
    the centre crop first. In PEL4VAD's UCF-Crime, crop 0 has no suffix. Lists name all crops of a
    video one after the other. Source: github.com/Roc-Ng/XDVioDet, github.com/henrryzh1/UR-DMU.
    """

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


class VadClip(CropFiles):
    """VadCLIP's files, which are those of `crop-files`, and its lists: a table `path,label`.

    A line names a crop of a video and its class: the codes in names of XD-Violence, the class in
    names of UCF-Crime, else the category, and `Normal`. Lists of test videos name the centre crop
    alone. Source: github.com/nwpu-zxr/VadCLIP, its list/ and src/utils.
    """

    name = "vadclip"
    says = "VadCLIP: VIDEO__0.npy, VIDEO__1.npy ... [snippets, 512]; lists are tables path,label"
    array = "clip"

    def listed(self, files: Sequence[tuple[Label | None, Sequence[Path]]]) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("path", "label"))
        for label, paths in files:
            if label is None:
                raise UsageError("lists of vadclip name classes", hint="give them: --labels CSV")
            shown = paths[:1] if label.split == "test" else paths
            writer.writerows((path.resolve(), class_in_list(label)) for path in shown)
        return text.getvalue()


def class_in_list(label: Label) -> str:
    """Return the class of a video as VadCLIP's lists name it."""
    name = label.video.rpartition("/")[2]
    if codes := CODES.search(name):
        return codes[1]
    if not label.label:
        return "Normal"
    kind = KIND.match(name)
    return kind[0] if kind and kind[0].lower() == label.category else label.category


class Numpy(OneFile):
    """A folder of arrays: one NumPy file per video, named like the video."""

    name = "numpy"
    says = "VIDEO.npy [snippets, crops, dim], [crops, snippets, dim] or [snippets, dim]"
    endings = (".npy",)


class Torch(Layout):
    """A folder of tensors: one PyTorch file per video, named like the video."""

    name = "torch"
    says = "VIDEO.pt or .pth: one tensor, shaped like those of numpy"
    endings = (".pt", ".pth")

    def open(self, path: Path) -> NDArray[np.generic]:
        return open_torch(path)

    def write(self, folder: Path, video: str, features: NDArray[np.float32]) -> list[Path]:
        import torch

        path = folder / f"{video}{self.endings[0]}"
        with committed(path) as part:
            torch.save(torch.from_numpy(features), part)
        return [path]


class C3dText(Layout):
    """Sultani's C3D features: `<video>.txt`, 32 lines of 4096 numbers.

    Each line is one of 32 equal segments of a video of any length. If the number of frames is
    known, each snippet takes the row of its segment, or the mean of its segments if there are
    fewer than 32 snippets. If not, the 32 rows are taken as 32 snippets, which is enough to train
    on, as training makes 32 segments anyway. Files that are written have 32 lines again. Source:
    github.com/WaqasSultani/AnomalyDetectionCVPR2018.
    """

    name = "c3d-text"
    says = "Sultani's C3D: VIDEO.txt, 32 lines of 4096 numbers"
    array = "c3d"
    endings = (".txt",)
    n_segments: ClassVar[int] = 32

    def open(self, path: Path) -> NDArray[np.generic]:
        return open_text(path)

    def write(self, folder: Path, video: str, features: NDArray[np.float32]) -> list[Path]:
        if features.shape[1] != 1:
            raise UsageError(
                f"{self.name} files hold one crop, {video!r} has {features.shape[1]}",
                hint="--layout numpy keeps them all",
            )
        path = folder / f"{video}{self.endings[0]}"
        segments = segment_means(features[:, 0], self.n_segments)
        rows = (" ".join(f"{value:.9g}" for value in row) for row in segments)
        write_text(path, "".join(f"{row}\n" for row in rows))
        return [path]


STREAM = re.compile(r"(.+)_(rgb|flow)\.npy")
STREAMS = ("rgb", "flow")


class TwoStream(Layout):
    """Two-stream I3D as video_features writes it: `<video>_rgb.npy` and `<video>_flow.npy`.

    Each is float32 [snippets, 1024]. A video's features are both concatenated, [snippets, 2048], or
    one of the two; `beside` reads the files of times that lie with them. Source:
    github.com/v-iashin/video_features.
    """

    name = "two-stream"
    says = "video_features: VIDEO_rgb.npy and VIDEO_flow.npy [snippets, dim]"
    array = "i3d"
    endings = ("_rgb.npy", "_flow.npy")
    joins_dims = True

    def split(self, name: str) -> tuple[str, int]:
        if found := STREAM.fullmatch(name):
            return found[1], STREAMS.index(found[2])
        return super().split(name)

    def write(self, folder: Path, video: str, features: NDArray[np.float32]) -> list[Path]:
        raise UsageError(
            f"{self.name} files are read, not written", hint="--layout numpy writes one per video"
        )


# In the order in which `detect` tries them: the least specific file names come last.
LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Rtfm(),
        TevadText(),
        TwoStream(),
        CropFiles(),
        VadClip(),
        Numpy(),
        Torch(),
        C3dText(),
    )
}


def find_layout(name: str) -> Layout:
    """Return the layout of that name. Raises UsageError, which lists the layouts, if there
    is none.
    """
    return find_by_name("layout", name, LAYOUTS)
