"""The network that a backbone's module loads, ready to run, and the record of its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vad.errors import InternalError, UsageError
from vad.store.metadata import Cells

from ..recipes import Recipe

Places = Literal["none", "flow", "full"]
Compile = Callable[[nn.Module, Sequence[int]], nn.Module]


@dataclass(frozen=True)
class Columns:
    """One stored array of those that a network's row of features holds side by side."""

    kind: str  # the array is `<kind>/<name of the backbone>`
    start: int  # its first column in the row
    stop: int
    shape: tuple[int, ...]  # of one snippet
    dtype: str | None = None  # None: the dtype that the settings name
    per_second: int = 0  # number of last columns with motion per frame, stored per second
    first: int = 0  # of the last axis of `shape`: columns before it are not stored

    @property
    def stored(self) -> tuple[int, ...]:
        """Return the shape of one snippet in the store."""
        return *self.shape[:-1], self.shape[-1] - self.first


@dataclass(frozen=True)
class Network:
    """A network with its weights.

    `module` maps normalised RGB, float32 [views, frames, crop height, crop width, 3], to
    [views, dim]: a view is one crop of one clip.
    """

    module: nn.Module
    dim: int
    recipe: Recipe  # as asked for, with the frames and sizes that the weights need
    weights: dict[str, Any]  # record for the provenance: name, sha256, licence
    layout: str  # the variant of the architecture
    cpu_views: int  # views per forward pass that are fastest on a CPU
    gpu_views: int
    arrays: tuple[Columns, ...] = ()  # what a row of features holds; () if it is one array
    blocks: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # named columns, from, to
    cells: Cells | None = None  # of the picture, if features are pooled over cells
    places: Places = "full"  # what is stored of each cell
    libraries: tuple[str, ...] = field(default=("torch",))  # their versions can change features
    for_gpu: Callable[[nn.Module], nn.Module] | None = None  # makes the faster form for a GPU
    # makes the faster form for a CPU, given what compiles a network for a shape of its input
    for_cpu: Callable[[nn.Module, Compile], nn.Module] | None = None


class Load(Protocol):
    """The function `load` that every backbone module offers."""

    def __call__(self, weights: str, recipe: Recipe, *, offline: bool) -> Network: ...


def with_places(network: Network, places: Places) -> Network:
    """Return the network with less of each cell stored: "flow" leaves the columns with motion of
    the array of cells, "none" leaves out this array.

    Raises UsageError if the network has no such array.
    """
    if places == "full":
        return network
    every = next((columns for columns in network.arrays if columns.kind == "places"), None)
    if every is None or network.cells is None:
        raise UsageError(
            f"--places {places}: this backbone stores no cells of the picture",
            hint="leave it out, or use --backbone efficientnet-lite0-parts",
        )
    first = every.shape[-1] - (every.per_second if places == "flow" else 0)
    others = [columns for columns in network.arrays if columns is not every]
    kept = [replace(every, first=first)] if places == "flow" else []
    pooled = [
        replace(part, of=tuple(column - first for column in part.of))
        for part in network.cells.pooled
        if part.by == "peaks" or part.of[0] >= first
    ]
    directions = [
        tuple(column - first for column in group)
        for group in network.cells.directions
        if group[0] >= first
    ]
    return replace(
        network,
        arrays=(*others[:1], *kept, *others[1:]),
        cells=replace(network.cells, pooled=tuple(pooled), directions=tuple(directions)),
        places=places,
    )


def fold(module: nn.Module, pairs: Iterable[tuple[str, str]]) -> None:
    """Make a network faster without changing its function: fold batch-norms into convolutions, and
    store kernels channels-last.

    pairs: dotted names of (convolution, batch-norm) inside `module`, which is changed in place. The
    folding is done in double precision; features change by 1e-6 of their size.
    """
    module.eval().requires_grad_(False)
    for conv_name, norm_name in pairs:
        conv, norm = module.get_submodule(conv_name), module.get_submodule(norm_name)
        if not isinstance(conv, (nn.Conv2d, nn.Conv3d)) or not isinstance(norm, _BatchNorm):
            raise InternalError(f"{conv_name} and {norm_name} are no convolution and batch-norm")
        module.set_submodule(conv_name, fuse_conv_bn_eval(conv.double(), norm.double()).float())
        module.set_submodule(norm_name, nn.Identity())
    for kernel in module.parameters():
        if kernel.ndim in (4, 5):
            layout = torch.channels_last if kernel.ndim == 4 else torch.channels_last_3d
            kernel.data = kernel.data.contiguous(memory_format=layout)
