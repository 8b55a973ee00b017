"""Files of one array each: opened without running what may be in them, written whole."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.errors import VideoError
from vad.files import committed

CONVERT = (
    "where you trust it, convert it: np.save(new, np.stack([np.asarray(row) for row in "
    "np.load(old, allow_pickle=True)]))"
)


def open_npy(path: Path) -> NDArray[Any]:
    """A memory-mapped .npy file. Raises VideoError; objects, which can run code, are refused.

    [snippets, dim], [snippets, crops, dim] or [crops, snippets, dim].
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


def open_torch(path: Path) -> NDArray[Any]:
    """The tensor of a PyTorch file. Raises VideoError; a pickle of more than that is refused.

    [snippets, dim], [snippets, crops, dim] or [crops, snippets, dim].
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


def open_text(path: Path) -> NDArray[Any]:
    """A row of numbers a line, between spaces or commas. Raises VideoError.

    -> float32 [snippets, dim].
    """
    try:
        text = path.read_text(encoding="ascii").replace(",", " ")
        with warnings.catch_warnings():  # of an empty file, which is told by `checked`
            warnings.simplefilter("ignore")
            array = np.loadtxt(text.splitlines(), np.float32, ndmin=2, comments=None)
    except (OSError, ValueError) as error:
        raise VideoError("unreadable", f"{path} is no table of numbers: {error}") from error
    return checked(array, path)


def checked(array: NDArray[Any], path: Path) -> NDArray[Any]:
    """The array, if it can be features.

    [snippets, dim], [snippets, crops, dim] or [crops, snippets, dim]; others raise VideoError.
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


def save_npy(path: Path, array: NDArray[Any]) -> Path:
    """Write a .npy file whole or not at all."""
    with committed(path) as part, part.open("wb") as file:
        np.save(file, array, allow_pickle=False)
    return path


def _holds_objects(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(256)
    except OSError:
        return False
    return start[:1] == b"\x80" or b"'|O'" in start  # a pickle; an array of objects
