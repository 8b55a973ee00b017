"""Weakly supervised video anomaly detection: raw video in, a score for every frame out.

    import vad

    vad.extract("videos/", "features.zarr", backbone="i3d")
    vad.train("features.zarr", "labels.csv", "runs/rtfm")
    vad.evaluate("runs/rtfm", "segments.csv").figures
    vad.score("video.mp4", detector="runs/rtfm").frames

These functions are defined in `vad.verbs`; the settings of detectors are classes of
`vad.detectors`. Stages and their libraries are imported when they are first used.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING

from .version import VERSION as __version__

# Threads of a parallel loop that wait for each other should sleep. By default they spin; if
# decoders or other programs need the cores, a forward pass on a CPU then takes 7 times as long.
# The variable is read when torch is loaded, so it must be set before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Otherwise the client of the Hugging Face hub sends telemetry before it looks for a file, even for
# a cached file in offline mode. This variable, too, is read only once.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

VERBS = (
    "calibrate",
    "caption",
    "card",
    "compare",
    "evaluate",
    "events",
    "explain",
    "export_features",
    "export_onnx",
    "extract",
    "import_detector",
    "import_features",
    "reproduce",
    "score",
    "score_store",
    "score_videos",
    "search",
    "spread",
    "stream",
    "train",
    "tune",
    "verify",
    "watch",
)

if TYPE_CHECKING:
    from . import detectors as detectors
    from .stages.train.callbacks import Callback as Callback
    from .stages.train.dataset import BagDataset as BagDataset
    from .stages.train.run import Run as Run
    from .store import FeatureStore as FeatureStore
    from .verbs import calibrate as calibrate
    from .verbs import caption as caption
    from .verbs import card as card
    from .verbs import compare as compare
    from .verbs import evaluate as evaluate
    from .verbs import events as events
    from .verbs import explain as explain
    from .verbs import export_features as export_features
    from .verbs import export_onnx as export_onnx
    from .verbs import extract as extract
    from .verbs import import_detector as import_detector
    from .verbs import import_features as import_features
    from .verbs import reproduce as reproduce
    from .verbs import score as score
    from .verbs import score_store as score_store
    from .verbs import score_videos as score_videos
    from .verbs import search as search
    from .verbs import spread as spread
    from .verbs import stream as stream
    from .verbs import train as train
    from .verbs import tune as tune
    from .verbs import verify as verify
    from .verbs import watch as watch
else:  # hidden from type checkers, which would accept any name

    def __getattr__(name: str) -> object:
        if name == "detectors":
            return import_module("vad.detectors")
        if name in _LAZY:
            return getattr(import_module(_LAZY[name]), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_LAZY = {verb: "vad.verbs" for verb in VERBS}
_LAZY |= {
    "BagDataset": "vad.stages.train.dataset",
    "Callback": "vad.stages.train.callbacks",
    "FeatureStore": "vad.store",
    "Run": "vad.stages.train.run",
}

__all__ = ["BagDataset", "Callback", "FeatureStore", "Run", "__version__", "detectors", *VERBS]


def __dir__() -> list[str]:
    return sorted(__all__)
