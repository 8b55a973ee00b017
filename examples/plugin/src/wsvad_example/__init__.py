"""A detector, a backbone and a file format for `vad`. Importing this does not import torch."""

from __future__ import annotations

from dataclasses import dataclass

from vad.config import option
from vad.detectors import DetectorRow
from vad.stages.extract.backbones.table import BackboneCard, KnownWeights
from vad.stages.infer.settings import Format


@dataclass(frozen=True, kw_only=True)
class SoftMaxSettings:
    """Hyper-parameters of `SoftMax`."""

    sharpness: float = option(4.0, "0: the mean of all snippets; large: the highest", minimum=0)


SOFT_MAX = DetectorRow(
    "wsvad_example.detector:SoftMax",
    SoftMaxSettings,
    "one linear layer a snippet, and a soft maximum over the video",
    "an example",
)
CHANGES = BackboneCard(
    "changes",
    module="wsvad_example.backbone",
    dim=128,
    says="brightness of 8 x 8 cells and how it changes",
    weights=(KnownWeights("none", licence="as the package", source="no file is needed"),),
    recipes=("efficientnet-lite0",),  # the whole picture at 224 x 224, all 16 frames
)
LINES = Format(".lines.txt", "a line per event, for a person", writer="wsvad_example.lines:write")
