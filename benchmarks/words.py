"""How fast image-text features are: frames a second of each image backbone, with random weights,
and the time to search 100 hours of stored rows.

    python benchmarks/words.py [--backbones clip-b16 clip-b32] [--hours 100] [--json OUT]

Frames are 320x240 and come from memory, so decoding does not count. The rows are random and of the
width of CLIP ViT-B/16; they are written to a temporary store first.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from vad.files import write_json
from vad.stages.extract.backbones import BACKBONES, create_backbone
from vad.stages.extract.records import unseen_record
from vad.stages.infer.words import search_rows, unit
from vad.store import FeatureStore, Provenance

FPS, CLIP_FRAMES, DIM = 25, 16, 512
HOURS_A_VIDEO = 1


def frames_per_second(name: str, pool: str) -> float:
    """Return the frames of a video that a backbone gets through in a second."""
    backbone = create_backbone(name, weights="random:0", pool=pool, places="none")
    clip = np.random.default_rng(0).integers(0, 256, (1, CLIP_FRAMES, 240, 320, 3), np.uint8)
    backbone(clip)  # compiles
    start, n_clips = time.perf_counter(), 0
    while time.perf_counter() - start < 3:
        backbone(clip)
        n_clips += 1
    return n_clips * CLIP_FRAMES / (time.perf_counter() - start)


def search_seconds(hours: int) -> tuple[float, int]:
    """Return the seconds that a search takes, and the number of rows."""
    random = np.random.default_rng(0)
    n_frames = HOURS_A_VIDEO * 3600 * FPS
    n_rows = -(-n_frames // CLIP_FRAMES)
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore.create(Path(folder, "features.zarr"))
        for video in range(hours // HOURS_A_VIDEO):
            record = unseen_record(Path(f"v{video}"), n_frames, FPS, "repeat-last", decoder="none")
            draft = store.draft(f"v{video}")
            draft.append("visual/x", random.normal(size=(n_rows, 1, DIM)).astype(np.float16))
            made = {"visual/x": Provenance.of({"backbone": "x"})}
            draft.commit(record, np.arange(n_frames) / FPS, made)
        vector = unit(random.normal(size=DIM))
        start = time.perf_counter()
        search_rows(store, "visual/x", vector, store.ids(), top=20)
        return time.perf_counter() - start, n_rows * (hours // HOURS_A_VIDEO)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    images = [name for name, card in BACKBONES.items() if card.module == ".images" and card.weights]
    parser.add_argument("--backbones", nargs="*", default=images)
    parser.add_argument("--hours", type=int, default=100)
    parser.add_argument("--json", type=Path, metavar="OUT")
    given = parser.parse_args()
    print("backbone        mean16   middle   frames of video a second; random weights")
    rates: dict[str, list[float]] = {}
    for name in given.backbones:
        rates[name] = [frames_per_second(name, pool) for pool in ("mean16", "middle")]
        print(f"{name:14}" + "".join(f"{rate:9.1f}" for rate in rates[name]), flush=True)
    seconds, n_rows = search_seconds(given.hours)
    print(f"search of {given.hours} hours ({n_rows:,} rows of {DIM}): {seconds:.2f} s")
    if given.json:
        write_json(given.json, {"frames_a_second": rates, "search_s": seconds, "n_rows": n_rows})


if __name__ == "__main__":
    main()
