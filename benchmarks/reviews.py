"""What training from reviews brings, on rendered videos that the reviewer did not see.

    python benchmarks/reviews.py --seeds 3 --json OUT

Each seed renders 100 videos: 40 labelled ones to train on, 15 normal ones whose ten highest events
a person dismisses, and 30 others to measure on, half of them normal. Three runs of `vad train` are
compared: without the reviews, with them, and with the reviewed videos labelled normal instead.
`false_alarms` counts the events in the normal videos, `raised` the normal videos with an event,
`found` the abnormal ones, all at the run's own threshold.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vad import extract
from vad.files import write_json
from vad.stages.infer.events import Event
from vad.stages.infer.scores import VideoScores
from vad.stages.infer.scoring import score_stored
from vad.stages.pipelines.demo.videos import render_demo
from vad.stages.train.run import Run
from vad.stages.train.training import train
from vad.store import FeatureStore

N_VIDEOS, N_TRAIN, N_WATCHED, N_OTHERS = 100, 20, 15, 15  # all but the first: of either class
N_DISMISSED = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keep videos, features and runs here")
    parser.add_argument("--json", type=Path, metavar="OUT")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for seed in range(args.seeds):
            for way, figures in measure((args.folder or Path(temporary)) / str(seed), seed).items():
                rows.append({"seed": seed, "way": way, **figures})
                print(" ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    if args.json:
        write_json(args.json, rows)


def measure(folder: Path, seed: int) -> dict[str, dict[str, int]]:
    """Return the figures of the three ways of training, on one rendering."""
    data = render_demo(folder / "data", n_videos=N_VIDEOS, seed=seed, quiet=True)
    with data.labels.open(encoding="utf-8") as file:
        labels = {row["video"]: int(row["label"]) for row in csv.DictReader(file)}
    shuffled = np.random.default_rng(seed).permutation(list(labels)).tolist()
    normal, abnormal = ([v for v in shuffled if labels[v] == value] for value in (0, 1))
    watched = normal[N_TRAIN : N_TRAIN + N_WATCHED]
    others = [*normal[N_TRAIN + N_WATCHED :][:N_OTHERS], *abnormal[N_TRAIN:][:N_OTHERS]]
    trained = {v: labels[v] for v in (*normal[:N_TRAIN], *abnormal[:N_TRAIN])}
    store = folder / "features.zarr"
    extract([data.videos / f"{v}.mp4" for v in (*trained, *watched, *others)], store, quiet=True)
    plain = train(store, trained, folder / "plain", overwrite=True, quiet=True)
    dismissed = highest_events(scores_of(store, plain, watched), N_DISMISSED)
    reviews = folder / "reviews.csv"
    lines = [f"{v},{e.start_frame},{e.end_frame},dismissed" for v, e in dismissed]
    reviews.write_text("\n".join(["video,start_frame,end_frame,verdict", *lines]))
    also_normal = trained | {video: 0 for video, _ in dismissed}
    runs = {
        "without": plain,
        "reviews": train(
            store, trained, folder / "reviewed", reviews=reviews, overwrite=True, quiet=True
        ),
        "labels": train(store, also_normal, folder / "labelled", overwrite=True, quiet=True),
    }
    found = {}
    for way, run in runs.items():
        events = {s.video: len(s.events) for s in scores_of(store, run, others)}
        quiet = [n for video, n in events.items() if labels[video] == 0]
        found[way] = {
            "false_alarms": sum(quiet),
            "raised": sum(n > 0 for n in quiet),
            "found": sum(n > 0 for video, n in events.items() if labels[video]),
        }
    return found


def scores_of(store: Path, run: Run, videos: Sequence[str]) -> list[VideoScores]:
    return list(score_stored(FeatureStore.open(store), run, videos))


def highest_events(scores: Sequence[VideoScores], n: int) -> list[tuple[str, Event]]:
    """Return the `n` events with the highest peaks, at the first threshold that gives so many."""
    for threshold in np.linspace(0.95, 0.05, 19):
        lowered = [replace(s, threshold=float(threshold)) for s in scores]
        events = [(s.video, event) for s in lowered for event in s.events]
        if len(events) >= n:
            return sorted(events, key=lambda pair: -pair[1].peak)[:n]
    raise ValueError(f"fewer than {n} events at any threshold")


if __name__ == "__main__":
    main()
