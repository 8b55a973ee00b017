"""Measure backbones on a CPU: seconds a clip by the engine and by PyTorch, and disk per hour.

    python benchmarks/backbones.py                       # efficientnet-lite0-parts, i3d-inception
    python benchmarks/backbones.py i3d-inception --weights i3d-kinetics-400.ckpt

Times are CPU seconds of the network and of the preparation of pixels, without decoding, on one
thread, after a first clip. Both ways see the same clips of 320x240 in turns, in one process. Disk
is that of a store of one video with everything that `vad extract` writes, scaled to an hour at 30
frames a second. The difference is that of the array `visual/...`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import torch
from clips import DATA
from numpy.typing import NDArray

import vad
from vad.stages.extract.backbones import create_backbone
from vad.stages.extract.backbones.backbone import Backbone

VIDEO = DATA / "fight" / "videos" / "s07_calm2.mp4"
ENGINES = ("openvino", "pytorch")
NAMES = ["efficientnet-lite0-parts", "i3d-inception"]


def main() -> None:
    """Run the benchmark and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbones", nargs="*", default=NAMES)
    parser.add_argument("--weights", help="by default those of each backbone")
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--json", type=Path, metavar="OUT")
    args = parser.parse_args()
    torch.set_num_threads(1)
    clips = first_clips(VIDEO, args.clips)
    found = {name: measure(name, args.weights, clips) for name in args.backbones}
    for name, row in found.items():
        print(name, ", ".join(f"{what} {value:.3g}" for what, value in row.items()))
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


def measure(name: str, weights: str | None, clips: list[NDArray[np.uint8]]) -> dict[str, float]:
    """Return CPU seconds a clip by engine, the largest difference of the features relative to the
    largest value, and gigabytes per hour of video.
    """
    backbones: dict[str, Backbone] = {}
    features: dict[str, NDArray[np.float32]] = {}
    for engine in ENGINES:
        os.environ["VAD_ENGINE"] = engine
        backbones[engine] = create_backbone(name, weights=weights)
        arrays = backbones[engine].arrays_of(backbones[engine](clips[0][None]), 30.0, "float32")
        features[engine] = arrays[f"visual/{name}"].astype(np.float32)
    seconds: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    for clip in clips:
        for engine, backbone in backbones.items():
            began = time.process_time()
            backbone(clip[None])
            seconds[engine].append(time.process_time() - began)
    difference = np.abs(features["openvino"] - features["pytorch"]).max()
    return {
        **{engine: statistics.median(taken) for engine, taken in seconds.items()},
        "difference": float(difference / np.abs(features["pytorch"]).max()),
        "gb_per_hour": gb_per_hour(name, weights),
    }


def gb_per_hour(name: str, weights: str | None) -> float:
    """Return the size of a store per hour of video at 30 frames a second."""
    os.environ["VAD_ENGINE"] = "openvino"
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "s.zarr"
        vad.extract(VIDEO, store, backbone=name, weights=weights, workers=1, quiet=True)
        n_bytes = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
        with av.open(str(VIDEO)) as container:
            n_frames = sum(1 for _ in container.decode(video=0))
    return n_bytes / 1e9 * 3600 * 30 / n_frames


def first_clips(path: Path, n: int) -> list[NDArray[np.uint8]]:
    """Return the first n clips of a video, uint8 [16, height, width, 3] each."""
    frames = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            frames.append(frame.to_ndarray(format="rgb24"))
            if len(frames) == 16 * n:
                break
    return list(np.stack(frames).reshape(n, 16, *frames[0].shape))


if __name__ == "__main__":
    main()
