"""Test and measure everything that runs on a GPU, in under seven minutes.

    python benchmarks/gpu.py --json OUT [--device cuda] [--parts tests,i3d,...] [--tiny]

Nothing is downloaded: weights are random, and videos are rendered here. Every part runs in a
process of its own, so that a failure affects only that part; its result is printed, and written to
OUT, as soon as it ends. benchmarks/wheels.py collects the packages for a machine that cannot reach
a package index.

    tests         the tests that need a GPU
    i3d, timesformer, efficientnet-lite0
                  clips of 320x240 per second, in bf16, fp16 and fp32:
                      network   the network alone, on prepared input
                      backbone  from clips in host memory to features, with resizing
                      files     `vad extract`, from video files to the store
                  waits: the share of the time of `files` in which the GPU is idle, 1 - files /
                  backbone; cosine of the features to those of fp32; memory; seconds to the first
                  features
    train         steps of RTFM at its published size, on the GPU and on the CPU
    score         `vad score` of a video, and ten seconds of `vad stream`
    memory        every backbone in every precision with 8 GB and with 12 GB of memory

`--device cpu --tiny` runs the same parts within a minute on a machine without a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from numpy.typing import NDArray

import vad
from vad.device import choose_device
from vad.errors import VadError
from vad.files import write_json
from vad.grid import CLIP_FRAMES
from vad.stages.extract.backbones import create_backbone
from vad.stages.extract.backbones.backbone import Backbone
from vad.stages.extract.backbones.passes import Gathers
from vad.stages.extract.plan import make_plan, run_plan
from vad.stages.extract.settings import ExtractSettings
from vad.stages.extract.sources import find_sources
from vad.stages.train.detectors import create_detector
from vad.store import FeatureStore

ROOT = Path(__file__).resolve().parent.parent
BACKBONES = ("i3d", "timesformer", "efficientnet-lite0")  # each with the crops of its recipe
HEIGHT_PX, WIDTH_PX, FPS = 240, 320, 30
LIMITS_GB = (8, 12)
SECONDS_A_MEASURE = 4.0
PART_LIMIT_S = 150


@dataclass(frozen=True)
class Size:
    """How much is rendered and measured."""

    precisions: tuple[str, ...]
    n_videos: int  # rendered
    n_clips: int  # clips of each video
    copies: int  # copies of each video to extract
    n_probe: int  # clips whose features are compared
    bag: tuple[int, int, int, int]  # a training batch: videos, crops, segments, dim
    stream_s: float


FULL = Size(("bf16", "fp16", "fp32"), 16, 150, 4, 16, (64, 10, 32, 2048), 10.0)
TINY = Size(("fp32",), 1, 1, 1, 1, (4, 1, 32, 64), 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, metavar="OUT", default=Path("gpu.json"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="as little as possible of every part")
    parser.add_argument("--parts", default=",".join(PARTS), help="those to run, in this order")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--videos", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    size = TINY if args.tiny else FULL
    try:
        device = choose_device(args.device)
    except VadError as error:
        print(f"gpu.py: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    if args.part:
        print(json.dumps(PARTS[args.part](device, args.videos, size)))
        return
    began = time.perf_counter()
    result: dict[str, Any] = {"machine": machine(device)}
    print(json.dumps(result["machine"]), flush=True)
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        render(Path(folder), size)
        say(began, f"{size.n_videos} videos rendered")
        for part in args.parts.split(","):
            if args.tiny:
                result[part] = PARTS[part](device, Path(folder), size)
            else:
                result[part] = in_process(part, args, folder)
            say(began, f"{part}: {json.dumps(result[part])}")
            write_json(args.json, result)
            if "failed" in result[part]:
                failed.append(part)
    print(table(result))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def say(began: float, line: str) -> None:
    print(f"{time.perf_counter() - began:6.1f} s  {line}", flush=True)


def machine(device: torch.device) -> dict[str, Any]:
    """Return a description of the machine."""
    found: dict[str, Any] = {
        "device": "cpu",
        "torch": torch.__version__,
        "python": sys.version.split()[0],
        "n_cores": os.cpu_count(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "device": properties.name,
            "memory_gb": round(properties.total_memory / 1e9, 1),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return found


def in_process(part: str, args: argparse.Namespace, folder: str) -> dict[str, Any]:
    """Return the result of a part, run in a new process; {"failed": its last output} on errors."""
    command = [sys.executable, __file__, "--part", part, "--device", args.device]
    command += ["--videos", folder]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=PART_LIMIT_S
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"not done after {PART_LIMIT_S} s"}
    if done.returncode:
        return {"failed": (done.stderr or done.stdout)[-2000:]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(result: dict[str, Any]) -> str:
    """Return the figures of the backbones as a table with one line per precision."""
    columns = ("network", "backbone", "files", "waits", "cosine", "memory_gb", "start_s")
    lines = [f"{'clips a second':26s}" + "".join(f"{column:>11s}" for column in columns)]
    for backbone in BACKBONES:
        for precision, figures in result.get(backbone, {}).items():
            if precision != "failed":
                cells = "".join(f"{figures[column]:11.4g}" for column in columns)
                lines.append(f"{backbone + ' ' + precision:26s}{cells}")
    return "\n".join(lines)


# --- videos


def render(folder: Path, size: Size) -> None:
    """Write videos of a textured scene with a moving object, and `copies` - 1 links to each."""
    paths = [folder / f"v{index:02}.mp4" for index in range(size.n_videos)]
    with ProcessPoolExecutor() as workers:
        list(workers.map(partial(render_one, size.n_clips), paths, range(size.n_videos)))
    for path in paths:
        for copy in range(1, size.copies):
            os.link(path, path.with_stem(f"{path.stem}-{copy}"))


def render_one(n_clips: int, path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    blocks = np.kron(random.integers(40, 200, (15, 20, 3)), np.ones((16, 16, 1), int))
    scene = blocks + random.integers(-12, 12, (HEIGHT_PX, WIDTH_PX, 3))
    with av.open(str(path), "w") as container:
        options = {"preset": "veryfast", "crf": "26", "threads": "1"}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        for number in range(n_clips * CLIP_FRAMES):
            picture = scene + random.integers(-3, 3, (HEIGHT_PX, WIDTH_PX, 1))
            left, top = int(120 + 100 * np.sin(number / 20)), int(90 + 60 * np.cos(number / 31))
            picture[top : top + 60, left : left + 40] = (
                220 - picture[top : top + 60, left : left + 40]
            )
            rgb = picture.clip(0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())


def clips(n: int) -> NDArray[np.uint8]:
    """Return n different clips of smooth noise, uint8 [n, 16, 240, 320, 3]."""
    coarse = np.random.default_rng(0).integers(0, 256, (n, CLIP_FRAMES, 15, 20, 3), np.uint8)
    return coarse.repeat(16, axis=2).repeat(16, axis=3)


# --- parts


def tests(device: torch.device, videos: Path, size: Size) -> dict[str, Any]:
    """Run the tests that need a GPU; return pytest's summary."""
    del videos, size
    files = [f for f in (ROOT / "tests").rglob("test_*.py") if "mark.gpu" in f.read_text("utf-8")]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-m",
        "gpu",
        *map(str, files),
    ]
    required = "1" if device.type == "cuda" else ""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "VAD_REQUIRE_GPU": required},
        capture_output=True,
        text=True,
        check=False,
    )
    summary = done.stdout.splitlines()[-1] if done.stdout else done.stderr[-500:]
    failures = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    found: dict[str, Any] = {"summary": summary}
    return found | ({"failed": "\n".join(failures) or summary} if done.returncode else {})


