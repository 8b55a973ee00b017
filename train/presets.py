"""Presets, and the settings that a training starts from where they are not given.

A preset has a name: how a detector was trained on a data set, by its authors or in a comparison.

    vad train --preset rtfm-ucf-crime

A preset gives both the settings of the training and the detector's own; what is given beside it
comes first. Steps of the released code are passes here: `epochs` is the number of steps over those
that one pass over the larger class takes. Where a sample is the file of one crop, `batch` is as
many videos as have that many crops. No torch here: the command line lists the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vad.config import build, options
from vad.errors import UsageError
from vad.names import find_by_name

from .detectors import find_row
from .settings import TrainSettings


@dataclass(frozen=True, slots=True)
class Preset:
    """Settings of one published training."""

    detector: str
    settings: Mapping[str, Any]
    source: str
    differs: str = ""  # what of that training is not done


# All of them train on features as they are stored, with the released loss, and smooth no scores.
AS_RELEASED: Mapping[str, Any] = {"form": "published", "scale": "none", "smoothing": 0}
RTFM = {**AS_RELEASED, "lr": 1e-3, "weight_decay": 5e-3, "batch": 32, "segments": 32}
MGFN = {**AS_RELEASED, "lr": 1e-3, "weight_decay": 5e-4, "batch": 16, "segments": 32}
CROP_FILES = {**AS_RELEASED, "lr": 1e-4, "weight_decay": 5e-5, "segments": 200, "seed": 2022}
PEL4VAD = {**AS_RELEASED, "lr": 5e-4, "weight_decay": 0.0, "segments": 200, "epochs": 50}

RTFM_CODE = "github.com/tianyu0207/RTFM cf938f4: 15,000 steps"
MGFN_CODE = "github.com/carolchenyx/MGFN. 98e9389: at most 1,000 passes"
S3R_CODE = "github.com/louisYen/S3R 6835335: 15,000 steps"
TEVAD_CODE = "github.com/coranholmes/TEVAD 6d701ff: 1,000 steps, on Ped2 10,000"
URDMU_CODE = "github.com/henrryzh1/UR-DMU 40cfdf5: 3,000 steps"
BNWVAD_CODE = "github.com/cool-xuan/BN-WVAD 4fa3a5d: 1,000 steps"
PEL4VAD_CODE = "github.com/yujiangpu20/PEL4VAD eeb31f4"
COMPARED = "github.com/marctimjen/Weakly-supervised-anomaly-detection 17c17a8"

NO_COSINE = "there the learning rate falls (cosine over 60 passes), and segments are not means"
NO_RESIZE = "segments are means, there they are interpolated"

PRESETS: dict[str, Preset] = {
    "rtfm-ucf-crime": Preset("rtfm", {**RTFM, "epochs": 577}, RTFM_CODE),
    "rtfm-shanghaitech": Preset("rtfm", {**RTFM, "epochs": 2500}, RTFM_CODE),
    "rtfm-ucf-crime-paper": Preset(
        "rtfm",
        {**RTFM, "form": "paper", "weight_decay": 5e-4, "epochs": 50},
        "Tian et al., ICCV 2021, section 4",
    ),
    "rtfm-xd-violence": Preset(
        "rtfm",
        {**RTFM, "form": "paper", "lr": 1e-4, "weight_decay": 5e-4, "epochs": 50},
        f"{COMPARED}; 1024-d features of five crops",
        "there, smoothness is of all videos and sparsity of the normal ones",
    ),
    "mgfn-ucf-crime": Preset(
        "mgfn", {**MGFN, "epochs": 1000}, MGFN_CODE, "here, batches are drawn"
    ),
    "mgfn-ucf-crime-compared": Preset(
        "mgfn",
        {**MGFN, "batch": 8, "epochs": 50, "apart": 1.0, "smooth": 1.0, "sparse": 1.0},
        COMPARED,
    ),
    "s3r-ucf-crime": Preset("s3r", {**RTFM, "epochs": 577, "seed": 49}, S3R_CODE, NO_RESIZE),
    "s3r-shanghaitech": Preset(
        "s3r", {**RTFM, "epochs": 2500, "seed": 823, "atoms": 90.0}, S3R_CODE, NO_RESIZE
    ),
    "tevad-ucf-crime": Preset("tevad", {**RTFM, "epochs": 39, "seed": 4869}, TEVAD_CODE),
    "tevad-shanghaitech": Preset(
        "tevad", {**RTFM, "epochs": 167, "seed": 4869, "fusion": "add"}, TEVAD_CODE
    ),
    "tevad-xd-violence": Preset(
        "tevad", {**RTFM, "epochs": 16, "seed": 4869, "fusion": "add"}, TEVAD_CODE
    ),
    "tevad-ped2": Preset(
        "tevad", {**RTFM, "batch": 2, "epochs": 3334, "seed": 4869, "fusion": "add"}, TEVAD_CODE
    ),
    "saa-ucf-crime": Preset(
        "saa",
        {**CROP_FILES, "form": "paper", "segments": 320, "batch": 6, "epochs": 60, "seed": 1234},
        "Fan et al., TCSVT 2024, and the logs of github.com/YukiFan/vad-weakly 921589e",
        "60,000 steps there, the best of them near 600",
    ),
    "mil-ucf-crime": Preset(
        "mil",
        {**AS_RELEASED, "segments": 16, "batch": 16, "lr": 1e-4, "weight_decay": 1e-5}
        | {"epochs": 100},
        "github.com/Sabbirbracu/weakly-supervised-video-anomaly-detection 80fedfc",
        "the learning rate does not fall; bags hold clips, not one vector repeated",
    ),
    "sultani-ucf-crime": Preset(
        "sultani",
        {**AS_RELEASED, "segments": 32, "batch": 30, "lr": 5e-5, "weight_decay": 5e-5}
        | {"epochs": 56},
        "Sultani et al., CVPR 2018; Adam as in github.com/Roc-Ng/DeepMIL f11b964, 1,500 steps",
        "Adagrad in the original",
    ),
    "urdmu-ucf-crime": Preset("urdmu", {**CROP_FILES, "batch": 6, "epochs": 23}, URDMU_CODE),
    "urdmu-xd-violence": Preset("urdmu", {**CROP_FILES, "batch": 13, "epochs": 19}, URDMU_CODE),
    "bnwvad-xd-violence": Preset(
        "bnwvad", {**CROP_FILES, "batch": 13, "epochs": 7, "clip": 1.0}, BNWVAD_CODE
    ),
    "pel4vad-ucf-crime": Preset(
        "pel4vad", {**PEL4VAD, "batch": 6, "seed": 9, "smoothing": 3}, PEL4VAD_CODE, NO_COSINE
    ),
    "pel4vad-xd-violence": Preset(
        "pel4vad",
        {**PEL4VAD, "batch": 13, "seed": 4, "smoothing": 3, "norm": False, "w": 0.06, "b": 0.02}
        | {"t_step": 3, "temperature": 0.05},
        PEL4VAD_CODE,
        NO_COSINE,
    ),
    "pel4vad-shanghaitech": Preset(
        "pel4vad",
        {**PEL4VAD, "batch": 6, "seed": 0, "smoothing": 1, "window": 5, "w": 0.08, "b": 0.1}
        | {"t_step": 3, "temperature": 0.2, "prompt": 9.0},
        PEL4VAD_CODE,
        NO_COSINE,
    ),
}


def find_preset(name: str) -> Preset:
    """The preset of a name. Raises UsageError, naming the nearest, for an unknown one."""
    return find_by_name("preset", name, PRESETS)


def split_settings(given: Mapping[str, Any]) -> tuple[TrainSettings, dict[str, Any]]:
    """Settings of the training, and those of the detector, from names of both kinds.

    What is not given is, in this order: as the preset says; as the weights to start from were made;
    as the detector's table row suggests for small data sets, unless there is a preset, weights or
    the published form of the loss; the default. Raises UsageError for settings that are none.
    """
    name, start = _start(given)
    row, known = find_row(name), options(TrainSettings)
    if wrong := set(given) - set(known) - set(options(row.settings)):
        names = ", ".join(sorted(options(row.settings)))
        raise UsageError(
            f"neither vad train nor {name} has a setting {min(wrong)!r}",
            hint=f"{name} has: {names}; for the others: vad train --help",
        )
    merged = {**start, **given, "detector": name}
    general = {n: v for n, v in merged.items() if n in known}
    own = {n: v for n, v in merged.items() if n not in known}
    chosen = build(TrainSettings, general, where="train")
    return chosen, asdict(build(row.settings, own, where=name))


def _start(given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The detector, and the settings that it starts from."""
    name, start = given.get("detector"), dict[str, Any]()
    if given.get("preset"):
        preset = find_preset(given["preset"])
        if name not in (None, preset.detector):
            raise UsageError(f"the preset {given['preset']} is of {preset.detector}, not of {name}")
        name, start = preset.detector, dict(preset.settings)
    if given.get("weights"):
        from .weights import recognised

        name, sizes = recognised(given["weights"], name)
        start = {"scale": "none", **sizes.settings, **start}
    name = name or TrainSettings.detector
    if not start and given.get("form", "paper") == "paper":
        start = dict(find_row(name).small)
    return name, start
