"""Hyper-parameters of the detectors, one frozen dataclass each; defaults are the published ones.

No torch here: the command line reads these to list and check `--set name=value`.
"""

from __future__ import annotations

from dataclasses import dataclass

from vad.config import option


@dataclass(frozen=True, kw_only=True)
class RTFMSettings:
    """RTFM (Tian et al., ICCV 2021)."""

    width: int = option(512, "channels of a branch of the temporal network", minimum=1)
    dropout: float = option(0.7, "of features, head and candidates", minimum=0, maximum=0.99)
    k: int = option(3, "snippets that speak for a video", minimum=1)
    margin: float = option(100.0, "magnitude wanted between the classes", minimum=0)
    alpha: float = option(1e-4, "weight of the magnitude term", minimum=0)
    smooth: float = option(8e-4, "weight of the smoothness term", minimum=0)
    sparse: float = option(8e-3, "weight of the sparsity term", minimum=0)


Settings = RTFMSettings
