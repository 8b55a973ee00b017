"""Score a live source: yield one line per event for as long as the source lasts.

    feed (thread, process) --clips--> backbone --features--> window, detector --scores--> lines

Clips are computed one at a time, because latency matters more than throughput. Memory use does not
grow with time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.config import take
from vad.device import choose_device
from vad.errors import UsageError, VideoError
from vad.grid import CLIP_FRAMES
from vad.stages.extract.backbones.backbone import Backbone
from vad.stages.extract.features import (
    LoadBackbone,
    grid_of,
    limits_of,
    load_backbone,
    provenance_of,
)
