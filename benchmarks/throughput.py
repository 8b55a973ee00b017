"""Check the speed of everything around the model: frames per second decoded, cropped and written.

    python benchmarks/throughput.py [--figures FILE] [--record]

The clips are real, and the model computes mean colours. The best of three runs is compared with the
figure in FILE for the same class of machine (processor and number of cores): below 80 % of that
figure the exit code is 1. `--record` writes the figure; use it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

from clips import cut_clips
from null_model import null_backbone

from vad.files import write_json
from vad.stages.extract.plan import make_plan, run_plan
from vad.stages.extract.settings import ExtractSettings
from vad.stages.extract.sources import find_sources
from vad.store import FeatureStore

FIGURES = Path(__file__).with_name("throughput.json")
N_CLIPS, CLIP_FRAMES, REPEATS = 60, 64, 3
LEAST = 0.8  # of the recorded figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--figures", type=Path, default=FIGURES)
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    figures = json.loads(args.figures.read_text()) if args.figures.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        cut_clips(Path(folder, "videos"), N_CLIPS, n_frames=CLIP_FRAMES)
        rate = max(frames_per_s(Path(folder), repeat) for repeat in range(REPEATS))
    machine, recorded = machine_class(), figures.get(machine_class())
    print(f"{machine}: {rate:.0f} frames/s, recorded {recorded or 'nothing'}")
    if args.record:
        write_json(args.figures, {**figures, machine: round(rate)})
    elif recorded and rate < LEAST * recorded:
        sys.exit(1)


def frames_per_s(folder: Path, repeat: int) -> float:
    """Extract all clips into a new store; return the frames per second."""
    settings, backbone = ExtractSettings(backbone="null"), null_backbone()
    store = folder / f"{repeat}.zarr"
    plan = make_plan(find_sources([folder / "videos"]), store, backbone, settings)
    started = time.perf_counter()
    outcome = run_plan(plan, FeatureStore.create(store), backbone, settings, quiet=True)
    return len(outcome.done) * CLIP_FRAMES / (time.perf_counter() - started)


def machine_class() -> str:
    """Return the name of the processor and the number of cores that this process can use."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        rows = (line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line)
        name = next((value.strip() for key, value in rows if key.strip() == "model name"), name)
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


if __name__ == "__main__":
    main()
