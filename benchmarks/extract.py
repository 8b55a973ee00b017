"""What a clip costs: ten crops of I3D, `vad extract` against two other ways, and the default.

    python benchmarks/extract.py --json OUT [--weights random:0] [--videos FILE...]

    vad      what `vad extract` does
    plain    straightforward PyTorch: clip by clip, crop by crop, with the network unchanged
    common   as in the public extractors: every frame is saved as a JPEG file, read again by PIL
             and resized singly; all crops of all clips as floats, in batches of clips
    host     vad with a network that answers at once, on more videos: all costs except the model's
    default  `vad extract` with its default backbone, efficientnet-lite0-parts, on eight videos, so
             that starting processes does not count much
    former   the same with the default of vad 0.1.0: efficientnet-lite0, run by PyTorch

`engine_difference` is the largest difference between features of the default backbone by the
compiled network and by PyTorch, as a share of the largest value.

Seconds are CPU seconds of the whole process tree, which depend little on other load. `wall` is
elapsed time, which is meaningful only on an idle machine. Each way computes on `--threads` threads
in a process of its own, and the resident memory of this process and its children is sampled. The
model alone is timed in the process of `vad`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from null_model import instant_i3d
from numpy.typing import NDArray
from PIL import Image
from processes import watch

from vad.files import write_json
from vad.grid import CLIP_FRAMES
from vad.stages.extract.backbones import create_backbone, i3d
from vad.stages.extract.backbones.backbone import Backbone
from vad.stages.extract.decoders.pool import Clips, DecoderPool
from vad.stages.extract.plan import make_plan, run_plan
from vad.stages.extract.settings import ExtractSettings
from vad.stages.extract.sources import find_sources
from vad.stages.extract.weights.checkpoint import fill_randomly
from vad.store import FeatureStore

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("VAD_TEST_DATA", ROOT.parent / "shared" / "data"))
VIDEOS = [DATA / "fight" / "videos" / f"{name}.mp4" for name in ("s32_fight", "s33_calm0")]
N_EMBEDDED = 8  # videos for `default` and `former`
CLIPS_AT_ONCE = 4  # for the common way; its default of 20 would need 5 GB
PARTS = ("decode", "transform", "model", "write")

Seconds = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, metavar="OUT")
    parser.add_argument("--weights", default="random:0")
    parser.add_argument("--videos", nargs="+", type=Path, default=VIDEOS)
    parser.add_argument("--host-videos", nargs="+", type=Path, default=None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--way", choices=WAYS, help="measure one way, in this process")
    args = parser.parse_args()
    if args.way:
        torch.set_num_threads(args.threads)
        with tempfile.TemporaryDirectory() as folder:
            seconds = WAYS[args.way](args.videos, args.weights, Path(folder))
        print(json.dumps(seconds))
        return
    host_videos = args.host_videos or sorted((DATA / "fight" / "videos").glob("*.mp4"))
    videos = {"host": host_videos} | dict.fromkeys(("default", "former"), host_videos[:N_EMBEDDED])
    ways = {way: measure(way, videos.get(way, args.videos), args) for way in WAYS}
    difference = ways["default"].pop("engine_difference")
    result = summary(ways) | {"engine_difference": difference, "threads": args.threads}
    print(table(ways, result))
    if args.json:
        write_json(args.json, result)


def measure(way: str, videos: list[Path], args: argparse.Namespace) -> Seconds:
    """Run one way in a new process; return its seconds per clip and its peak memory."""
    command = [sys.executable, __file__, "--way", way, "--weights", args.weights]
    command += ["--threads", str(args.threads), "--videos", *map(str, videos)]
    printed, peak_bytes = watch(command)
    seconds: Seconds = json.loads(printed.splitlines()[-1])
    return {**seconds, "peak_gb": peak_bytes / 1e9}


def summary(ways: dict[str, Seconds]) -> dict[str, Any]:
    """Return the figures that are published, and the measurements behind them."""
    host, own = ways["host"], ways["vad"]
    host_s = host["decode"] + host["transform"] + host["write"]
    return {
        "host_s_per_clip": host_s,
        "model_s_per_clip": own["model"],
        "end_to_end_over_model": (own["model"] + host_s) / own["model"],
        "speedup_over_common_extractor": ways["common"]["total"] / own["total"],
        "speedup_over_plain": ways["plain"]["total"] / own["total"],
        "default_speedup_over_former": ways["former"]["total"] / ways["default"]["total"],
        "wall_speedup_over_common_extractor": ways["common"]["wall"] / own["wall"],
        "peak_gb": own["peak_gb"],
        "ways": ways,
    }


def table(ways: dict[str, Seconds], result: dict[str, Any]) -> str:
    head = f"{'CPU s per clip':20s}" + "".join(f"{p:>10s}" for p in PARTS)
    lines = [f"{head}{'total':>10s}{'wall':>10s}{'clips':>7s}{'peak GB':>9s}"]
    for way, seconds in ways.items():
        cells = "".join(f"{seconds[p]:10.4f}" if p in seconds else f"{'':10s}" for p in PARTS)
        rest = f"{seconds['total']:10.4f}{seconds['wall']:10.4f}"
        rest += f"{seconds['clips']:7.0f}{seconds['peak_gb']:9.2f}"
        lines.append(f"{way:20s}{cells}{rest}")
    lines += [f"{name:40s}{result[name]:.3g}" for name in result if name not in ("ways",)]
    return "\n".join(lines)


class Clock:
    """Counts the CPU seconds of this process and its children, by part of the work."""

    def __init__(self) -> None:
        self.seconds: Seconds = defaultdict(float)
        self._last = self._now()
        self._began = time.perf_counter()

    def lap(self, part: str) -> None:
        """Add the seconds since the last lap to `part`."""
        now = self._now()
        self.seconds[part] += now - self._last
        self._last = now

    def per_clip(self, n_clips: int) -> Seconds:
        each = {part: seconds / n_clips for part, seconds in self.seconds.items()}
        wall = (time.perf_counter() - self._began) / n_clips
        return {**each, "total": sum(each.values()), "wall": wall, "clips": n_clips}

    @staticmethod
    def _now() -> float:
        used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(u.ru_utime + u.ru_stime for u in used)


# --- the ways


def with_vad(videos: list[Path], weights: str, folder: Path) -> Seconds:
    """Return the seconds per clip of an extraction, and of the model alone on as many clips."""
    backbone = create_backbone("i3d", weights=weights)
    chosen = ExtractSettings(backbone="i3d", weights=weights, workers=1)
    plan = make_plan(find_sources(videos), folder / "s.zarr", backbone, chosen)
    store = FeatureStore.create(folder / "s.zarr")
    model_alone(backbone)  # the first pass is slower
    clock = Clock()
    run_plan(plan, store, backbone, chosen, quiet=True)
    clock.lap("run")
    name = f"visual/{backbone.name}"
    n_clips = sum(len(store.read(video, name)) for video in store.ids())
    result = clock.per_clip(n_clips)
    clock.lap("setup")
    for _ in range(n_clips):
        model_alone(backbone)
    clock.lap("model")
    return {name: result[name] for name in ("total", "wall", "clips")} | {
        "model": clock.seconds["model"] / n_clips
    }


def by_default(videos: list[Path], _: str, folder: Path) -> Seconds:
    """Return the cost of the default backbone, and how far it is from that by PyTorch."""
    seconds = embedded("efficientnet-lite0-parts", videos, folder)
    rgb = np.random.default_rng(0).integers(0, 256, (4, CLIP_FRAMES, 240, 320, 3), np.uint8)
    features = create_backbone("efficientnet-lite0-parts")(rgb)
    os.environ["VAD_ENGINE"] = "pytorch"
    expected = create_backbone("efficientnet-lite0-parts")(rgb)
    difference = np.abs(features - expected).max() / np.abs(expected).max()
    return seconds | {"engine_difference": float(difference)}


def as_formerly(videos: list[Path], _: str, folder: Path) -> Seconds:
    os.environ["VAD_ENGINE"] = "pytorch"
    return embedded("efficientnet-lite0", videos, folder)


def embedded(name: str, videos: list[Path], folder: Path) -> Seconds:
    """Return the seconds per clip of an extraction with packaged weights."""
    backbone = create_backbone(name)
    backbone(np.zeros((1, CLIP_FRAMES, 240, 320, 3), np.uint8))  # the first pass is slower
    chosen = ExtractSettings(backbone=name, workers=1)
    plan = make_plan(find_sources(videos), folder / "s.zarr", backbone, chosen)
    store = FeatureStore.create(folder / "s.zarr")
    clock = Clock()
    run_plan(plan, store, backbone, chosen, quiet=True)
    clock.lap("run")
    n_clips = sum(len(store.read(video, f"visual/{name}")) for video in store.ids())
    result = clock.per_clip(n_clips)
    return {figure: result[figure] for figure in ("total", "wall", "clips")}


@torch.inference_mode()
def model_alone(backbone: Backbone) -> None:
    """Run the network on the ten crops of a random clip, in the way that a CPU runs it."""
    backbone.network(torch.randn(10, CLIP_FRAMES, 224, 224, 3))


def host_of_vad(videos: list[Path], weights: str, folder: Path) -> Seconds:
    """Measure decoding, decoding with crops, and everything; the parts are their differences."""
    backbone, clock = instant_i3d(), Clock()
    n_clips = decode(videos, lambda clips: None)
    clock.lap("decode")
    decode(videos, lambda clips: backbone.submit(clips).result())
    clock.lap("transform")
    chosen = ExtractSettings(backbone="i3d", weights=weights, workers=1)
    plan = make_plan(find_sources(videos), folder / "s.zarr", backbone, chosen)
    run_plan(plan, FeatureStore.create(folder / "s.zarr"), backbone, chosen, quiet=True)
    clock.lap("write")
    seconds = clock.seconds
    seconds["write"] -= seconds["transform"]
    seconds["transform"] -= seconds["decode"]
    return clock.per_clip(n_clips)


def decode(videos: list[Path], use: Callable[[NDArray[np.uint8]], object]) -> int:
    n_clips = 0
    with DecoderPool(1, clips_per_block=4, tail="loop") as pool:
        for event in pool.decode(videos):
            if isinstance(event, Clips):
                use(event.rgb)
                n_clips += len(event.rgb)
    return n_clips


def plainly(videos: list[Path], weights: str, folder: Path) -> Seconds:
    """Decode by PyAV's default call, and run the plain network clip by clip and crop by crop."""
    network, clock, n_clips = plain_network(weights), Clock(), 0
    for video in videos:
        features = []
        with av.open(str(video)) as container:
            frames = [frame.to_image() for frame in container.decode(video=0)]
        clock.lap("decode")
        for start in range(0, len(frames), CLIP_FRAMES):
            clip = [as_short_side(f, 256) for f in looped(frames[start : start + CLIP_FRAMES])]
            clock.lap("transform")
            for left, top, mirrored in ten_crops(*clip[0].size):
                pixels = np.stack(
                    [np.asarray(f, np.float32)[top:, left:][:224, :224] for f in clip]
                )
                pixels = (pixels[:, :, ::-1] if mirrored else pixels) - 114.75
                view = torch.from_numpy(pixels / np.float32(57.375))[None]
                clock.lap("transform")
                features.append(network(view).numpy())
                clock.lap("model")
            n_clips += 1
        np.save(folder / f"{video.stem}.npy", np.concatenate(features))
        clock.lap("write")
    return clock.per_clip(n_clips)


