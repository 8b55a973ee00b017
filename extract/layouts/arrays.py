"""Read and write files of one array each, without running code that a file contains."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vad.errors import VideoError
from vad.files import committed
from vad.grid import segment_edges

CONVERT = (
    "where you trust it, convert it: np.save(new, np.stack([np.asarray(row) for row in "
    "np.load(old, allow_pickle=True)]))"
)


def open_npy(path: Path) -> NDArray[np.generic]:
    """Open a .npy file memory-mapped: [snippets, dim], [snippets, crops, dim] or [crops, snippets,
    dim].

    Raises VideoError if it is no such array, or holds Python objects, which can run code.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        if _holds_objects(path):
            raise VideoError(
                "unreadable", f"{path} holds Python objects, which may run code", hint=CONVERT
            ) from error
        raise VideoError("unreadable", f"{path} is no whole .npy file: {error}") from error
    if not isinstance(array, np.ndarray):
        raise VideoError("unreadable", f"{path} is an archive of arrays, not one array")
    return checked(array, path)


def open_torch(path: Path) -> NDArray[np.generic]:
    """Read the tensor of a PyTorch file: [snippets, dim], [snippets, crops, dim] or [crops,
    snippets, dim].

    Raises VideoError if the file holds anything else than one such tensor.
    """
    import torch

    try:
        tensor = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, ValueError, EOFError) as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise VideoError("unreadable", f"{path} is no file of a tensor: {line}") from error
    if not isinstance(tensor, torch.Tensor):
        raise VideoError("unreadable", f"{path} holds a {type(tensor).__name__}, not one tensor")
    tensor = tensor.detach()
    return checked((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy(), path)


def open_text(path: Path) -> NDArray[np.generic]:
    """Read a text file with one row of numbers per line, separated by spaces or commas.

    Returns float32 [snippets, dim]. Raises VideoError if the file is no such table.
    """
    try:
        text = path.read_text(encoding="ascii").replace(",", " ")
        with warnings.catch_warnings():  # loadtxt warns of an empty file; `checked` reports it
            warnings.simplefilter("ignore")
            array = np.loadtxt(text.splitlines(), np.float32, ndmin=2, comments=None)
    except (OSError, ValueError) as error:
        raise VideoError("unreadable", f"{path} is no table of numbers: {error}") from error
    return checked(array, path)


def checked(array: NDArray[np.generic], path: Path) -> NDArray[np.generic]:
    """Return the array: [snippets, dim], [snippets, crops, dim] or [crops, snippets, dim].

    Raises VideoError unless it is a non-empty float array of 2 or 3 dimensions.
    """
    if array.dtype.kind != "f":
        raise VideoError("unreadable", f"{path} holds {array.dtype}, features are floating-point")
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise VideoError(
            "unreadable",
            f"{path} is {list(array.shape)}; features are [snippets, dim], "
            "[snippets, crops, dim] or [crops, snippets, dim]",
        )
    return array


def segment_means(rows: NDArray[np.generic], n_segments: int) -> NDArray[np.float32]:
    """Return the means of `n_segments` stretches of rows: [rows, dim] -> [n_segments, dim]. A
    segment without a row of its own takes the row at its border.
    """
    edges = segment_edges(len(rows), n_segments)
    sums = np.add.reduceat(rows.astype(np.float32), edges[:-1], axis=0)
    return np.asarray(sums / np.maximum(np.diff(edges), 1)[:, None], np.float32)


def save_npy(path: Path, array: NDArray[np.generic]) -> Path:
    """Write an array to a .npy file atomically and return the path. array: [snippets, dim] or
    [snippets, crops, dim].
    """
    with committed(path) as part, part.open("wb") as file:
        np.save(file, array, allow_pickle=False)
    return path


def _holds_objects(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(256)
    except OSError:
        return False
    return start[:1] == b"\x80" or b"'|O'" in start  # a pickle, or a .npy file of objects
