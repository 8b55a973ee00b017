"""Settings of the detectors by short names: `vad.train(detector=vad.detectors.RTFM(k=5))`.

Settings that are given this way are used unchanged; a detector given by its name starts from the
settings suggested for it, which suit small data sets.

A detector of one's own joins them by `add_detector`, or as a plug-in of an installed package.
"""

from .stages.train.detectors.settings import BNWVADSettings as BNWVAD
from .stages.train.detectors.settings import DSANetSettings as DSANet
from .stages.train.detectors.settings import ETEVADSettings as ETEVAD
from .stages.train.detectors.settings import MGFNSettings as MGFN
from .stages.train.detectors.settings import MILSettings as MIL
from .stages.train.detectors.settings import NormalitySettings as Normality
from .stages.train.detectors.settings import PEL4VADSettings as PEL4VAD
from .stages.train.detectors.settings import RTFMSettings as RTFM
from .stages.train.detectors.settings import S3RSettings as S3R
from .stages.train.detectors.settings import SAASettings as SAA
from .stages.train.detectors.settings import SultaniSettings as Sultani
from .stages.train.detectors.settings import TEVADSettings as TEVAD
from .stages.train.detectors.settings import TopKSettings as TopK
from .stages.train.detectors.settings import URDMUSettings as URDMU
from .stages.train.detectors.settings import VadCLIPSettings as VadCLIP
from .stages.train.detectors.table import DetectorRow, add_detector

__all__ = [
    "BNWVAD",
    "ETEVAD",
    "MGFN",
    "MIL",
    "PEL4VAD",
    "RTFM",
    "S3R",
    "SAA",
    "TEVAD",
    "URDMU",
    "DSANet",
    "DetectorRow",
    "Normality",
    "Sultani",
    "TopK",
    "VadCLIP",
    "add_detector",
]
