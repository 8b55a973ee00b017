"""Hyper-parameters of the detectors, one frozen dataclass each. Defaults are the published values.

This module does not import torch: the command line reads it to list and check `--set name=value`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vad.config import option


@dataclass(frozen=True, kw_only=True)
class MagnitudeSettings:
    """Hyper-parameters of RTFM's loss, which other detectors use as well."""

    dropout: float = option(0.7, "of features, head and candidates", minimum=0, maximum=0.99)
    k: int = option(3, "snippets that speak for a video", minimum=1)
    share: float = option(
        0.0, "share of a video's snippets that speaks for it; 0: k of them", minimum=0, maximum=1
    )
    margin: float = option(100.0, "magnitude wanted between the classes", minimum=0)
    alpha: float = option(1e-4, "weight of the magnitude term", minimum=0)
    smooth: float = option(8e-4, "weight of the smoothness term", minimum=0)
    sparse: float = option(8e-3, "weight of the sparsity term", minimum=0)


@dataclass(frozen=True, kw_only=True)
class RTFMSettings(MagnitudeSettings):
    """Hyper-parameters of RTFM (Tian et al., ICCV 2021)."""

    width: int = option(512, "channels of a branch of the temporal network", minimum=1)
    gain: float = option(1.0, "of what the temporal network adds, at the start", minimum=0)
    layers: int = option(3, "of the classifier; one is linear", minimum=1, maximum=3)


@dataclass(frozen=True, kw_only=True)
class S3RSettings(MagnitudeSettings):
    """Hyper-parameters of S3R (Wu et al., ECCV 2022)."""

    width: int = option(512, "channels of a branch of the temporal networks", minimum=1)
    hidden: int | None = option(
        None,
        "width of the first layer of the classifiers, of which the second has a quarter; by "
        "default a quarter of the features",
        minimum=1,
    )
    macro: float = option(1.0, "weight of the term that what is rebuilt is normal", minimum=0)
    atoms: float = option(
        50.0, "size of the dictionary, in percent of the normal training videos", maximum=100
    )


@dataclass(frozen=True, kw_only=True)
class TEVADSettings(MagnitudeSettings):
    """Hyper-parameters of TEVAD (Chen et al., CVPR Workshops 2023)."""

    fusion: Literal["concat", "add", "product", "add_up", "text", "visual"] = option(
        "concat", "how text joins the visual features, or which of the two is used alone"
    )
    aggregate_text: bool = option(True, "send text through its temporal network")


@dataclass(frozen=True, kw_only=True)
class ETEVADSettings(TEVADSettings):
    """Hyper-parameters of E-TEVAD, whose description has neither smoothness nor sparsity."""

    smooth: float = option(0.0, "weight of the smoothness term", minimum=0)
    sparse: float = option(0.0, "weight of the sparsity term", minimum=0)


@dataclass(frozen=True, kw_only=True)
class MGFNSettings:
    """Hyper-parameters of MGFN (Chen et al., AAAI 2023)."""

    width: int = option(
        64, "channels of the first stage; the others have 2 and 16 times", minimum=1
    )
    ratio: float = option(0.1, "how much the magnitude adds to the embedding", minimum=0)
    dropout: float = option(0.7, "of candidates for selection", minimum=0, maximum=0.99)
    k: int = option(3, "snippets that speak for a video", minimum=1)
    margin: float = option(200.0, "distance wanted between the classes", minimum=0)
    contrast: float = option(1e-3, "weight of the contrastive terms", minimum=0)
    apart: float = option(1e-3, "further weight of the one between the classes", minimum=0)
    smooth: float = option(8e-4, "weight of the smoothness term", minimum=0)
    sparse: float = option(8e-3, "weight of the sparsity term", minimum=0)


