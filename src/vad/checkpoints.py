"""Read weights files without running code that they contain.

Supported are safetensors files, files of `torch.save`, and pickles of NumPy arrays. Objects other
than tensors, such as the settings of a training script, are replaced by empty stand-ins and named
in the log.
"""

from __future__ import annotations

import logging
import pickle
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from .errors import UsageError
from .pickles import read_pickle

log = logging.getLogger("vad")

State = dict[str, torch.Tensor]

# Keys under which training scripts save a state_dict, beside the epoch and the optimizer's state.
CONTAINERS = ("model_state_dict", "model_state", "state_dict", "model", "net", "module")
PREFIXES = (
    "module.",
    "model.",
)  # common prefixes of names, by data-parallel training and by Lightning
PROGRAMS = ("builtins", "__builtin__", "os", "posix", "nt", "subprocess", "sys", "importlib")
SHOWN = 5  # names that a message lists


def read_weights_file(path: str | Path) -> State:
    """Return the tensors of a weights file by name, without its container and common prefixes.

    Raises UsageError if the file is missing, damaged or not a weights file, or if it names
    functions, which would run code when it is unpickled.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"no weights at {path}", hint="give a file, or a name: see `vad models`")
    if path.suffix == ".safetensors":
        content: object = read_safetensors(path)
    elif _is_torch(path):
        content = _read_torch(path)
    else:
        content = _read_arrays(path)
    try:
        return state_of(content)
    except ValueError as error:
        raise UsageError(f"{path} {error}") from None


def read_safetensors(path: Path) -> State:
    """Return the tensors of a safetensors file. Raises UsageError if it is missing or damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path} cannot be read as safetensors: {error}") from None


def state_of(content: object) -> State:
    """Return the tensors in the content of a file, without its container and common prefixes.

    Other values are left out and named in the log. Raises ValueError if there is no tensor.
    """
    while isinstance(content, Mapping):
        held = (content[name] for name in CONTAINERS if isinstance(content.get(name), Mapping))
        if (inner := next(held, None)) is None:
            break
        content = inner
    if isinstance(content, Mapping) and "param_groups" in content:
        raise ValueError("holds the state of an optimizer, no weights")
    if not isinstance(content, Mapping):
        raise ValueError(f"holds a {type(content).__name__}, weights are named tensors")
    state = {str(name): value for name, value in content.items() if torch.is_tensor(value)}
    if not state:
        raise ValueError(f"holds no tensor, but: {few(map(str, content)) or 'nothing'}")
    if others := [str(name) for name in content if str(name) not in state]:
        log.info("left out beside the weights: %s", few(others))
    while prefix := next((p for p in PREFIXES if all(n.startswith(p) for n in state)), ""):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _is_torch(path: Path) -> bool:
    """Return True if `torch.save` wrote the file: a zip file, or a pickle with the old format's
    start.
    """
    with path.open("rb") as file:
        start = file.read(64)
    return start.startswith(b"PK") or b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19" in start


class _StandIn(dict[object, object]):
    """Replaces any object in a file that is not a tensor."""

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        super().__init__()

    def __setstate__(self, _state: object) -> None:
        pass


def _read_torch(path: Path) -> object:
    try:
        others: list[str] = []
        if zipfile.is_zipfile(path):
            _check_sizes(path)
            others = get_unsafe_globals_in_checkpoint(path)
        if programs := [name for name in others if name.split(".")[0] in PROGRAMS]:
            raise pickle.UnpicklingError(f"it asks for {programs[0]}")
        with safe_globals([(type("StandIn", (_StandIn,), {}), name) for name in others]):
            content: object = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise _unreadable(path) from None
    except Exception as error:  # torch raises all kinds of errors for a malformed file
        raise UsageError(f"{path} cannot be read as weights: {first_line(error)}") from None
    if isinstance(content, _StandIn):
        raise _unreadable(path)
    return content


def _unreadable(path: Path) -> UsageError:
    return UsageError(
        f"{path} is no file of tensors alone: it is damaged, or holds pickled objects, "
        "which could run code",
        hint="where its source is trusted, save its state_dict() by torch.save and give that",
    )


def _check_sizes(path: Path) -> None:
    """Raise ValueError if the entries of a zip file declare more bytes than the file has.

    torch stores entries uncompressed, so a compressed file does not contain weights, but could be
    an attempt to fill the memory.
    """
    with zipfile.ZipFile(path) as archive:
        claimed = sum(entry.file_size for entry in archive.infolist())
    if claimed > path.stat().st_size:
        raise ValueError(f"its entries claim {claimed} bytes, it has {path.stat().st_size}")


def _read_arrays(path: Path) -> object:
    """Return the arrays of a pickle, such as one of Caffe2 or JAX, as tensors; optimizer momenta
    are left out. The names of arrays in nested dictionaries are joined by slashes.

    Raises UsageError if the file is a web page or damaged.
    """
    content = path.read_bytes()
    if content.lstrip()[:1] == b"<":
        raise UsageError(
            f"{path} is a web page, not weights",
            hint="open its link in a browser: the host asks for a person before it hands them out",
        )
    try:
        found = read_pickle(content)
    except ValueError as error:
        raise UsageError(f"{path} cannot be read as weights: {first_line(error)}") from None
    blobs = found.get("blobs", found) if isinstance(found, dict) else {}
    return {
        name: torch.from_numpy(np.array(blob, np.float32))
        for name, blob in _flat(blobs)
        if isinstance(blob, np.ndarray)
        and blob.dtype.kind == "f"
        and blob.size > 1
        and "momentum" not in name
    }


def _flat(values: Mapping[object, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the values of nested dictionaries with the names `outer/inner`."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def first_line(error: Exception) -> str:
    """Return the first line of another library's error message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def few(names: Iterable[str]) -> str:
    """Return the first of some names as text, followed by `...` if there are more."""
    names = list(names)
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