def commonly(videos: list[Path], weights: str, folder: Path) -> Seconds:
    """Work as the common extractor: JPEG files, PIL, Lanczos to 340x256, 2x/255 - 1."""
    network, clock, n_clips = plain_network(weights), Clock(), 0
    for video in videos:
        with av.open(str(video)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                frame.to_image().save(folder / f"{number:06}.jpg")
        files = sorted(folder.glob("*.jpg"))
        clock.lap("decode")
        features = []
        starts = range(0, len(files), CLIP_FRAMES)
        for first in range(0, len(starts), CLIPS_AT_ONCE):
            clips = []
            for start in starts[first : first + CLIPS_AT_ONCE]:
                pictures = [Image.open(f) for f in looped(files[start : start + CLIP_FRAMES])]
                small = [p.resize((340, 256), Image.Resampling.LANCZOS) for p in pictures]
                clips.append(np.stack([np.array(p).astype(float) * 2 / 255 - 1 for p in small]))
            batch = np.stack(clips)
            crops = [
                (batch[:, :, :, ::-1] if mirrored else batch)[:, :, top:, left:][:, :, :224, :224]
                for left, top, mirrored in ten_crops(340, 256)
            ]
            tensors = [torch.from_numpy(np.ascontiguousarray(c)).float() for c in crops]
            clock.lap("transform")
            features.append(np.stack([network(t).numpy() for t in tensors], 1))
            clock.lap("model")
        n_clips += len(starts)
        np.save(folder / f"{video.stem}.npy", np.concatenate(features))
        for file in files:
            file.unlink()
        clock.lap("write")
    return clock.per_clip(n_clips)


def plain_network(weights: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return I3D-ResNet50 as published: batch norms not folded, in torch's default layout."""
    network = i3d.I3D("fair-32x2").eval().requires_grad_(False)
    fill_randomly(network, int(weights.removeprefix("random:")))
    return torch.inference_mode()(network)


def looped(items: list[Any]) -> list[Any]:
    return [items[i % len(items)] for i in range(CLIP_FRAMES)]


def as_short_side(image: Image.Image, size: int) -> Image.Image:
    width, height = (size * side // min(image.size) for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def ten_crops(width: int, height: int) -> list[tuple[int, int, bool]]:
    right, bottom = width - 224, height - 224
    places = [(0, 0), (right, 0), (0, bottom), (right, bottom), (right // 2, bottom // 2)]
    return [(left, top, mirrored) for mirrored in (False, True) for left, top in places]


WAYS: dict[str, Callable[[list[Path], str, Path], Seconds]] = {
    "vad": with_vad,
    "plain": plainly,
    "common": commonly,
    "host": host_of_vad,
    "default": by_default,
    "former": as_formerly,
}

if __name__ == "__main__":
    main()
