"""The table of detectors: class, settings, summary and source of each. It does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vad.errors import UsageError
from vad.names import find_by_name
from vad.plugins import add_plugins

from .settings import (
    BNWVADSettings,
    DSANetSettings,
    ETEVADSettings,
    MGFNSettings,
    MILSettings,
    NormalitySettings,
    PEL4VADSettings,
    RTFMSettings,
    S3RSettings,
    SAASettings,
    SultaniSettings,
    TEVADSettings,
    TopKSettings,
    URDMUSettings,
    VadCLIPSettings,
)


@dataclass(frozen=True, slots=True)
class DetectorRow:
    """One detector: the path of its class, its settings, and a description for the user."""

    path: str  # "MODULE:CLASS"; a module that begins with a dot lies in this package
    settings: type[Any]
    summary: str
    paper: str
    text: bool = False  # True if it needs text features besides the visual ones
    # suggested settings for a few dozen videos
    small: Mapping[str, object] = field(default_factory=dict)
    arrays: tuple[str, ...] = ()  # names of arrays that it takes at creation
    pads: bool = False  # True if the published training pads short videos, and repeats nothing

    def kinds(self, settings: Mapping[str, object]) -> tuple[str, ...]:
        """Return the kinds of features that the detector requires, "visual", "text" or both.

        The result is empty if it reads features of either kind.
        """
        if not self.text:
            return ()
        alone = settings.get("fusion")
        return (alone,) if alone in ("visual", "text") else ("visual", "text")


DETECTORS: dict[str, DetectorRow] = {
    "rtfm": DetectorRow(
        ".rtfm:RTFM",
        RTFMSettings,
        "temporal network (dilated convolutions, non-local block), top-k by feature magnitude",
        "Tian et al., ICCV 2021",
        # for a few videos: narrow branches, a fifth of the snippets selected, an initial temporal
        # network that is the identity, a linear classifier, and no sparsity, since an anomaly may
        # be long
        small={"width": 32, "share": 0.2, "gain": 0.0, "layers": 1, "sparse": 0.0}
        | {"weight_decay": 0.05},
    ),
    "mgfn": DetectorRow(
        ".mgfn:MGFN",
        MGFNSettings,
        "attention over the video, convolution over neighbours, contrast of magnitudes",
        "Chen et al., AAAI 2023",
        small={"width": 8},
    ),
    "s3r": DetectorRow(
        ".s3r:S3R",
        S3RSettings,
        "what a dictionary of normal videos cannot rebuild (see `vad.stages.train.detectors.s3r`)",
        "Wu et al., ECCV 2022",
        small={"width": 32, "share": 0.25, "hidden": 512},
        arrays=("dictionary",),
    ),
    "tevad": DetectorRow(
        ".tevad:TEVAD",
        TEVADSettings,
        "RTFM on visual and caption features, fused",
        "Chen et al., CVPR Workshops 2023",
        small={"share": 0.25},
        text=True,
    ),
    "etevad": DetectorRow(
        ".tevad:ETEVAD",
        ETEVADSettings,
        "TEVAD with squeeze-and-excitation and a transformer layer",
        "Enhanced-TEVAD, 2025",
        small={"share": 0.25},
        text=True,
    ),
    "saa": DetectorRow(
        ".saa:SAA",
        SAASettings,
        "attention times class scores, also without the most obvious snippets",
        "Fan et al., TCSVT 2024",
        small={"width": 32, "lr": 3e-3},  # few videos mean few steps
    ),
    "topk": DetectorRow(
        ".topk:TopK",
        TopKSettings,
        "one linear layer a snippet, the mean of the k highest scores: the plain way",
        "the reference of all others",
    ),
    "normality": DetectorRow(
        ".normality:Normality",
        NormalitySettings,
        "distance to normal footage: needs no abnormal video",
        "PatchCore, Roth et al., CVPR 2022, on cells of the picture",
        arrays=("bank", "cells", "weights"),
    ),
    "mil": DetectorRow(
        ".mil:MIL",
        MILSettings,
        "three layers a snippet, ranking and focal loss on the top-k scores",
        "TimeSformer MIL, 2026",
    ),
    "sultani": DetectorRow(
        ".sultani:Sultani",
        SultaniSettings,
        "three layers a snippet, ranking of the highest scores",
        "Sultani et al., CVPR 2018",
    ),
    "urdmu": DetectorRow(
        ".urdmu:URDMU",
        URDMUSettings,
        "what a memory of normal and one of abnormal snippets recall",
        "Zhou et al., AAAI 2023",
        small={"width": 64, "weight_decay": 0.05},
    ),
    "pel4vad": DetectorRow(
        ".pel4vad:PEL4VAD",
        PEL4VADSettings,
        "attention to the video and to a window, causal classifier, prompts at training",
        "Pu et al., TIP 2024",
        small={"t_step": 3, "window": 5, "lr": 2e-4},
        arrays=("prompts",),
    ),
    "bnwvad": DetectorRow(
        ".bnwvad:BNWVAD",
        BNWVADSettings,
        "distance from the running statistics of batch normalisation",
        "Zhou et al., 2023",
        small={"width": 64, "lr": 1e-4, "clip": 1.0},
    ),
    "vadclip": DetectorRow(
        ".vadclip:VadCLIP",
        VadCLIPSettings,
        "windowed transformer and graph layers; class names, read by CLIP, tell kinds",
        "Wu et al., AAAI 2024",
        small={"text_width": 0, "length": 64, "lr": 1e-4},
        pads=True,
    ),
    "dsanet": DetectorRow(
        ".dsanet:DSANet",
        DSANetSettings,
        "VadCLIP with adapted class names and prototypes of normal snippets",
        "AAAI 2026",
        small={"text_width": 0, "length": 64, "lr": 1e-4},
        pads=True,
    ),
}


def find_row(name: str) -> DetectorRow:
    """Return the row of a detector, which a plug-in may add to the table.

    Raises UsageError, with the nearest name, if it is unknown.
    """
    if name not in DETECTORS:
        add_plugins("detector", DETECTORS)
    return find_by_name("detector", name, DETECTORS)


def row_of_settings(settings: object) -> tuple[str, DetectorRow] | None:
    """Return the name and the row of the detector that a settings object is of, or None."""
    if not any(row.settings is type(settings) for row in DETECTORS.values()):
        add_plugins("detector", DETECTORS)
    return next(((n, r) for n, r in DETECTORS.items() if r.settings is type(settings)), None)


def add_detector(name: str, row: DetectorRow) -> None:
    """Add a detector of one's own under a new name, for this process.

    A class in a script or notebook has the path "__main__:CLASS". Runs of the detector open in
    processes that have added it; an installed package adds it for all, see `vad.plugins`. Raises
    UsageError if a detector has that name.
    """
    if DETECTORS.setdefault(name, row) is not row:
        raise UsageError(f"there is a detector named {name!r}", hint="choose another name")
