"""Whether memory grows with the length of a video: extractions of 2 and of 40 minutes.

    python benchmarks/memory.py [--minutes 2 40] [--json OUT]

The packets of a real 320x240 video are repeated up to each length, and the result is extracted as
by `vad extract --backbone i3d`: decoder process, ten crops, features of 2048 values, store. Only
the network is left out: it would take hours on a CPU, and its memory, which does not depend on the
length, would hide growth elsewhere. Each extraction is a process of its own, and memory is that of
its process tree.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import av
from clips import DATA
from null_model import instant_i3d
from processes import watch

from vad.files import write_json
from vad.stages.extract.plan import make_plan, run_plan
from vad.stages.extract.settings import ExtractSettings
from vad.stages.extract.sources import find_sources
from vad.store import FeatureStore

VIDEO = DATA / "fight" / "videos" / "s03_fight.mp4"


def main() -> None:
    """Run the benchmark; print the peaks and their ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", nargs=2, type=float, default=(2.0, 40.0))
    parser.add_argument("--json", type=Path, metavar="OUT")
    parser.add_argument("--extract", nargs=2, type=Path, metavar=("VIDEO", "STORE"))
    given = parser.parse_args()
    if given.extract:
        extract(*given.extract)
        return
    runs = [measure(minutes) for minutes in given.minutes]
    figures = {"runs": runs, "growth": runs[1]["peak_gb"] / runs[0]["peak_gb"]}
    for figure in runs:
        print("{minutes:5.1f} min  {n_frames:7d} frames  peak {peak_gb:.3f} GB".format(**figure))
    print(f"growth {figures['growth']:.3f}")
    if given.json:
        write_json(given.json, figures)


def measure(minutes: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        video, store = Path(folder, "long.mp4"), Path(folder, "s.zarr")
        n_frames = write_long(video, round(minutes * 60))
        command = [sys.executable, __file__, "--extract", str(video), str(store)]
        _, peak_bytes = watch(command)
        record = FeatureStore.open(store).record("long")
    if record.n_frames != n_frames:
        sys.exit(f"{record.n_frames} of {n_frames} frames were extracted")
    return {"minutes": minutes, "n_frames": n_frames, "peak_gb": peak_bytes / 1e9}


def write_long(path: Path, duration_s: float, video: Path = VIDEO) -> int:
    """Repeat the packets of a video up to that duration. Return the number of frames."""
    with av.open(str(video)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.size]
        n_ticks = sum(packet.duration or 0 for packet in packets)
        n_rounds = max(1, round(duration_s / float(n_ticks * packets[0].time_base)))
        for _ in range(n_rounds):
            for packet in packets:
                packet.stream = copy
                target.mux(packet)
                packet.pts = (packet.pts or 0) + n_ticks
                packet.dts = (packet.dts or 0) + n_ticks
    return n_rounds * len(packets)


def extract(video: Path, store: Path) -> None:
    settings = ExtractSettings(backbone="i3d", workers=1)
    backbone = instant_i3d()
    plan = make_plan(find_sources([video]), store, backbone, settings)
    run_plan(plan, FeatureStore.create(store), backbone, settings, quiet=True)


if __name__ == "__main__":
    main()
