"""Files of detector weights: published ones, and those of our own runs. Nothing is unpickled."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vad.errors import UsageError

from .checkpoint import load_tensors, with_prefix
from .detectors.published import Sizes, sizes_of, unwrap


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """The bare weights in a file: a .safetensors file, or what `torch.save` wrote of tensors.

    Containers of training scripts and the prefix `module.` are taken off, and so is what our own
    runs hold besides the detector. Raises UsageError for files that are missing, damaged, or hold
    pickled objects, which would run code when loaded.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        tensors = load_tensors(path)
        return unwrap(with_prefix(tensors, "detector.") or tensors)
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UsageError(
            f"{path} is no file of tensors alone: it is damaged, or holds pickled objects, "
            "which could run code",
            hint="where its source is trusted, save its state_dict() by torch.save and give that",
        ) from None
    except FileNotFoundError:
        raise UsageError(f"no file {path}") from None
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), "it ends too early")
        raise UsageError(f"{path} cannot be read as weights: {reason}") from None
    if not isinstance(loaded, dict):
        raise UsageError(f"{path} holds a {type(loaded).__name__}, weights are named tensors")
    return unwrap(loaded)


def recognised(path: str | Path, detector: str | None = None) -> tuple[str, Sizes]:
    """Whose weights a file holds, and what their shapes tell of the detector's sizes.

    Raises UsageError where they are of another detector than the one asked for.
    """
    name, sizes = sizes_of(read_weights(path))
    if detector not in (None, name):
        raise UsageError(
            f"{path} holds weights of {name}, not of {detector}", hint=f"--detector {name}"
        )
    return name, sizes


def read_dictionary(path: str | Path) -> NDArray[np.float32]:
    """S3R's dictionary [atoms, dim], as published in a .npy file."""
    try:
        return np.asarray(np.load(path, allow_pickle=False), np.float32)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as a .npy array: {error}") from None
