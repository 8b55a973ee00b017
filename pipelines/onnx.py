"""Export a trained run as ONNX files: its detector, and the backbone that makes its features.

    detector.onnx   visual [snippets, crops, dim] (text [snippets, 1, dim]) -> scores [snippets]
    backbone.onnx   pixels [crops, frames, height, width, 3], 0..255 -> features [crops, dim]

Both are checked against PyTorch on real input: the detector on stored videos, the backbone on a
clip of one of these. Resizing and cropping of the frames are not part of the network; the file
carries the recipe that describes them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vad.errors import UsageError, VideoError
from vad.grid import CLIP_FRAMES
from vad.stages.extract.backbones import find_backbone
from vad.stages.extract.backbones.network import Network
from vad.stages.extract.crops import crop_boxes, cut, normalise, resize
from vad.stages.extract.decoders.pool import Clips, DecoderPool, Failed
from vad.stages.extract.features import load_backbone
from vad.stages.extract.recipes import Recipe, find_recipe
from vad.stages.extract.records import is_unchanged
from vad.stages.extract.settings import ExtractSettings
from vad.stages.infer.onnx import Arrays, Exported, Sample, check_packages, export, export_detector
from vad.stages.train.run import Run
from vad.stages.train.streams import read_streams
from vad.store import FeatureStore

from .features_for_run import extracted, settings_of

log = logging.getLogger("vad")

N_VIDEOS = 4  # on which the detector is checked
LENGTHS = (1, 2, 5)  # the first video is also checked when cut to these numbers of snippets


def export_onnx(
    run: str | Path,
    out: str | Path | None = None,
    *,
    store: str | Path | None = None,
    video: str | Path | None = None,
    backbone: bool = True,
    **settings: Any,
) -> Iterator[Exported]:
    """Write a run's networks into `out` (by default RUN/onnx); yield each file when written.

    store: its features check the detector; by default the store that the run was trained on. video:
    its first clip checks the backbone; by default a video of the store. `settings` are those of
    `ExtractSettings` that do not change features, such as `weights`. Raises UsageError if there is
    no real input to check with, InternalError if the outputs of ONNX and PyTorch differ.
    """
    check_packages()
    opened = Run.open(run)
    streams = extracted(opened) if backbone else []
    if any(stream.provenance and stream.provenance.imported for stream in streams):
        log.info("the features were imported, so their network is not known: no backbone.onnx")
        streams = []
    made = settings_of(streams[0], opened, settings) if len(streams) == 1 else None
    network = _network(made) if made else None
    if made and network and (network.arrays or network.recipe.window > CLIP_FRAMES):
        why = "it has optical flow" if network.arrays else "it looks beyond a clip"
        log.info("%s is more than a network (%s): no backbone.onnx", made.backbone, why)
        made = None
    features = FeatureStore.open(opened.find_store(store))
    folder = Path(out or opened.path / "onnx")
    yield export_detector(opened, _videos(opened, features), folder / "detector.onnx")
    if made:
        clip = _first_clip(Path(video) if video else _source(features), made)
        yield _export_backbone(opened, made, clip, folder / "backbone.onnx")


def _videos(run: Run, store: FeatureStore) -> Iterator[Arrays]:
    """Yield the arrays that the run reads of a few stored videos, and of the first cut short."""
    having = store.having(*run.names.values())
    if not having:
        raise UsageError(
            f"{store.backend} holds no video with {' and '.join(run.names.values())}",
            hint="name a --store whose features the run reads: they check the file",
        )
    for i, video_id in enumerate(having[:N_VIDEOS]):
        streams = read_streams(store, run.names, video_id)
        whole = {kind: stream.astype(np.float32) for kind, stream in streams.items()}
        yield whole
        for n in LENGTHS if i == 0 else ():
            yield {kind: stream[:n] for kind, stream in whole.items()}


def _source(store: FeatureStore) -> Path:
    """Return the path of a stored video whose file is still the one that was extracted. Raises
    UsageError if there is none.
    """
    for video_id in store.ids():
        record = store.record(video_id)
        path = store.source_of(record)
        if path.is_file() and is_unchanged(path, record):
            return path
    raise UsageError(
        f"the videos of {store.backend} are not there as they were",
        hint="name a --video: a clip of it checks the backbone; or give --no-backbone",
    )


def _first_clip(path: Path, made: ExtractSettings) -> Tensor:
    """Return the first clip of a video, uint8 [16, height, width, 3]."""
    with DecoderPool(1, clips_per_block=1, tail=made.tail or "repeat-last") as pool:
        for event in pool.decode([path]):
            if isinstance(event, Clips):
                return torch.from_numpy(event.rgb[0])
            if isinstance(event, Failed):
                raise event.error
    raise VideoError("no-frames", f"{path} has no frames")


class _Normalised(nn.Module):
    """A module that normalises raw pixels (float32 in 0..255) and applies the network to them."""

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        super().__init__()
        self.network, self.recipe = network, recipe

    def forward(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.network(normalise(pixels.clone(), self.recipe))
        return features


def _export_backbone(run: Run, made: ExtractSettings, clip: Tensor, path: Path) -> Exported:
    backbone = load_backbone(made)
    network = _network(made)
    pixels = _pixels(clip, network.recipe, made.crops or network.recipe.crops)
    expected = backbone(clip.numpy()[None])[0]
    return export(
        _Normalised(network.module, network.recipe),
        [Sample({"pixels": pixels}, expected)],
        path,
        output="features",
        is_dynamic=False,
        metadata={"run": run.name, "provenance": backbone.provenance},
    )


def _network(made: ExtractSettings) -> Network:
    """Return the network that the settings name, without moving it to a device."""
    card = find_backbone(made.backbone)
    recipe = find_recipe(made.recipe or card.recipes[0])
    taken = recipe.taking(made.crops or recipe.crops)
    load = import_module(card.module, "vad.stages.extract.backbones").load
    network: Network = load(made.weights or card.weights[0].name, taken, offline=made.offline)
    return network


def _pixels(clip: Tensor, recipe: Recipe, crops: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the crops of a clip as its recipe cuts them: [crops, frames, height, width, 3]."""
    frames = resize(clip[list(recipe.frames)], recipe)
    boxes = crop_boxes(recipe, crops, frames.shape[1], frames.shape[2])
    pixels = torch.empty(len(boxes), len(frames), *recipe.crop_size, 3)
    for view, crop in zip(pixels, boxes, strict=True):
        cut(frames, crop, view)
    return pixels.numpy()
