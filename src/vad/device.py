"""Where the numbers are computed, and why there."""

from __future__ import annotations

import ctypes
import functools
import logging

import torch

from .errors import UsageError

log = logging.getLogger("vad")

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of glibc's mallopt
KEPT_BYTES = 1 << 30

CHOICES = "use auto, cpu, cuda, cuda:1, cuda:0,cuda:1 or cuda:all"


def choose_device(name: str = "auto") -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:1` into a device; UsageError if it is not there."""
    if name == "auto":
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        log.info("device %s (auto: %s)", device, _why(device))
    else:
        device = _named(name)
    if device.type == "cpu":
        keep_freed_memory()
    else:  # by default convolutions round their input to 10 bits, and differ from a CPU's by 1e-3
        torch.backends.cudnn.allow_tf32 = False
    return device


def choose_devices(name: str) -> list[torch.device]:
    """The devices of `cuda:0,cuda:1` or `cuda:all`, or the one that `choose_device` chooses."""
    if name == "cuda:all":
        names = [f"cuda:{index}" for index in range(torch.cuda.device_count())] or ["cuda"]
    else:
        names = name.split(",")
    return [choose_device(one.strip()) for one in names]


def _named(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"no device named {name!r}", hint=CHOICES) from None
    if device.type == "cuda":
        n_gpus = torch.cuda.device_count()
        if (device.index or 0) >= n_gpus:
            raise UsageError(
                f"--device {name}: this machine shows {n_gpus} CUDA devices",
                hint="use --device cpu, or see: vad doctor",
            )
    elif device.type != "cpu":
        raise UsageError(f"device {name!r} is not supported", hint=CHOICES)
    return device


@functools.cache
def keep_freed_memory() -> None:
    """Let this process reuse large blocks of memory that it has freed.

    Otherwise every tensor of some megabytes is new memory of the system, which fills each page of
    it with zeros: a twelfth of the time of I3D on a CPU. Nothing happens where there is no glibc.
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


def _why(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return "torch finds no CUDA device"
