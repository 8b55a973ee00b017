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

from .version import VERSION as __version__

if TYPE_CHECKING:
    from vad.stages.extract.captions import caption as caption
    from vad.stages.extract.run import extract as extract
    from vad.stages.infer.evaluation.run import evaluate as evaluate
    from vad.stages.pipelines.reproduce.run import reproduce as reproduce
    from vad.stages.pipelines.score import score as score
    from vad.stages.train.training import train as train
    from vad.stages.train.tune.run import tune as tune

# Threads of a parallel loop that wait for each other shall sleep: by default they spin, and where
# decoders or other programs want the cores too, a forward pass on a CPU takes seven times as long.
# It is read when torch is loaded, which must not be before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# The client of the Hugging Face hub otherwise calls home before it looks for a file, even one that
# is here and was asked for without a connection. It, too, is read once.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

__all__ = ["__version__", "caption", "evaluate", "extract", "reproduce", "score", "train", "tune"]

_LAZY = {
    "caption": "vad.stages.extract.captions",
    "evaluate": "vad.stages.infer.evaluation.run",
    "extract": "vad.stages.extract.run",
    "reproduce": "vad.stages.pipelines.reproduce.run",
    "score": "vad.stages.pipelines.score",
    "train": "vad.stages.train.training",
    "tune": "vad.stages.train.tune.run",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
