"""`vad train`: store and labels in, a run folder out."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vad.device import choose_device
from vad.errors import UsageError
from vad.files import write_json
from vad.progress import meter
from vad.version import VERSION

from .data import TrainingData, load_training_data
from .fit import Fit, fit
from .history import History
from .metrics import best_threshold
from .run import CARD, SCHEMA, Run
from .settings import TrainSettings, split_settings
from .streams import read_each

log = logging.getLogger("vad")

STATE, PLAN = "state.safetensors", "plan.json"  # of an unfinished run


def train(
    store: str | Path,
    labels: str | Path,
    out: str | Path = "runs/rtfm",
    *,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> Run:
    """Train a detector from video-level labels, and open the run it leaves in `out`.

    `settings` are those of `TrainSettings` and of the detector. Raises UsageError for wrong input.
    """
    chosen, own = split_settings(settings)
    return train_run(
        store,
        Path(labels),
        Path(out),
        chosen,
        own,
        resume=resume,
        overwrite=overwrite,
        quiet=quiet,
    )


def train_run(
    store_path: str | Path,
    labels_path: Path,
    out: Path,
    settings: TrainSettings,
    own: Mapping[str, Any],
    *,
    resume: bool,
    overwrite: bool,
    quiet: bool,
) -> Run:
    """Train with settings that are built already; see `train`."""
    if (out / CARD).exists() and not overwrite:
        raise UsageError(f"{out} holds a finished run", hint="choose another --out, or --overwrite")
    data = load_training_data(store_path, labels_path, settings, own, quiet=quiet)
    if data.split.doubt:
        log.warning("%s", data.split.doubt)
    visual_dim, text_dim = data.dims
    plan: dict[str, Any] = {
        "schema": SCHEMA,
        "vad": VERSION,
        "detector": {
            "name": settings.detector,
            "visual_dim": visual_dim,
            "text_dim": text_dim,
            "settings": dict(own),
        },
        "training": asdict(settings),
        "features": data.features(),
        "data": {"labels": str(labels_path), **data.split.listed()},
    }
    going_on = _goes_on(out, plan, resume=resume)
    detector = data.detector(settings, own)
    device = choose_device(settings.device)
    state = Fit.begin(detector.to(device), settings)
    if going_on:
        state.load(out / STATE)
        log.info("going on after epoch %d", state.epoch)
    else:
        write_json(out / PLAN, plan)
    inputs = data.inputs.to(device)
    n_epochs = settings.epochs - state.epoch
    with (
        History(out, state.epoch) as history,
        meter("train", n_epochs, unit="epochs", quiet=quiet) as progress,
    ):
        fit(
            state,
            data.train,
            data.selection,
            inputs,
            settings,
            history=history,
            state_path=out / STATE,
            progress=progress,
        )
        chosen = next(r for r in history.rows if r["epoch"] == state.best_epoch)
    detector.load_state_dict(state.best_weights)
    return _finish(Run(out, plan, detector, inputs), data, chosen)


def _goes_on(out: Path, plan: Mapping[str, Any], *, resume: bool) -> bool:
    """Whether there is an unfinished run to go on with; UsageError if it is of other settings."""
    if not resume or not (out / STATE).exists():
        return False
    before = json.loads((out / PLAN).read_text(encoding="utf-8"))
    for part in ("detector", "training", "features", "data"):
        old, new = before[part], json.loads(json.dumps(plan[part]))
        if differing := [n for n in new if n != "epochs" and old.get(n) != new[n]]:
            raise UsageError(
                f"{out} was begun with another {part} {differing[0]}",
                hint="use the same settings, or train anew without --resume",
            )
    return True


def _finish(run: Run, data: TrainingData, chosen: Mapping[str, float]) -> Run:
    """Choose the threshold on the videos that judge, and write weights and card."""
    split, threshold = data.split, 0.5
    if split.selection_videos:
        peaks = [
            run.score(**streams).max()
            for streams in read_each(
                data.store, run.names, [x.video for x in split.selection_videos]
            )
        ]
        threshold = best_threshold([label.label for label in split.selection_videos], peaks)
    run.card = {
        **run.card,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "n_parameters": sum(p.numel() for p in run.detector.parameters()),
        "selection": {
            "on": split.select if split.selection_videos else "nothing: the last epoch",
            "epoch": int(chosen["epoch"]),
            "figures": {n: v for n, v in chosen.items() if n != "epoch"},
            "videos": split.n_selection_videos,
            **({"doubt": split.doubt} if split.doubt else {}),
        },
        "threshold": threshold,
    }
    run.save()
    for left in (STATE, PLAN):
        (run.path / left).unlink(missing_ok=True)
    return run
