"""Weights from files: read without running what is in them, checked before use, never guessed.

A file is read for its tensors alone, told by the names of its entries, and must fit the network
to the last shape; whatever does not fit is a UsageError that says which entries.
"""

from __future__ import annotations

import codecs
import math
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from vad.errors import UsageError
from vad.files import sha256_of

State = dict[str, torch.Tensor]

WRAPPINGS = ("model_state", "state_dict", "model", "module")  # under which trainers put weights
SHOWN = 5  # entries that an error lists
UNKNOWN_LICENCE = "not known: a file given by its path"


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file and what identifies it."""

    state: State
    record: dict[str, Any] = field(default_factory=dict)  # for the provenance


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the tensors of a published file: safetensors, torch or (.pkl) a pickle of arrays.

    A state wrapped by a trainer is unwrapped, `module.` is stripped, and
    `num_batches_tracked`, which no feature depends on, is left out.
    Raises UsageError for a file that is missing or holds no tensors.
    """
    if not path.is_file():
        raise UsageError(f"no weights at {path}", hint="give a file, or a name: see `vad models`")
    read = {".safetensors": _read_safetensors, ".pkl": _read_arrays}.get(path.suffix, _read_torch)
    content = read(path)
    return Checkpoint(_tensors(content, path), {"file": path.name, "sha256": sha256_of(path)})


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path} is not a safetensors file: {error}") from error


class _Inert(dict[Any, Any]):
    """Stands for any object in a checkpoint that is not a tensor (settings, counters)."""

    def __init__(self, *_args: Any) -> None:
        super().__init__()

    def __setstate__(self, _state: Any) -> None:
        pass


def _read_torch(path: Path) -> Any:
    try:
        others = get_unsafe_globals_in_checkpoint(path) if zipfile.is_zipfile(path) else []
        with safe_globals([(type("Inert", (_Inert,), {}), name) for name in others]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise UsageError(f"{path} is not a file of weights: {first_line(error)}") from error


class _ArrayUnpickler(pickle.Unpickler):
    """Builds NumPy arrays and nothing else; a pickle that asks for more is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ARRAY_PARTS:
            return _ARRAY_PARTS[module, name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no array")


_ARRAY_PARTS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,  # how Python 3 writes bytes for Python 2
}
for _core in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _ARRAY_PARTS[_core, "_reconstruct"] = np.empty(0).__reduce__()[0]
    _ARRAY_PARTS[_core, "scalar"] = np.float32(0).__reduce__()[0]


def _read_arrays(path: Path) -> Any:
    """The blobs of a Caffe2 pickle without what its optimiser left: momenta, single numbers."""
    try:
        with path.open("rb") as file:
            content = _ArrayUnpickler(file, encoding="latin-1").load()
    except (pickle.UnpicklingError, ValueError, TypeError, EOFError, LookupError) as error:
        raise UsageError(f"{path} is not a pickle of arrays: {first_line(error)}") from error
    blobs = content.get("blobs", content) if isinstance(content, dict) else {}
    return {
        name: torch.from_numpy(np.array(blob, np.float32))
        for name, blob in blobs.items()
        if isinstance(blob, np.ndarray)
        and blob.dtype.kind == "f"
        and blob.size > 1
        and "momentum" not in str(name)
    }


def first_line(error: Exception) -> str:
    """What an error of another library says, short enough for one of ours."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _tensors(content: Any, path: Path) -> State:
    while isinstance(content, Mapping):
        inner = next(
            (content[key] for key in WRAPPINGS if isinstance(content.get(key), dict)), None
        )
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping) or not any(torch.is_tensor(v) for v in content.values()):
        raise UsageError(f"{path} holds no state dict: its content is a {type(content).__name__}")
    return {
        str(name).removeprefix("module."): value
        for name, value in content.items()
        if torch.is_tensor(value) and not str(name).endswith("num_batches_tracked")
    }


def load_strictly(network: nn.Module, state: State, source: str) -> None:
    """Put a state into a network that it fits exactly.

    Raises UsageError that lists what is missing, too many, of another shape or not a number.
    """
    wanted = {
        name: value
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    faults = {
        "missing": [name for name in wanted if name not in state],
        "not known": [name for name in state if name not in wanted],
        "of another shape": [
            f"{name} {list(state[name].shape)} for {list(wanted[name].shape)}"
            for name in wanted
            if name in state and state[name].shape != wanted[name].shape
        ],
        "not finite": [name for name, value in state.items() if not value.isfinite().all()],
    }
    found = [f"{len(names)} {kind} ({_few(names)})" for kind, names in faults.items() if names]
    if found:
        raise UsageError(
            f"the weights of {source} do not fit {type(network).__name__}: {'; '.join(found)}"
        )
    network.load_state_dict(state)


def _few(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def random_seed(weights: str) -> int | None:
    """The seed of `random:SEED`, or None for weights that are not random."""
    if not weights.startswith("random:"):
        return None
    seed = weights.removeprefix("random:")
    if not seed.isdecimal():
        raise UsageError(f"random weights are random:SEED with a whole number, not {weights!r}")
    return int(seed)


def fill_randomly(network: nn.Module, seed: int) -> dict[str, Any]:
    """Fill a network with the same random numbers on every machine; returns its record.

    No layer is left at a neutral value (a zero or one of a batch-norm hides mistakes), and the
    scales keep the activations of a deep network within a few orders of magnitude.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, value in network.state_dict().items():
        if not value.is_floating_point():
            continue
        if value.ndim > 1:  # kernels and matrices
            fan_in = math.prod(value.shape[1:])
            value.normal_(std=math.sqrt(2 / fan_in), generator=generator)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith("weight"):  # scales of norms
            value.uniform_(0.3, 0.7, generator=generator)
        else:
            value.normal_(std=0.1, generator=generator)
    return {"random": True, "seed": seed}