@dataclass(frozen=True, kw_only=True)
class SAASettings:
    """Hyper-parameters of SAA (Fan et al., TCSVT 2024)."""

    width: int | None = option(
        None, "channels of a branch; by default a quarter of the features", minimum=1
    )
    dropout: float = option(0.7, "of features, head and attention", minimum=0, maximum=0.99)
    scores: bool = option(True, "classify by class scores")
    attended: bool = option(True, "classify by class scores times attention")
    suppressed: bool = option(True, "classify by class scores where attention is low")
    suppressed_attended: bool = option(True, "classify by both where attention is low")
    epsilon: float = option(0.2, "share of its range at which attention is low", minimum=0)
    alpha: float = option(
        0.8, "weight of all snippets against the suppressed", minimum=0, maximum=1
    )
    gamma: float = option(0.8, "weight of small attention in abnormal videos", minimum=0)
    guide: float = option(1.0, "weight of the attention's guide", minimum=0)
    warmup: int = option(400, "steps until the guide is thresholded", minimum=0)
    mu: float = option(0.01, "weight of smoothness and sparsity", minimum=0)


@dataclass(frozen=True, kw_only=True)
class TopKSettings:
    """Hyper-parameters of plain top-k MIL."""

    k: int = option(3, "snippets that speak for a video", minimum=1)
    share: float = option(
        0.0, "share of a video's snippets that speaks for it; 0: k of them", minimum=0, maximum=1
    )


@dataclass(frozen=True, kw_only=True)
class NormalitySettings:
    """Hyper-parameters of the distance to normal footage."""

    reach: int | None = option(
        None, "cells around a place that it is compared with; by default all", minimum=0
    )
    neighbours: int = option(3, "nearest rows of normal footage whose distance counts", minimum=1)
    places: int = option(3, "most unusual places of a snippet that speak for it", minimum=1)
    rows: int = option(10_000, "rows of normal footage that are kept", minimum=1)


@dataclass(frozen=True, kw_only=True)
class MILSettings:
    """Hyper-parameters of the multiple-instance network over TimeSformer features."""

    dropout: float = option(0.6, "of the hidden layers", minimum=0, maximum=0.99)
    k: int = option(3, "snippets that speak for a video", minimum=1)
    margin: float = option(1.0, "by which abnormal videos shall outscore normal ones", minimum=0)
    focal: float = option(0.1, "weight of the focal term", minimum=0)
    smooth: float = option(0.1, "weight of the smoothness term", minimum=0)


@dataclass(frozen=True, kw_only=True)
class SultaniSettings:
    """Hyper-parameters of deep ranking (Sultani et al., CVPR 2018)."""

    dropout: float = option(0.6, "of the hidden layers", minimum=0, maximum=0.99)
    margin: float = option(1.0, "by which abnormal videos shall outscore normal ones", minimum=0)
    smooth: float = option(8e-5, "weight of the smoothness term", minimum=0)
    sparse: float = option(8e-5, "weight of the sparsity term", minimum=0)
    decay: float = option(1e-3, "weight of the squared weights", minimum=0)


@dataclass(frozen=True, kw_only=True)
class URDMUSettings:
    """Hyper-parameters of UR-DMU (Zhou et al., AAAI 2023)."""

    width: int = option(512, "channels of the transformer and of the memories", minimum=4)
    slots: int = option(60, "patterns in each memory", minimum=1)
    dropout: float = option(0.5, "of the transformer", minimum=0, maximum=0.99)
    margin: float = option(100.0, "distance wanted between what is recalled", minimum=0)
    memory: float = option(0.1, "weight of each of the four memory terms", minimum=0)
    triplet: float = option(0.1, "weight of the triplet term", minimum=0)
    divergence: float = option(1e-3, "weight of the divergence term", minimum=0)
    distance: float = option(1e-4, "weight of the distance term", minimum=0)