def backbone_figures(
    name: str, device: torch.device, videos: Path, size: Size
) -> dict[str, dict[str, float]]:
    """Return the figures of one backbone, by precision."""
    found: dict[str, dict[str, float]] = {}
    probe = clips(size.n_probe)
    exact = load(name, device, "fp32")(probe)
    for precision in size.precisions:
        free(device)
        began = time.perf_counter()
        backbone = load(name, device, precision)
        features = backbone(probe)
        start_s = time.perf_counter() - began
        host = backbone.empty((2 * backbone.n_clips, *probe.shape[1:]))
        host[:] = clips(len(host))
        per_second = {
            "network": network_alone(backbone, device),
            "backbone": len(host) / seconds_of(partial(backbone.submit, host), device),
            "files": from_files(backbone, videos, size),
        }
        found[precision] = {
            **{part: round(rate, 2) for part, rate in per_second.items()},
            "waits": round(1 - per_second["files"] / per_second["backbone"], 4),
            "cosine": round(float(cosine(features, exact)), 6),
            "memory_gb": round(peak_gb(device), 2),
            "start_s": round(start_s, 2),
        }
    return found


def load(name: str, device: torch.device, precision: str) -> Backbone:
    return create_backbone(name, weights="random:0", device=device, precision=precision)


def network_alone(backbone: Backbone, device: torch.device) -> float:
    """Return the clips per second of the network on prepared input, in its usual batches."""
    network, recipe, n_crops = backbone.network, backbone.recipe, len(backbone.crops)
    dtype = next((weights.dtype for weights in network.parameters()), torch.float32)  # compiled
    if isinstance(network, Gathers):
        shape = network.room(backbone.n_clips, n_crops, recipe)
        shape = (shape[0] * shape[1], *shape[2:])
    else:
        shape = (backbone.n_clips * n_crops, len(recipe.frames), *recipe.crop_size, 3)
    views = torch.randn(shape, device=device).to(dtype)
    with torch.inference_mode():
        return backbone.n_clips / seconds_of(lambda: network(views), device)


