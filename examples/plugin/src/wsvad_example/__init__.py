"""A detector and a file format for `vad`. Importing this does not import torch."""

from __future__ import annotations

from dataclasses import dataclass

from vad.config import option
from vad.detectors import DetectorRow
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
LINES = Format(".lines.txt", "a line per event, for a person", writer="wsvad_example.lines:write")
