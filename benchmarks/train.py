"""Training speed of RTFM at its published size, beside a plain loop over files.

    python benchmarks/train.py --json OUT

A step uses 32 normal and 32 abnormal videos, ten crops, 32 segments and 2048 values. Features are
random, with the lengths of the captioned videos of UCF-Crime: 444 snippets on average. The plain
loop works as the published one, in plain PyTorch: every step loads the .npy file of each of its
videos, pools it crop by crop and segment by segment, and runs the whole batch through the network.
Both sides train the same network with the same loss by Adam, each in a process of its own, one
after the other.

Seconds are CPU seconds on one thread, so that other programs do not affect them.

    speedup_over_plain_loop   seconds of a plain step / seconds of one of our steps, the same work
    speedup_one_crop          the same with `--set crops=1`: one crop per video and step
    speedup_with_evaluation   the same with the evaluation between the steps, at the size of
                              UCF-Crime: the published loop scores the whole test set at every
                              fifth step, ours ranks its validation bags once per pass
    data_share                share of our step until its batch is ready
    peak_gb                   peak of the resident memory of our process
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plain_rtfm import plain_steps

from vad.device import choose_device
from vad.files import write_json
from vad.labels import read_labels
from vad.stages.extract.records import unseen_record
from vad.stages.train.bags import load_bags, whole
from vad.stages.train.callbacks import Told
from vad.stages.train.detectors import create_detector
from vad.stages.train.fit import Fit, fit, validate
from vad.stages.train.history import History
from vad.stages.train.settings import TrainSettings
from vad.stages.train.streams import Inputs, Scaling
from vad.store import FeatureStore, Provenance
from vad.terminal import meter

CROPS, DIM, SEGMENTS, BATCH = 10, 2048, 32, 32
SIDES = ("plain", "ours", "one_crop")
UCF_TEST_SNIPPETS, STEPS_A_TEST = 69_634, 5  # steps between tests in the published loop
UCF_VALIDATION_BAGS, STEPS_A_PASS = 322, 21  # in ours: a fifth of 1,610 videos; the rest trains


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, metavar="OUT")
    parser.add_argument("--steps", type=int, default=3, help="measured, after one more")
    parser.add_argument("--videos", type=int, default=32, help="of each class")
    parser.add_argument("--snippets", type=int, default=444, help="of a video, on average")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        torch.set_num_threads(1)
        print(json.dumps(measure(args.side, args.folder, args.steps)))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        make_data(Path(folder), args.videos, args.snippets)
        sides = {side: in_process(side, folder, args.steps) for side in SIDES}
    plain, ours, one = (sides[side] for side in SIDES)
    result = {
        "speedup_over_plain_loop": plain["step_s"] / ours["step_s"],
        "speedup_one_crop": plain["step_s"] / one["step_s"],
        "speedup_with_evaluation": (
            plain["step_s"] + plain["snippet_s"] * UCF_TEST_SNIPPETS / STEPS_A_TEST
        )
        / (ours["step_s"] + ours["bag_s"] * UCF_VALIDATION_BAGS / STEPS_A_PASS),
        "data_share": ours["data_s"] / ours["step_s"],
        "peak_gb": ours["peak_gb"],
        "n_threads": 1,
        "n_videos": 2 * args.videos,
        "n_snippets": args.snippets,
        "n_steps": args.steps,
        "sides": sides,
    }
    for side, figures in sides.items():
        print(f"{side:9s}" + "".join(f"  {name} {value:.3f}" for name, value in figures.items()))
    for name in ("speedup_over_plain_loop", "speedup_one_crop", "speedup_with_evaluation"):
        print(f"{name} {result[name]:.3f}")
    print(f"data_share {result['data_share']:.4f}, peak_gb {result['peak_gb']:.2f}")
    if args.json:
        write_json(args.json, result)


def in_process(side: str, folder: str, steps: int) -> dict[str, float]:
    """Return the figures of one side, measured in a new process."""
    command = [sys.executable, __file__, "--side", side, "--folder", folder, "--steps", str(steps)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def measure(side: str, folder: Path, steps: int) -> dict[str, float]:
    """Return the seconds per step, of loading in it, and of scoring, and the peak memory in GB."""
    if side == "plain":
        names = ("step_s", "data_s", "snippet_s")
        seconds = plain_steps(folder, BATCH, SEGMENTS, steps)
    else:
        names = ("step_s", "data_s", "bag_s")
        seconds = our_steps(folder, steps, crops=1 if side == "one_crop" else None)
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {**dict(zip(names, seconds, strict=True)), "peak_gb": peak_gb}


def our_steps(folder: Path, steps: int, crops: int | None) -> tuple[float, float, float]:
    """Return the seconds per step of `fit`, of preparing its batch, and per validated bag."""
    device = choose_device("cpu")
    store = FeatureStore.open(folder / "features.zarr")
    labels = read_labels(folder / "labels.csv")
    bags = load_bags(
        store, {"visual": "visual/i3d"}, whole(labels), SEGMENTS, stretch=True, quiet=True
    )
    size: dict[str, Any] = {"batch": BATCH, "form": "published", "crops": crops}
    epochs = -(-steps * BATCH // int(bags.labels.sum()))  # one step warms up
    settings = TrainSettings(epochs=epochs, **size)
    state = Fit.begin(create_detector("rtfm", visual_dim=DIM), settings)
    inputs = Inputs({"visual": Scaling()})
    path = folder / "state.safetensors"

    def train(epochs: int) -> float:
        started = time.process_time()
        chosen = TrainSettings(epochs=epochs, **size)
        with meter("", 0, unit="", quiet=True) as progress:
            fit(
                state,
                bags,
                None,
                inputs,
                chosen,
                history=History(folder / "run", 0),
                told=Told(),
                state_path=path,
                progress=progress,
            )
        return time.process_time() - started

    train(1)
    n_steps = epochs * -(-int(bags.labels.sum()) // BATCH)
    step_s = train(1 + epochs) / n_steps
    started = time.process_time()
    random = np.random.default_rng(0)
    for _ in range(3):
        order = random.permutation(len(bags))[: 2 * BATCH]
        inputs(bags.take(order, device, crops, random)[0])
    data_s = (time.process_time() - started) / 3
    started = time.process_time()
    validate(state.detector, bags, inputs, settings, device)
    return step_s, data_s, (time.process_time() - started) / len(bags)


def make_data(folder: Path, n_videos: int, n_snippets: int) -> None:
    """Write videos of random features of both classes, as files and as a store, with labels."""
    random = np.random.default_rng(0)
    store = FeatureStore.create(folder / "features.zarr")
    lines = ["video,label"]
    for index in range(2 * n_videos):
        n = int(random.integers(n_snippets // 2, n_snippets * 3 // 2))
        features = random.standard_normal((n, CROPS, DIM), np.float32)
        label = int(index >= n_videos)
        np.save(folder / f"{label}_{index:04d}.npy", features)
        draft = store.draft(f"v{index:04d}")
        draft.append("visual/i3d", features.astype(np.float16))
        record = unseen_record(Path("random"), 16 * n, 30.0, "drop", decoder="none")
        draft.commit(record, np.arange(16 * n) / 30, {"visual/i3d": Provenance({})})
        lines.append(f"v{index:04d},{label}")
    (folder / "labels.csv").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
