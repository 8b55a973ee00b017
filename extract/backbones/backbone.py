"""From clips to features: the code that all networks share."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from vad.errors import UsageError
from vad.grid import CLIP_FRAMES
from vad.names import find_by_name

from ..crops import resize
from ..recipes import Recipe
from .engine import Compiled, compiled
from .network import Columns, Network
from .passes import (
    CropPass,
    GatherPass,
    Gathers,
    Pass,
    Shape,
    alike_neighbours,
)

Clips = Iterable[NDArray[np.uint8]] | torch.Tensor  # a tensor iterates over its first axis
Precision = Literal["auto", "fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
BATCHES_AHEAD = 3  # in progress on a GPU: one is computed, one copied there, one read back
MIN_COSINE = 0.9999  # least cosine between half-precision and fp32 features


class Features:
    """The features of a batch of clips, perhaps still being computed."""

    def __init__(
        self,
        values: torch.Tensor,
        parts: Sequence[Future[None] | Future[torch.cuda.Event]],
        clips: Sequence[torch.Tensor] = (),
    ) -> None:
        self._values, self._parts = values, parts
        self._clips = clips  # kept alive until the GPU has read them

    def result(self) -> NDArray[np.float32]:
        """Wait for the features and return them: float32 [clips, crops, dim]."""
        for part in self._parts:
            if on_gpu := part.result():
                on_gpu.synchronize()
        self._clips = ()
        return self._values.numpy()

    def cancel(self) -> None:
        """Cancel the parts that have not started; `result` then raises CancelledError."""
        for part in self._parts:
            part.cancel()


class Backbone:
    """A network with its recipe: it takes uint8 clips and returns features.

    name, dim, crops (names, in the order of the features), recipe, network. provenance: everything
    that the features depend on, as JSON values. n_clips: clips per batch. n_ahead: clips to keep in
    progress, so that the device is never idle.

    The features of a clip do not depend on the other clips of the batch or on their number. On a
    CPU, each core runs forward passes of its own, each on one thread and on crops of one clip. On a
    GPU, all passes have the same shape, and a separate CUDA stream copies clips to the GPU while it
    computes.
    """

    def __init__(
        self,
        name: str,
        network: Network,
        *,
        crops: str,
        device: torch.device,
        precision: str,
        batch: int | None = None,
    ) -> None:
        self.name = name
        self.dim = network.dim
        self._arrays = network.arrays or (Columns("visual", 0, self.dim, (-1, self.dim)),)
        self.recipe = network.recipe
        self.crops = self.recipe.crop_names(crops)
        if network.arrays and len(self.crops) > 1:
            raise UsageError(
                f"{name} looks at one view of a clip and tells where in it",
                hint="--crops whole or center; other crops are for other backbones",
            )
        self._device = device
        on_cpu = device.type == "cpu"
        n_views = network.cpu_views if on_cpu else network.gpu_views
        self.n_clips = batch or (1 if on_cpu else max(1, n_views // len(self.crops)))
        module = network.module
        if not on_cpu and network.for_gpu is not None:
            module = network.for_gpu(module)
        self.network, chosen = _in_precision(module.to(device), precision, self.recipe, device)
        n_lanes = torch.get_num_threads() if on_cpu else 1  # each lane uses one thread
        if on_cpu and chosen["used"] == "fp32":
            n_views = min(n_views, len(self.crops))
            self.network = self._compiled(network, n_views, n_lanes)
        shape = Shape(
            name, self.recipe, crops, self.n_clips, n_views, device, DTYPES[chosen["used"]]
        )
        self._pass: Pass
        if isinstance(self.network, Gathers):
            self._pass = GatherPass(self.network, shape)
        else:
            self._pass = CropPass(self.network, shape)
        self.n_ahead = (n_lanes + (1 if on_cpu else BATCHES_AHEAD)) * self.n_clips
        self._copying = None if on_cpu else torch.cuda.Stream(device)
        self._lanes = ThreadPoolExecutor(n_lanes, "backbone", torch.set_num_threads, (1,))
        self.provenance: dict[str, Any] = {
            "backbone": name,
            "dim": self.dim,
            "weights": network.weights,
            "layout": network.layout,
            "recipe": self.recipe.record(),
            "crop_set": crops,
            "crops": list(self.crops),
            "precision": chosen,
            "engine": _engine_of(self.network),
            **(
                {"blocks": {name: list(span) for name, span in network.blocks.items()}}
                if network.blocks
                else {}
            ),
            **({"places": network.places} if network.places != "full" else {}),
            **({"window": self.recipe.window} if self.recipe.window > CLIP_FRAMES else {}),
            **({"cells": json.loads(json.dumps(asdict(network.cells)))} if network.cells else {}),
            "versions": {library: version(library) for library in network.libraries},
        }

    def __call__(self, clips: NDArray[np.uint8] | torch.Tensor) -> NDArray[np.float32]:
        """Return the features of every crop of every clip.

        clips: uint8 [clips, window, height, width, 3], RGB -> float32 [clips, crops, dim]; window
        is 16 frames, or more for networks that look beyond a snippet (`recipe.window`).
        """
        return self.submit(clips).result()

    @property
    def arrays(self) -> tuple[str, ...]:
        """Return the names of the stored arrays, "visual/<name>" first."""
        return tuple(f"{columns.kind}/{self.name}" for columns in self._arrays)

    def bytes_of_snippet(self, dtype: str) -> int:
        """Return the size in bytes of the arrays of a snippet, in `dtype` where they have no dtype
        of their own.
        """
        return sum(
            math.prod(len(self.crops) if n < 0 else n for n in columns.stored)
            * np.dtype(columns.dtype or dtype).itemsize
            for columns in self._arrays
        )

    def arrays_of(
        self, features: NDArray[np.float32], fps: float, dtype: str
    ) -> dict[str, NDArray[np.generic]]:
        """Cut the arrays of the store out of features, by name.

        features: float32 [clips, crops, dim], as calling the backbone returns them. fps: frame rate
        of the video, by which motion per frame becomes motion per second. Returns
        [clips, crops, dim] for "visual/<name>", and the arrays' own shapes for others, in `dtype`
        where they have no dtype of their own.
        """
        found = {}
        for name, columns in zip(self.arrays, self._arrays, strict=True):
            part = features[..., columns.start : columns.stop]
            part = part.reshape(len(features), *columns.shape)
            if columns.per_second:
                step = self.recipe.frames[1] - self.recipe.frames[0]
                rates = np.ones(columns.shape[-1], np.float32)
                rates[-columns.per_second :] = fps / step
                part = part * rates
            found[name] = part[..., columns.first :].astype(columns.dtype or dtype)
        return found

    def empty(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Return an uninitialised uint8 array for clips: in pinned memory for a GPU, else in
        ordinary memory.
        """
        if self._copying is None:
            return np.empty(shape, np.uint8)
        return torch.empty(shape, dtype=torch.uint8, pin_memory=True).numpy()

    def _compiled(self, network: Network, n_views: int, n_lanes: int) -> nn.Module:
        def compile_(module: nn.Module, shape: Sequence[int]) -> nn.Module:
            return compiled(module, shape, n_lanes)

        if network.for_cpu is not None:
            return network.for_cpu(self.network, compile_)
        return compile_(self.network, (n_views, len(self.recipe.frames), *self.recipe.crop_size, 3))

    @torch.inference_mode()
    def submit(self, clips: Clips) -> Features:
        """Start computing the features of clips and return at once.

        clips: uint8 [window, height, width, 3] each, RGB; their sizes can differ. Raises UsageError
        for other arrays.
        """
        given = [self._frames_of(clip) for clip in clips]
        size = (len(given), len(self.crops), self.dim)
        if self._copying is not None:
            return self._submit_to_gpu(given, torch.empty(size, pin_memory=True), self._copying)
        pictures, features = [resize(clip, self.recipe) for clip in given], torch.empty(size)
        n_clips, n_crops = self.n_clips, self._pass.crops_at_once
        parts = [
            self._lanes.submit(
                self._forward,
                pictures[start : start + n_clips],
                slice(first, first + n_crops),
                features[start : start + n_clips, first : first + n_crops],
            )
            for start in range(0, len(pictures), n_clips)
            for first in range(0, len(self.crops), n_crops)
        ]
        return Features(features, parts)

    def _frames_of(self, clip: NDArray[np.uint8] | torch.Tensor) -> torch.Tensor:
        """Return those frames of a clip that the network uses. Raises UsageError if the array is no
        clip.
        """
        if isinstance(clip, np.ndarray):
            clip = torch.from_numpy(np.require(clip, requirements=("C", "W")))
        window = self.recipe.window
        if clip.dtype != torch.uint8 or clip.ndim != 4 or clip.shape[::3] != (window, 3):
            raise UsageError(
                f"clips are uint8 [clips, {window}, height, width, 3], "
                f"got {clip.dtype} [clips, {', '.join(map(str, clip.shape))}]"
            )
        taken = self.recipe.frames
        return clip if len(taken) == window else clip[list(taken)]

    @torch.inference_mode()
    def _forward(self, pictures: list[torch.Tensor], crops: slice, features: torch.Tensor) -> None:
        """Run one pass of the network on some crops of resized clips, and write the features to
        `features`.
        """
        features.copy_(self._pass(pictures, crops))

    # --- on a GPU

    def _submit_to_gpu(
        self, clips: list[torch.Tensor], features: torch.Tensor, copying: torch.cuda.Stream
    ) -> Features:
        parts = []
        for start in range(0, len(clips), self.n_clips):
            batch = clips[start : start + self.n_clips]
            with torch.cuda.stream(copying):
                there = [clip.to(self._device, non_blocking=True) for clip in batch]
                arrived = copying.record_event()
            into = features[start : start + self.n_clips]
            parts.append(self._lanes.submit(self._forward_on_gpu, there, arrived, into))
        return Features(features, parts, clips)

    @torch.inference_mode()
    def _forward_on_gpu(
        self, clips: list[torch.Tensor], arrived: torch.cuda.Event, features: torch.Tensor
    ) -> torch.cuda.Event:
        """Queue resizing and all passes for clips on the GPU. Returns the event that marks their
        completion.
        """
        computing = torch.cuda.current_stream(self._device)
        computing.wait_event(arrived)
        pictures: list[torch.Tensor] = []
        for group in alike_neighbours(clips):
            for clip in group:
                clip.record_stream(computing)
            frames = resize(torch.stack(group).flatten(0, 1), self.recipe)
            pictures += frames.unflatten(0, (len(group), -1))
        for first in range(0, len(self.crops), self._pass.crops_at_once):
            crops = slice(first, first + self._pass.crops_at_once)
            features[:, crops].copy_(self._pass(pictures, crops), non_blocking=True)
        done: torch.cuda.Event = computing.record_event()
        return done


