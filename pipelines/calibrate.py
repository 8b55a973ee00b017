"""Calibrate a trained run on footage of one camera: extract its features, and learn from them."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from vad.device import choose_device
from vad.errors import UsageError, VideoError
from vad.stages.extract.sources import find_sources
from vad.stages.infer.scoring import check_features
from vad.stages.infer.settings import parse_rate
from vad.stages.train.cameras import calibrate_camera, camera_folder
from vad.stages.train.run import Run
from vad.store import FeatureStore
from vad.store.backends import refuse_connection

from .features_for_run import make_features

log = logging.getLogger("vad")


def calibrate(
    run: str | Path,
    footage: str | Path | Iterable[str | Path],
    camera: str,
    *,
    false_alarms: str | None = None,
    store: str | Path | None = None,
    on_failed: Callable[[str, VideoError], None] | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Run:
    """`vad.calibrate`: learn from the footage what is ordinary for a camera, into the run."""
    per_s = parse_rate(false_alarms) if false_alarms else None
    given = {name: value for name, value in settings.items() if value is not None}
    if store is not None:
        refuse_connection(store, offline=given.get("offline", False))
    opened = Run.open(run)
    camera_folder(opened.path, camera)  # tells a wrong name before the work
    given["device"] = str(choose_device(given.get("device", "auto")))
    videos = [footage] if isinstance(footage, str | Path) else list(footage)
    with tempfile.TemporaryDirectory(prefix="vad-") as folder:
        path = store or Path(folder, "features.zarr")
        stored: list[str] = []
        made = make_features(
            opened, find_sources(videos), path, given, quiet=quiet, on_stored=stored.append
        )
        for video, error in made.failed.items():
            if on_failed is None:
                raise error
            on_failed(video, error)
        if not stored:
            raise UsageError("no video of the footage can be used")
        features = FeatureStore.open(path)
        for video in stored:
            check_features(features, opened, video)
        return calibrate_camera(opened, features, sorted(stored), camera, false_alarms_per_s=per_s)
