"""Where the numbers are computed, and why there."""

from __future__ import annotations

import logging

import torch

from .errors import UsageError

log = logging.getLogger("vad")

CHOICES = "use auto, cpu, cuda or cuda:1"


def choose_device(name: str = "auto") -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:1` into a device; UsageError if it is not there."""
    if name == "auto":
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        log.info("device %s (auto: %s)", device, _why(device))
        return device
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


def _why(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return "torch finds no CUDA device"
