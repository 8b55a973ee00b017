"""Clips to features: the part that is the same for every network."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager
from importlib.metadata import version
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from vad.errors import UsageError
from vad.grid import CLIP_FRAMES

from ..crops import crop_boxes, cut, normalise, resize
from ..recipes import ALL_FRAMES, find_by_name
from .network import Network

Precision = Literal["auto", "fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
MIN_COSINE = 0.9999  # features of half precision must point where those of fp32 do


class Backbone:
    """A network behind its recipe: uint8 clips in, features out.

    name, dim, crops (names, in the order of the features), recipe, network, and provenance:
    everything the numbers depend on, ready for JSON.
    """

    def __init__(
        self, name: str, network: Network, *, crops: str, device: torch.device, precision: str
    ) -> None:
        self.name = name
        self.dim = network.dim
        self.recipe = network.recipe
        self.crops = self.recipe.crop_names(crops)
        self._crop_set = crops
        self._device = device
        n_views = network.cpu_views if device.type == "cpu" else network.gpu_views
        self._clips_at_once = max(1, n_views // len(self.crops))
        self._crops_at_once = min(n_views, len(self.crops))
        shape = (self.recipe.crop_px, self.recipe.crop_px, 3)
        self._buffer = torch.empty(
            (self._clips_at_once, self._crops_at_once, len(self.recipe.frames), *shape),
            device=device,
        )
        self.network, chosen = _in_precision(network.module.to(device), precision, self._buffer)
        self._dtype = DTYPES[chosen["used"]]
        self.provenance: dict[str, Any] = {
            "backbone": name,
            "dim": self.dim,
            "weights": network.weights,
            "layout": network.layout,
            "recipe": self.recipe.record(),
            "crop_set": crops,
            "crops": list(self.crops),
            "precision": chosen,
            "versions": {library: version(library) for library in network.libraries},
        }

    @torch.inference_mode()
    def __call__(self, clips: NDArray[np.uint8] | torch.Tensor) -> NDArray[np.float32]:
        """Features of every crop of every clip.

        clips uint8 [clips, 16, height, width, 3], RGB -> float32 [clips, crops, dim]
        """
        if isinstance(clips, np.ndarray):
            clips = torch.from_numpy(np.require(clips, requirements=("C", "W")))
        if clips.dtype != torch.uint8 or clips.ndim != 5 or clips.shape[1::3] != (CLIP_FRAMES, 3):
            raise UsageError(
                f"clips are uint8 [clips, {CLIP_FRAMES}, height, width, 3], "
                f"got {clips.dtype} {list(clips.shape)}"
            )
        features = torch.empty(len(clips), len(self.crops), self.dim)
        for start in range(0, len(clips), self._clips_at_once):
            block = slice(start, start + self._clips_at_once)
            self._extract(clips[block].to(self._device), features[block])
        return features.numpy()

    def _extract(self, clips: torch.Tensor, features: torch.Tensor) -> None:
        """Features of as many clips as fit the buffer, all crops of them."""
        taken = self.recipe.frames
        frames = clips if taken == ALL_FRAMES else clips[:, list(taken)]
        resized = torch.stack([resize(clip, self.recipe) for clip in frames])
        boxes = crop_boxes(self.recipe, self._crop_set, resized.shape[2], resized.shape[3])
        for start in range(0, len(boxes), self._crops_at_once):
            chunk = boxes[start : start + self._crops_at_once]
            views = self._buffer[: len(clips), : len(chunk)]
            for position, crop in enumerate(chunk):
                cut(resized, crop, views[:, position])
            pixels = normalise(views.flatten(0, 1), self.recipe)
            with _true_fp32():
                output = self.network(pixels.to(self._dtype)).float()
            features[:, start : start + len(chunk)] = output.unflatten(0, views.shape[:2])


def _in_precision(
    network: nn.Module, asked: str, buffer: torch.Tensor
) -> tuple[nn.Module, dict[str, Any]]:
    """The network in the precision asked for, and the record of the choice.

    `auto` is fp32 on a CPU, and on a GPU the first half precision that is faithful on a probe:
    smooth noise of the input's size, the same in every run, so that two runs into one store
    decide alike.
    """
    find_by_name("precision", asked, dict.fromkeys(get_args(Precision)))
    if asked != "auto" or buffer.device.type == "cpu":
        used = "fp32" if asked == "auto" else asked
        return network.to(DTYPES[used]), {"asked": asked, "used": used}
    n_frames, size = buffer.shape[2:4]
    noise = torch.randn(1, 3, n_frames, 14, 14, generator=torch.Generator().manual_seed(0))
    smooth = F.interpolate(noise, (n_frames, size, size), mode="trilinear")
    probe = smooth.permute(0, 2, 3, 4, 1).contiguous().to(buffer.device)
    network, record = faithful_half(network, probe)
    return network, {"asked": asked, **record}


@torch.inference_mode()
def faithful_half(network: nn.Module, probe: torch.Tensor) -> tuple[nn.Module, dict[str, Any]]:
    """A copy of the network in bf16, else fp16, else itself; and the record of the choice.

    Half precision must give features of the probe whose cosine with those of fp32 is 0.9999.
    """
    with _true_fp32():
        exact = network(probe)
    for used in ("bf16", "fp16"):
        half = copy.deepcopy(network).to(DTYPES[used])
        features = half(probe.to(DTYPES[used])).float()
        cosine = F.cosine_similarity(features, exact).min().item()
        if cosine >= MIN_COSINE:
            return half, {"used": used, "cosine": round(cosine, 6)}
    return network, {"used": "fp32"}


def _true_fp32() -> AbstractContextManager[None]:
    """Without it, a GPU's convolutions round fp32 input to the 10 bits of TF32."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