def from_files(backbone: Backbone, videos: Path, size: Size) -> float:
    """Return the clips per second of `vad extract`, from video files to the store."""
    chosen = ExtractSettings(
        backbone=backbone.name, weights="random:0", workers=os.cpu_count() or 1
    )
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore.create(Path(folder) / "features.zarr")
        sources = find_sources([videos])
        if (
            next(backbone.network.parameters()).dtype == torch.float32
        ):  # slow on every device, so fewer videos
            sources = sources[: size.n_videos]
        plan = make_plan(sources, Path(folder) / "features.zarr", backbone, chosen)
        began = time.perf_counter()
        outcome = run_plan(plan, store, backbone, chosen, quiet=True)
        seconds = time.perf_counter() - began
    if outcome.failed:
        raise RuntimeError(f"extraction failed: {outcome.failed}")
    return len(outcome.done) * size.n_clips / seconds


def train(device: torch.device, videos: Path, size: Size) -> dict[str, Any]:
    """Run steps of RTFM on both devices; return their first losses and seconds per step."""
    del videos
    sides = {"cpu": steps_of_rtfm(torch.device("cpu"), size, 3)}
    sides["device"] = steps_of_rtfm(device, size, 10)
    (cpu_losses, cpu_s), (losses, step_s) = sides["cpu"], sides["device"]
    apart = max(abs(a - b) / abs(b) for a, b in zip(losses, cpu_losses, strict=False))
    found: dict[str, Any] = {
        "losses": losses[:3],
        "cpu_losses": cpu_losses,
        "apart": apart,
        "step_s": step_s,
        "cpu_step_s": cpu_s,
    }
    return found | ({"failed": f"losses differ by {apart:.2e}"} if apart > 1e-3 else {})


