"""Extract damaged videos for a given time, and check that no other video or process is affected.

    python benchmarks/fuzz.py --minutes 10 --seed 0 [--videos 5000] [--json OUT]

Real videos in several containers and codecs are damaged (mutate.py), or get other time stamps and
containers (restamp.py; with `--kind both` every other video), and are extracted in batches by the
real pipeline, with a backbone that costs nothing. Every video must end either stored and complete,
or listed with a known reason. The seconds of a stored video must be those that a player shows,
unless its record says that jumps were corrected or packets are damaged. No video can take longer
than its limit, measured by how long a decoder process holds the file open. The memory of this
process must not grow, and no process can be left over. The exit code is 1 if any of this fails. The
damage depends only on `--seed`, `--kind` and the number of the video: `--first N --videos 1`
repeats one video.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import av
import numpy as np
from clips import DATA, write_clip
from mutate import mutate
from null_model import null_backbone
from numpy.typing import NDArray
from restamp import restamp

from vad.errors import REASONS
from vad.files import write_json
from vad.stages.extract.backbones.backbone import Backbone
from vad.stages.extract.decoders.clock import BARE, backward_limit_s
from vad.stages.extract.plan import make_plan, run_plan
from vad.stages.extract.settings import ExtractSettings
from vad.stages.extract.sources import find_sources
from vad.store import FeatureStore
from vad.store.verify import verify

BATCH = 100  # videos per extraction
LIMIT_S = 10.0
NOISE = 0.25  # jumps per frame; with more, stamps are noise
FORMS = (
    *(("mp4", "libx264"), ("mov", "libx264"), ("mkv", "libx264"), ("ts", "libx264")),
    *(("flv", "libx264"), ("avi", "mpeg4"), ("mp4", "mpeg4"), ("avi", "mjpeg")),
    *(("webm", "libvpx"), ("mp4", "libx265")),
)


@dataclass
class Tally:
    """Counts how the videos ended, and collects mistakes of the program."""

    n_videos: int = 0
    stored: int = 0
    told: int = 0  # stored videos whose record tells jumps of time
    failed: Counter[str] = field(default_factory=Counter)
    mistakes: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    memory_mb: list[float] = field(
        default_factory=list
    )  # resident memory of this process, after every batch

    @property
    def growth_mb_per_1000(self) -> float:
        """The growth of memory per 1000 videos over the second half, when caches are full."""
        half = self.memory_mb[len(self.memory_mb) // 2 :]
        n_videos = max(1, (len(half) - 1) * BATCH)
        return (half[-1] - half[0]) / n_videos * 1000 if half else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--videos", type=int, default=10**9, help="stop after as many")
    parser.add_argument("--first", type=int, default=0, help="number of the first video")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=("bytes", "stamps", "both"), default="both")
    parser.add_argument("--json", type=Path, metavar="OUT")
    args = parser.parse_args()
    logging.getLogger("vad").setLevel(logging.ERROR)
    tally, backbone, started = Tally(), null_backbone(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        originals = write_originals(Path(folder, "originals"))
        while tally.n_videos < args.videos and time.monotonic() - started < args.minutes * 60:
            first = args.first + tally.n_videos
            n_videos = min(BATCH, args.videos - tally.n_videos)
            numbers = range(first, first + n_videos)
            where = Path(folder, f"{first}")
            batch(where, originals, args.seed, args.kind, numbers, backbone, tally)
            seconds = time.monotonic() - started
            print(f"{tally.n_videos} videos in {seconds:.0f} s", file=sys.stderr, flush=True)
    result = {
        "seed": args.seed,
        "first": args.first,
        "videos": tally.n_videos,
        "stored": tally.stored,
        "jumps_told": tally.told,
        "failed": dict(tally.failed.most_common()),
        "slowest_s": round(tally.slowest_s, 2),
        "limit_s": LIMIT_S,
        "memory_mb": [round(mb, 1) for mb in tally.memory_mb],
        "growth_mb_per_1000": round(tally.growth_mb_per_1000, 2),
        "minutes": round((time.monotonic() - started) / 60, 1),
        "mistakes": tally.mistakes,
    }
    for name, value in result.items():
        print(f"{name:20s} {value}")
    if args.json:
        write_json(args.json, result)
    sys.exit(1 if tally.mistakes else 0)


def write_originals(folder: Path) -> list[Path]:
    """Write the same 18 real frames in every format; return these files and small real files."""
    folder.mkdir()
    with av.open(str(DATA / "fight" / "videos" / "s03_calm0.mp4")) as container:
        frames = [f.reformat(160, 120) for f in islice(container.decode(video=0), 18)]
    written = [folder / f"{codec}.{suffix}" for suffix, codec in FORMS]
    for path, (_, codec) in zip(written, FORMS, strict=True):
        write_clip(path, frames, codec)
    others = (p for p in sorted((DATA / "decoder").iterdir()) if p.stat().st_size < 150_000)
    return written + [path for path in others if path.suffix in (".mp4", ".mov", ".avi", ".mkv")]


def batch(
    folder: Path,
    originals: list[Path],
    seed: int,
    kind: str,
    numbers: range,
    backbone: Backbone,
    tally: Tally,
) -> None:
    """Damage some videos, extract them, and add the results and mistakes to the tally."""
    folder.mkdir()
    contents = [path.read_bytes() for path in originals]
    how, paths = {}, {}
    for number in numbers:
        own_seed = seed * 1_000_003 + number
        stamps = kind == "stamps" or (kind == "both" and number % 2 == 1)
        at = number // 2 if kind == "both" else number
        which = at % len(FORMS if stamps else originals)
        if stamps:
            name, suffix, damaged = restamp(contents[which], own_seed)
        else:
            name, damaged = mutate(contents[which], own_seed, contents)
            suffix = originals[which].suffix[1:]
        path = folder / f"{number}.{suffix}"
        path.write_bytes(damaged)
        paths[str(number)] = path
        how[str(number)] = f"video {number} ({originals[which].name}, {name})"
    settings = ExtractSettings(backbone="null", workers=2, time_limit=LIMIT_S)
    store = folder / "features.zarr"
    plan = make_plan(find_sources([folder]), store, backbone, settings)
    with Watch(folder) as watch:
        outcome = run_plan(plan, FeatureStore.create(store), backbone, settings, quiet=True)
    ended = Counter([*outcome.done, *outcome.failed])
    for video, what in how.items():
        if ended[video] != 1:
            tally.mistakes.append(f"{what} ended {ended[video]} times")
        elif video in outcome.failed and outcome.failed[video].reason not in REASONS:
            tally.mistakes.append(f"{what}: reason {outcome.failed[video].reason}")
        elif video in outcome.failed and outcome.failed[video].reason in ("crashed", "timeout"):
            print(f"{what}: {outcome.failed[video]}", flush=True)
        if watch.seconds(video) > LIMIT_S + 1:
            tally.mistakes.append(f"{what} took {watch.seconds(video):.1f} s")
    opened = FeatureStore.open(store)
    for video in outcome.done:
        tally.told += opened.record(video).n_jumps > 0
        if wrong := wrong_seconds(opened, video, paths[video]):
            tally.mistakes.append(f"{how[video]}: {wrong}")
    tally.mistakes += [
        f"{f.video} is stored badly: {f.what}" for f in verify(store, quiet=True).faults
    ]
    tally.mistakes += [f"process {pid} is left over" for pid in decoders()]
    tally.n_videos += len(numbers)
    tally.stored += len(outcome.done)
    tally.failed.update(error.reason for error in outcome.failed.values())
    tally.slowest_s = max([tally.slowest_s, *map(watch.seconds, how)])
    gc.collect()
    tally.memory_mb.append(memory_mb())
    shutil.rmtree(folder)


def wrong_seconds(store: FeatureStore, video: str, path: Path) -> str:
    """Return what is wrong with the times of a stored video, or "" if nothing is."""
    record, times = store.record(video), store.times(video)
    if record.fps_assumed or record.container in BARE:
        return ""  # the file does not say
    if (np.diff(times) <= 0).any() or not 0 == times[0] <= times[-1] <= record.duration_s:
        return f"its times do not increase to {record.duration_s:.3f} s"
    stamps_s = presented_s(path)
    if stamps_s is None or len(stamps_s) < 2:
        return ""
    steps_s = np.diff(stamps_s)
    typical_s = float(np.median(steps_s))
    if record.n_jumps > NOISE * len(times):
        return ""  # no rate can be told from such stamps; that they jump is
    if record.n_jumps:  # corrected: steady but for pauses that are no jumps
        pauses_s = steps_s[(steps_s > 1) & (steps_s < 15)].sum()
        most_s = 1.5 * len(times) * max(typical_s, 1 / record.fps) + pauses_s
        told = f" with {record.n_jumps} jumps"
    else:
        most_s, told = max(stamps_s[-1] - stamps_s[0], len(times) / record.fps), ""
    # Stamps that go back by less than a jump can delay the end by as much; so can those before a
    # jump back, which are not taken back.
    late_s = (1 + record.n_jumps) * backward_limit_s(max(typical_s, 1 / record.fps))
    if times[-1] > most_s + late_s:
        return f"it ends at {times[-1]:.3f} s{told}, a player shows {most_s:.3f} s"
    if not (record.n_jumps or record.n_bad_packets) and times[-1] < stamps_s[-1] - stamps_s[0] - 1:
        return f"it ends at {times[-1]:.3f} s, a player shows {stamps_s[-1] - stamps_s[0]:.3f} s"
    return ""


def presented_s(path: Path) -> NDArray[np.float64] | None:
    """Return when the frames of a file are shown, [frames], in seconds, ascending; None if the file
    does not say.
    """
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            stream = container.streams.video[0]
            is_avi = container.format.name == "avi"
            found = [
                p.dts if is_avi else p.pts
                for p in container.demux(stream)
                if p.size and not p.is_discard
            ]
            ticks = sorted(tick for tick in found if tick is not None)
            return np.array(ticks, np.float64) * float(stream.time_base or 1)
    except (av.FFmpegError, IndexError):
        return None


class Watch:
    """Measures, from outside, how long a decoder process holds each file open."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._seen: dict[str, list[float]] = {}  # video -> first and last time it was seen open
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def seconds(self, video: str) -> float:
        first, last = self._seen.get(video, (0.0, 0.0))
        return last - first

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            now = time.monotonic()
            for pid in decoders():
                for path in _open_files(pid):
                    if os.path.dirname(path) == self._folder:
                        video = os.path.splitext(os.path.basename(path))[0]
                        self._seen.setdefault(video, [now, now])[1] = now


def decoders() -> list[int]:
    """Return the ids of the child processes of this process."""
    tasks = Path("/proc/self/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split()]


def _open_files(pid: int) -> list[str]:
    found = []
    try:
        for link in os.scandir(f"/proc/{pid}/fd"):
            found.append(os.readlink(link.path))
    except OSError:  # the file was closed or the process has ended
        pass
    return found


def memory_mb() -> float:
    """Return the resident memory of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