@dataclass(frozen=True, kw_only=True)
class BNWVADSettings:
    """Hyper-parameters of BN-WVAD (Zhou et al., 2023)."""

    width: int = option(512, "channels of the transformer", minimum=4)
    dropout: float = option(0.0, "of the transformer", minimum=0, maximum=0.99)
    video_share: float = option(0.2, "snippets selected of every video", minimum=0, maximum=1)
    batch_share: float = option(0.4, "snippets selected of all videos", minimum=0, maximum=1)
    first: float = option(5.0, "weight of the triplet of the first normalisation", minimum=0)
    second: float = option(20.0, "weight of that of the second", minimum=0)


@dataclass(frozen=True, kw_only=True)
class PEL4VADSettings:
    """Hyper-parameters of PEL4VAD (Pu et al., TIP 2024), as published for UCF-Crime.

    The values for other data sets are in `presets.toml`.
    """

    window: int = option(9, "snippets of the local attention", minimum=1)
    norm: bool = option(True, "take the root of what attention gathers, and normalise it")
    w: float = option(0.6, "how fast nearness falls, at the start")
    b: float = option(0.2, "how far nearness is shifted, at the start")
    t_step: int = option(9, "snippets that the causal classifier sees", minimum=1)
    dropout: float = option(0.1, "of the two layers after attention", minimum=0, maximum=0.99)
    temperature: float = option(0.09, "of the comparison with prompts, at the start", minimum=1e-3)
    prompt: float = option(1.0, "weight of the prompt term", minimum=0)


UCF_CRIME = (
    "normal,abuse,arrest,arson,assault,burglary,explosion,fighting,roadAccidents,robbery,shooting,"
    "shoplifting,stealing,vandalism"
)
XD_VIOLENCE = "normal,fighting,shooting,riot,abuse,car accident,explosion"


@dataclass(frozen=True, kw_only=True)
class ClassSettings:
    """Hyper-parameters of detectors that compare snippets with the names of classes."""

    classes: str | None = option(
        None,
        "names of the classes, the normal one first, separated by commas; by default the "
        "categories of the training videos",
    )
    tower: str | None = option(
        None, "CLIP whose text tower reads the names of the classes: a folder, or a name on the hub"
    )
    text_width: int = option(
        512,
        "width of the tower's token vectors; 0: no words, the vectors of the classes are learnt",
        minimum=0,
    )
    layers: int = option(2, "of the transformer over snippets", minimum=1)
    window: int = option(8, "snippets that attend to one another", minimum=1)
    length: int = option(256, "snippets read at once; longer videos are cut", minimum=1)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes, the normal one first."""
        names = "normal,anomaly" if self.classes is None else self.classes
        return tuple(name.strip() for name in names.split(","))


@dataclass(frozen=True, kw_only=True)
class VadCLIPSettings(ClassSettings):
    """Hyper-parameters of VadCLIP (Wu et al., AAAI 2024), as published for UCF-Crime."""

    score: Literal["detector", "words"] = option(
        "detector", "score by the first branch (UCF-Crime), or by the class shares (XD-Violence)"
    )
    distance: float = option(
        0.1, "weight of the term that parts the normal class from the others", minimum=0
    )


@dataclass(frozen=True, kw_only=True)
class DSANetSettings(ClassSettings):
    """Hyper-parameters of DSANet (AAAI 2026), as published for UCF-Crime."""

    adapted: int = option(3, "blocks of the text tower that are adapted", minimum=0)
    share: float = option(0.1, "of the adapter in what it adapts", minimum=0, maximum=1)
    temperature: float = option(5.0, "of the class shares", minimum=1e-3)
    contrast: float = option(1.1, "weight of the term of the classes", minimum=0)


Settings = (
    RTFMSettings
    | MGFNSettings
    | S3RSettings
    | TEVADSettings
    | SAASettings
    | TopKSettings
    | NormalitySettings
    | MILSettings
    | SultaniSettings
    | URDMUSettings
    | BNWVADSettings
    | PEL4VADSettings
    | VadCLIPSettings
    | DSANetSettings
)