def steps_of_rtfm(device: torch.device, size: Size, n_steps: int) -> tuple[list[float], float]:
    """Return the losses of steps of Adam on one batch of bags, and the fastest step's seconds."""
    torch.manual_seed(0)
    n_videos, *_, dim = size.bag
    detector = create_detector("rtfm", visual_dim=dim, settings={"dropout": 0.0}).to(device)
    bags = torch.randn(size.bag, generator=torch.Generator().manual_seed(1)).to(device)
    labels = (torch.arange(n_videos) >= n_videos // 2).float().to(device)
    optimizer = torch.optim.Adam(detector.parameters(), lr=1e-3, weight_decay=5e-3)
    losses, laps = [], []
    for _ in range(n_steps):
        began = time.perf_counter()
        loss = detector.loss(detector(bags), labels, form="published")["total"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        laps.append(time.perf_counter() - began)
    return losses, min(laps)


def score(device: torch.device, videos: Path, size: Size) -> dict[str, Any]:
    """Run `vad score` on a video, and `vad stream` for some seconds, as commands."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for index in range(4):
            render_one(1, folder / f"t{index}.mp4", index)
        rows = "".join(f"t{index},{index % 2},train\n" for index in range(4))
        (folder / "labels.csv").write_text(f"video,label,split\n{rows}")
        common = ["--device", str(device)]
        store, labels, run_ = folder / "features.zarr", folder / "labels.csv", str(folder / "run")
        given: dict[str, Any] = {"device": str(device), "quiet": True}
        vad.extract(folder, store, backbone="efficientnet-lite0", weights="random:0", **given)
        vad.train(store, labels, run_, detector="rtfm", epochs=2, allow_random=True, **given)
        video = str(min(videos.glob("*.mp4")))
        began = time.perf_counter()
        command("score", video, "--detector", run_, "--out", str(folder / "scores"), *common)
        score_s = time.perf_counter() - began
        (scores,) = (folder / "scores").glob("*.json")
        frames = len(json.loads(scores.read_text())["frames"])
        lines = command(
            "stream", video, "--detector", run_, "--speed", "1", *common, limit_s=size.stream_s
        )
    snippets = [line for line in map(json.loads, lines) if line["type"] == "snippet"]
    return {"score_s": round(score_s, 2), "frames": frames, "stream_snippets": len(snippets)}


def command(*words: str, limit_s: float | None = None) -> list[str]:
    """Run a command of `vad`; return its lines of output. After `limit_s`, it is sent SIGTERM."""
    with subprocess.Popen(
        [sys.executable, "-m", "vad", *words, "--quiet"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        if limit_s is not None and process.stdout:
            first = process.stdout.readline()  # wait until it has started
            time.sleep(limit_s)
            process.terminate()
        out, err = process.communicate(timeout=PART_LIMIT_S)
    if process.returncode and limit_s is None:
        raise RuntimeError(f"vad {' '.join(words)}: {err[-1000:]}")
    return ([first] if limit_s is not None else []) + out.splitlines()


def memory(device: torch.device, videos: Path, size: Size) -> dict[str, Any]:
    """Compare features computed with little GPU memory and with all, for every backbone."""
    del videos
    if device.type == "cpu":
        return {"skipped": "a limit is set on GPUs alone"}
    found: dict[str, Any] = {}
    total_gb = torch.cuda.get_device_properties(device).total_memory / 1e9
    probe = clips(size.n_probe)
    for name in BACKBONES:
        for precision in size.precisions:
            whole = load(name, device, precision)(probe)
            for limit_gb in LIMITS_GB:
                with at_most(limit_gb / total_gb, device):
                    features = load(name, device, precision)(probe)
                    used_gb = round(peak_gb(device), 2)
                key = f"{name} {precision} {limit_gb} GB"
                found[key] = {"used_gb": used_gb, "cosine": round(cosine(features, whole), 6)}
    return found


@contextmanager
def at_most(share: float, device: torch.device) -> Iterator[None]:
    """Limit this process to a share of the GPU's memory."""
    free(device)
    torch.cuda.set_per_process_memory_fraction(min(share, 1.0), device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


# --- measuring


def seconds_of(work: Callable[[], Any], device: torch.device) -> float:
    """Return the mean seconds of a call, of many that follow each other; on a CPU, of one call."""

    def finish(last: Any) -> None:
        if hasattr(last, "result"):
            last.result()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    if device.type == "cpu":
        began = time.perf_counter()
        finish(work())
        return time.perf_counter() - began
    for _ in range(2):
        finish(work())
    calls, began = 0, time.perf_counter()
    waiting: list[Any] = []
    while time.perf_counter() - began < SECONDS_A_MEASURE / 2:
        waiting.append(work())
        if len(waiting) > 2:
            finish_one = waiting.pop(0)
            if hasattr(finish_one, "result"):
                finish_one.result()
            else:
                torch.cuda.synchronize(device)
        calls += 1
    for last in waiting:
        finish(last)
    return (time.perf_counter() - began) / calls


def cosine(features: NDArray[np.float32], exact: NDArray[np.float32]) -> float:
    """Return the smallest cosine between two features [..., dim] of the same crop."""
    products = (features * exact).sum(-1)
    lengths = np.linalg.norm(features, axis=-1) * np.linalg.norm(exact, axis=-1)
    return float((products / lengths).min())


def free(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_gb(device: torch.device) -> float:
    """Return the peak of GPU memory that this process reserved, in GB; 0 on a CPU."""
    return torch.cuda.max_memory_reserved(device) / 1e9 if device.type == "cuda" else 0.0


Part = Callable[[torch.device, Path, Size], dict[str, Any]]
PARTS: dict[str, Part] = {
    "tests": tests,
    **{name: partial(backbone_figures, name) for name in BACKBONES},
    "train": train,
    "score": score,
    "memory": memory,
}

if __name__ == "__main__":
    main()
