"""Choose the device on which networks run, and log the reason."""

from __future__ import annotations

import ctypes
import functools
import logging

import torch

from .errors import UsageError

log = logging.getLogger("vad")

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # parameters of glibc's mallopt
KEPT_BYTES = 1 << 30

CHOICES = "use auto, cpu, cuda, cuda:1, cuda:0,cuda:1 or cuda:all"


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of a name: `auto`, `cpu`, `cuda`, `cuda:1`. Raises UsageError if there
    is no such device."""
    if name == "auto":
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        log.info("device %s (auto: %s)", device, _why(device))
    else:
        device = _named(name)
    if device.type == "cpu":
        keep_freed_memory()
    else:  # by default, TF32 rounds inputs to 10 bits, so results differ from a CPU's by 1e-3
        torch.backends.cudnn.allow_tf32 = False
    return device


def names_of_devices(name: str) -> list[str]:
    """Return the devices that a name means: several for `cuda:0,cuda:1` or `cuda:all`, else one."""
    if name == "cuda:all":
        return [f"cuda:{index}" for index in range(torch.cuda.device_count())] or ["cuda"]
    return [one.strip() for one in name.split(",")]


def _named(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"no device named {name!r}", hint=CHOICES) from None
    if device.type == "cuda":
        n_gpus = torch.cuda.device_count()
        if (device.index or 0) >= n_gpus:
            why = f" ({_why_none()})" if n_gpus == 0 else ""
            raise UsageError(
                f"--device {name}: this machine shows {n_gpus} CUDA devices{why}",
                hint="use --device cpu, or see: vad doctor",
            )
    elif device.type != "cpu":
        raise UsageError(f"device {name!r} is not supported", hint=CHOICES)
    return device


@functools.cache
def keep_freed_memory() -> None:
    """Let this process reuse large blocks of memory that it has freed.

    Otherwise every tensor of some megabytes is new memory from the system, which fills each page
    with zeros; this takes a twelfth of the time of I3D on a CPU. Without glibc, nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    for parameter, value in (
        (M_MMAP_THRESHOLD, KEPT_BYTES),
        (M_TRIM_THRESHOLD, KEPT_BYTES),
        (M_ARENA_MAX, 1),
    ):
        mallopt(parameter, value)


def _why_none() -> str:
    """Return why torch finds no GPU: built without CUDA, or the driver is missing or too old."""
    if torch.version.cuda is None:
        return "this torch is built for the CPU alone"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return " ".join(str(error).split()).partition(" Please")[0].rstrip(".")
    return "none is visible"


def _why(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"no CUDA device: {_why_none()}"
