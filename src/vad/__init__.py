"""Weakly supervised video anomaly detection: raw video in, a score for every frame out.

    import vad

    vad.extract("videos/", "features.zarr", backbone="i3d")
    vad.train("features.zarr", "labels.csv", "runs/rtfm")
    vad.evaluate("runs/rtfm", "segments.csv").figures
    vad.score("video.mp4", detector="runs/rtfm").frames

Stages and their libraries are imported when they are first used.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vad.extract.captions import caption as caption
    from vad.infer.evaluation import evaluate as evaluate
    from vad.pipelines.reproduce.run import reproduce as reproduce
    from vad.pipelines.score import score as score
    from vad.train.tune.run import tune as tune

__version__ = "0.1.0"

# Threads of a parallel loop that wait for each other shall sleep: by default they spin, and where
# decoders or other programs want the cores too, a forward pass on a CPU takes seven times as long.
# It is read when torch is loaded, which must not be before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# The client of the Hugging Face hub otherwise calls home before it looks for a file, even one that
# is here and was asked for without a connection. It, too, is read once.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

_LAZY = {
    "caption": "vad.extract.captions",
    "evaluate": "vad.infer.evaluation",
    "reproduce": "vad.pipelines.reproduce.run",
    "score": "vad.pipelines.score",
    "tune": "vad.train.tune.run",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    if name in ("extract", "train"):
        return import_module(f"vad.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