def _in_precision(
    network: nn.Module, asked: str, recipe: Recipe, device: torch.device
) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network in the precision asked for, and the record of the choice.

    `auto` is fp32 on a CPU. On a GPU, it is the first half precision whose features of a probe
    agree with those of fp32. The probe is smooth noise, the same in every run, so that two runs
    into one store choose alike.
    """
    find_by_name("precision", asked, dict.fromkeys(get_args(Precision)))
    if asked != "auto" or device.type == "cpu":
        used = "fp32" if asked == "auto" else asked
        if used == "bf16" and not _knows_bf16(device):
            raise UsageError(
                f"{torch.cuda.get_device_name(device)} does not compute in bf16",
                hint="use --precision auto or fp16",
            )
        return network.to(DTYPES[used]), {"asked": asked, "used": used}
    n_frames = len(recipe.frames)
    noise = torch.randn(1, 3, n_frames, 14, 14, generator=torch.Generator().manual_seed(0))
    smooth = F.interpolate(noise, (n_frames, *recipe.crop_size), mode="trilinear")
    probe = smooth.permute(0, 2, 3, 4, 1).contiguous().to(device)
    halves = ("bf16", "fp16") if _knows_bf16(device) else ("fp16",)
    network, record = faithful_half(network, probe, halves)
    return network, {"asked": asked, **record}


def _engine_of(network: nn.Module) -> str:
    runs_compiled = any(isinstance(module, Compiled) for module in network.modules())
    return "openvino" if runs_compiled else "pytorch"


def _knows_bf16(device: torch.device) -> bool:
    if device.type == "cpu":
        return True
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


@torch.inference_mode()
def faithful_half(
    network: nn.Module, probe: torch.Tensor, halves: Sequence[str] = ("bf16", "fp16")
) -> tuple[nn.Module, dict[str, Any]]:
    """Return a copy of the network in the first precision of `halves` that is accurate, and the
    record; if none is accurate, the network itself in fp32.

    A precision is accurate if the cosine of its features with those of fp32 is at least 0.9999.

    probe: normalised RGB [views, frames, height, width, 3].
    """
    exact = _of_views(network, probe)
    for used in halves:
        half = copy.deepcopy(network).to(DTYPES[used])
        features = _of_views(half, probe.to(DTYPES[used])).float()
        cosine = F.cosine_similarity(features, exact).min().item()
        if cosine >= MIN_COSINE:
            return half, {"used": used, "cosine": round(cosine, 6)}
    return network, {"used": "fp32"}


def _of_views(network: nn.Module, views: torch.Tensor) -> torch.Tensor:
    """Return features [views, dim] of normalised RGB [views, frames, height, width, 3]."""
    of_views = network.of_views if isinstance(network, Gathers) else network
    return cast(torch.Tensor, of_views(views))
