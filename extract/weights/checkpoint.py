"""Weights of backbones: read from files and checked before use.

Weights must fit the network in all names and shapes. A UsageError lists those that do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from vad.checkpoints import State as State
from vad.checkpoints import few, read_weights_file
from vad.errors import UsageError
from vad.files import sha256_of

UNKNOWN_LICENCE = "not known: a file given by its path"


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a weights file, and the record that identifies the file."""

    state: State
    record: dict[str, object] = field(default_factory=dict)  # for the provenance


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the tensors of a weights file; see `vad.checkpoints.read_weights_file`.

    `num_batches_tracked` is left out, as no feature depends on it.
    """
    tensors = read_weights_file(path)
    state = {n: value for n, value in tensors.items() if not n.endswith("num_batches_tracked")}
    return Checkpoint(state, {"file": path.name, "sha256": sha256_of(path)})


def load_strictly(network: nn.Module, state: State, source: str) -> None:
    """Load a state dict into a network that it must fit exactly.

    Raises UsageError that lists the tensors which are missing, unknown, of another shape, or hold
    values that are not finite.
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
    found = [f"{len(names)} {kind} ({few(names)})" for kind, names in faults.items() if names]
    if found:
        raise UsageError(
            f"the weights of {source} do not fit {type(network).__name__}: {'; '.join(found)}"
        )
    network.load_state_dict(state)


def random_seed(weights: str) -> int | None:
    """Return the seed of `random:SEED`, or None for other weights. Raises UsageError if SEED is no
    whole number.
    """
    if not weights.startswith("random:"):
        return None
    seed = weights.removeprefix("random:")
    if not seed.isdecimal():
        raise UsageError(f"random weights are random:SEED with a whole number, not {weights!r}")
    return int(seed)


def fill_randomly(network: nn.Module, seed: int) -> dict[str, object]:
    """Fill a network with random numbers that depend on the seed alone, on every machine. Returns
    what provenance says of the weights: `{"random": True, "seed": seed}`.

    No layer keeps a neutral value, as a zero or one in a batch-norm would hide mistakes. The scales
    keep the activations of a deep network within a few orders of magnitude.
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
