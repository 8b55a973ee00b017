"""Run all stages on a rendered data set: extract, train, evaluate, score."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from vad import extract, train
from vad.stages.infer.evaluation.files import save
from vad.stages.infer.evaluation.result import Evaluation
from vad.stages.infer.evaluation.run import evaluate
from vad.stages.infer.writers import save as save_scores
from vad.store import FeatureStore

from ..score import score_file
from .videos import render_demo

log = logging.getLogger("vad")


@dataclass(frozen=True)
class Demo:
    """The results of the demo."""

    evaluation: Evaluation
    curves: list[Path]  # files of score curves of the test videos
    scored: list[Path]  # files of the one video that was scored directly


def run_demo(folder: Path, *, seed: int = 0, quiet: bool = False) -> Demo:
    """Render the videos into `folder`, then run every stage on them; return the results."""
    log.info("1/5 render surveillance-like videos, some with a planted anomaly")
    data = render_demo(folder / "data", seed=seed, quiet=quiet)
    log.info("2/5 extract features")
    store = folder / "features.zarr"
    extract(data.videos, store, quiet=quiet)
    log.info("3/5 train from video labels")
    run = train(store, data.labels, folder / "runs" / "default", overwrite=True, quiet=quiet)
    log.info("4/5 evaluate on the test videos")
    evaluation = evaluate(run.path, data.segments)
    files = save(evaluation, folder / "evaluation")
    log.info("5/5 score one video file")
    abnormal = next(label.video for label in evaluation.labels if label.label)
    source = Path(FeatureStore.open(store).record(abnormal).source)
    scores = score_file(source, run.path)
    scored = save_scores(scores, folder / "scores", ("csv", "json", "png", "html"))
    return Demo(evaluation, [f for f in files if f.parent.name == "videos"], scored)
