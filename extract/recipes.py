"""Recipes: named presets of how the pixels of a clip are prepared for a network.

A recipe belongs to the weights and is not a free choice: the same weights with another resize, crop
order or normalisation give other features, and detectors trained on one fail on the other. Every
preset follows one published preparation exactly, and all its fields are stored in the provenance.

    rtfm            the transform the RTFM author posted (tianyu0207/RTFM issue 21), which the
                    network was also trained with: (x - 114.75) / 57.375
    gowtham         GowthamGottimukkala/I3D_Feature_Extraction_resnet: resize to 340x256 whatever
                    the shape, 2x/255 - 1 (0.45 of the contrast the weights were trained with),
                    a partial last clip is dropped
    coranholmes-v2  the pixels of gowtham, the last clip filled with its last frame
    deepmil, xd     Roc-Ng/DeepMIL and the XD-Violence features: centre crop first
    i3d-inception   the pixels of deepmil; by default one view, the whole frame at 288x224
    pytorchvideo    the evaluation transform of pytorchvideo's model hub
    timesformer     the processor of facebook/timesformer-base-finetuned-k400
    efficientnet-lite0, efficientnet-lite0-parts  the recipes of the embedded backbones
    mean16, middle, every-second  encoders of transformers: sizes, filter and normalisation are
                    those of the processor beside the weights; the name tells which frames count

Some of these extractors also changed the frames before this point (JPEG files written by ffmpeg, a
forced frame rate, frames in string order). This is not repeated: `vad` reads frames as the file
stores them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

from vad.errors import InternalError, UsageError
from vad.grid import CLIP_FRAMES, Tail
from vad.names import find_by_name

CropSet = Literal["ten", "five", "center", "whole"]  # whole: the whole frame, resized to one crop
CROP_SETS: tuple[str, ...] = get_args(CropSet)

Filter = Literal[
    "bilinear",  # PIL's: antialiased, 8-bit in and out
    "lanczos",  # PIL's, called ANTIALIAS before version 10
    "bicubic",  # antialiased, 8-bit in and out, as torchvision does
    "bilinear-float",  # antialiased, float in and out
    "bilinear-plain",  # float in and out, no antialiasing: torch.nn.functional.interpolate
]

ALL_FRAMES = tuple(range(CLIP_FRAMES))
MIDDLE_FRAME = (CLIP_FRAMES // 2,)
EVERY_SECOND_FRAME = tuple(range(0, CLIP_FRAMES, 2))
CORNERS_FIRST = ("top-left", "top-right", "bottom-left", "bottom-right", "center")
CENTER_THIRD = ("top-left", "top-right", "center", "bottom-left", "bottom-right")
CENTER_FIRST = ("center", "top-left", "top-right", "bottom-left", "bottom-right")
MIRRORED = "-mirrored"  # suffix of a crop that is cut out of the mirrored frame


@dataclass(frozen=True, slots=True)
class Recipe:
    """One fixed way from uint8 frames to network input."""

    name: str
    # the frames that the network sees, counted from the first of a snippet; beyond 16 if it looks
    # at a longer window
    frames: tuple[int, ...] = ALL_FRAMES
    resize_px: int | tuple[int, int] = 256  # short side; or (height, width)
    filter: Filter = "bilinear"
    crop_px: int | tuple[int, int] = 224  # side of a square; or (height, width)
    crops: CropSet = "ten"  # the default crop set
    order: tuple[str, ...] = CORNERS_FIRST  # order of the five crops; ten: these, then mirrored
    center: Literal["round", "floor"] = "round"  # of half a pixel: to even, or down
    scale: float = 1.0  # input = (scale * x - mean) / std, x in 0..255
    mean: float | tuple[float, ...] = 114.75  # one value, or those of red, green and blue
    std: float | tuple[float, ...] = 57.375
    tail: Tail = "repeat-last"  # what the authors did with a partial last clip
    note: str = ""  # what these fields cannot express of the published preparation
    whole_px: tuple[int, int] | None = None  # size for "whole": (height, width); None: crop_px

    @property
    def window(self) -> int:
        """Return the frames, from the first of a snippet, that the network looks at: 16 or more."""
        return max(CLIP_FRAMES, self.frames[-1] + 1)

    @property
    def crop_size(self) -> tuple[int, int]:
        """Return the height and width of a crop, in pixels."""
        return (self.crop_px, self.crop_px) if isinstance(self.crop_px, int) else self.crop_px

    @property
    def norm(self) -> tuple[float, float]:
        """Return mean and deviation of all channels. Raises InternalError if they differ by
        channel.
        """
        if isinstance(self.mean, tuple) or isinstance(self.std, tuple):
            raise InternalError(f"the recipe {self.name} has a mean for each channel")
        return self.mean, self.std

    def crop_names(self, crops: str) -> tuple[str, ...]:
        """Return the names of the crops of a crop set, in the order of the features.

        Raises UsageError if there is no such crop set.
        """
        if crops not in CROP_SETS:
            raise UsageError(f"no crop set named {crops!r}; there are: {', '.join(CROP_SETS)}")
        if crops in ("center", "whole"):
            return (crops,)
        mirrored = tuple(f"{name}{MIRRORED}" for name in self.order)
        return self.order + mirrored if crops == "ten" else self.order

    def taking(self, crops: str) -> Recipe:
        """Return the recipe adapted to a crop set: for "whole", frames are resized to the size of
        the crop, which is `whole_px` if the recipe has it.
        """
        if crops != "whole":
            return self
        if self.whole_px is not None:
            return replace(self, resize_px=self.whole_px, crop_px=self.whole_px)
        return replace(self, resize_px=self.crop_size)

    def record(self) -> dict[str, object]:
        """Return the fields as plain JSON values, for the provenance.

        `whole_px` is left out: where it counts, `resize_px` and `crop_px` have its value.
        """
        record: dict[str, object] = json.loads(json.dumps(asdict(self)))
        del record["whole_px"]
        return record


_PRESETS = (
    Recipe("rtfm", tail="loop"),
    Recipe(
        "gowtham",
        resize_px=(256, 340),
        filter="lanczos",
        order=CENTER_THIRD,
        scale=1 / 255,
        mean=0.5,
        std=0.5,
        tail="drop",
        note="the original read JPEG files written by ffmpeg at a constant frame rate",
    ),
    Recipe(
        "coranholmes-v2",
        resize_px=(256, 340),
        filter="lanczos",
        order=CENTER_THIRD,
        scale=1 / 255,
        mean=0.5,
        std=0.5,
        note="the original sorted its frame files as strings: 1, 10, 100, 11, ...",
    ),
    Recipe(
        "deepmil",
        order=CENTER_FIRST,
        scale=1 / 255,
        mean=0.5,
        std=0.5,
        tail="drop",
        note="the original has (n - 1) // 16 clips, one file a crop, and does not state the "
        "filter or the order of the corners",
    ),
    Recipe(
        "xd",
        crops="five",
        order=CENTER_FIRST,
        scale=1 / 255,
        mean=0.5,
        std=0.5,
        tail="drop",
        note="the original has (n - 1) // 16 clips of video at 24 fps, one file a crop, and does "
        "not state the filter or the order of the corners",
    ),
    Recipe(
        "i3d-inception",
        crops="whole",
        order=CENTER_FIRST,
        scale=1 / 255,
        mean=0.5,
        std=0.5,
        whole_px=(224, 288),
    ),
    Recipe(
        "pytorchvideo",
        frames=(0, 2, 4, 6, 8, 10, 12, 15),  # 8 of 16, evenly spaced
        filter="bilinear-plain",
        crop_px=256,
        crops="center",
        scale=1 / 255,
        mean=0.45,
        std=0.225,
    ),
    Recipe(
        "timesformer",
        frames=EVERY_SECOND_FRAME,
        resize_px=224,
        crops="center",
        center="floor",
        scale=1 / 255,
        mean=0.45,
        std=0.225,
    ),
    Recipe(
        "efficientnet-lite0",
        resize_px=224,
        crops="whole",
        mean=127.0,
        std=128.0,
    ),
    Recipe(
        "efficientnet-lite0-parts",
        frames=EVERY_SECOND_FRAME,
        resize_px=224,
        crops="whole",
        mean=127.0,
        std=128.0,
    ),
    *(
        Recipe(
            name,
            frames=frames,
            filter="bicubic",
            resize_px=224,
            crops="center",
            order=CENTER_FIRST,
            scale=1 / 255,
            mean=(0.48145466, 0.4578275, 0.40821073),  # CLIP's
            std=(0.26862954, 0.26130258, 0.27577711),
        )
        for name, frames in (
            ("mean16", ALL_FRAMES),
            ("middle", MIDDLE_FRAME),
            ("every-second", EVERY_SECOND_FRAME),
        )
    ),
)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _PRESETS}


def find_recipe(name: str) -> Recipe:
    """Return the preset of that name. Raises UsageError if there is none."""
    return find_by_name("recipe", name, RECIPES)
