"""Captions from the embedded network and from pixels: the kind of place, and how much moves
where.

    a scene with a car in dim light, strong motion on the left
    a shop, little motion in the middle

The ImageNet classes of EfficientNet-Lite0 were not made for surveillance: its best class is often a
steam locomotive or a lifeboat. Therefore only classes that a surveillance camera can see (`SCENES`)
are compared, over the whole frame and six parts of it, and the kind of place with the highest
probability is taken. This is mostly right; if the probability is low, the caption names no place.
Motion, light and colour are measured in the pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torchvision.models import ResNet18_Weights

from vad.errors import InternalError

from ..backbones.efficientnet import EfficientNetLite0
from ..backbones.efficientnet import load as load_network
from ..crops import normalise, resize
from ..recipes import find_recipe
from .captioner import Captioner
from .table import CaptionerCard

SURE = 0.5  # least probability of a place, among all places, to be named
SURE_OF_THING = 0.5  # least share of a thing in the probability of its place, to be named
SEEN = 0.1  # least probability of a place among all ImageNet classes, to be named
SMALL_PX = 80  # width to which frames are shrunk before motion is measured
CHANGED = 10.0  # grey levels by which a pixel must change between frames to count as moving
DIM, COLOURLESS = 60.0, 6.0  # thresholds: mean grey level; mean range of the three channels
# Least share of moving pixels, averaged over pairs of successive frames, and the words for it.
MOTION = (
    (0.15, "very strong motion"),
    (0.05, "strong motion"),
    (0.01, "some motion"),
    (0.001, "little motion"),
)
SPREAD = 0.22  # standard deviation of moving columns, in frame widths: beyond, motion is everywhere


@dataclass(frozen=True, slots=True)
class Scene:
    """A kind of place that cameras watch, and the ImageNet classes that indicate it.

    Classes are named as in torchvision.
    """

    words: str
    classes: str  # separated by commas
    things: Mapping[str, str] = field(default_factory=dict)  # words -> classes of a thing

    def all_classes(self) -> list[str]:
        """Return all ImageNet classes that indicate this place or an object in `things`."""
        return [name for part in (self.classes, *self.things.values()) for name in part.split(", ")]


# No class is a person, as ImageNet has none. Things are named only if their classes were found to
# be right on surveillance video: those of vehicles were; a "prison" can be any bare corridor.
SCENES = (
    Scene(
        "a shop",
        "bakery, bookshop, bookcase, butcher shop, confectionery, grocery store, shoe shop, "
        "tobacco shop, toyshop, vending machine, shopping cart, shopping basket, comic book, "
        "packet, library",
    ),
    Scene(
        "a scene with vehicles",
        "bullet train, fire engine, ambulance, gas pump, golfcart, jinrikisha, manhole cover, "
        "parking meter, passenger car, police van, street sign, traffic light, tricycle",
        things={
            "a scene with a car": "beach wagon, cab, car mirror, car wheel, convertible, jeep, "
            "limousine, minivan, Model T, racer, sports car",
            "a scene with a lorry or van": "garbage truck, moving van, pickup, tow truck, "
            "trailer truck, recreational vehicle",
            "a scene with a bus or tram": "minibus, school bus, streetcar, trolleybus",
            "a scene with a motorcycle or bicycle": "bicycle-built-for-two, crash helmet, moped, "
            "motor scooter, mountain bike",
        },
    ),
    Scene(
        "an open place outdoors",
        "aircraft carrier, airship, chainlink fence, church, flagpole, fountain, greenhouse, "
        "lakeside, maze, obelisk, palace, park bench, patio, picket fence, pier, pole, stone wall, "
        "sundial, swing, unicycle, worm fence",
    ),
    Scene(
        "a corridor or entrance",
        "bannister, cash machine, grille, prison, safe, shoji, shower curtain, sliding door, "
        "turnstile, vault, washer, window screen",
    ),
    Scene(
        "a room with furniture",
        "barber chair, barbershop, desk, desktop computer, dining table, file, folding chair, "
        "home theater, photocopier, printer, refrigerator, restaurant, studio couch, table lamp, "
        "wardrobe, window shade",
    ),
    Scene(
        "a screen",
        "entertainment center, hand-held computer, laptop, monitor, notebook, screen, television, "
        "web site",
    ),
    Scene("a stage", "cinema, spotlight, stage, theater curtain"),
)


class Labels(Captioner):
    """The captioner `labels`: EfficientNet-Lite0 for the place, and pixel measures for motion and
    light.
    """

    def __init__(
        self,
        card: CaptionerCard,
        *,
        window: int | None,
        device: torch.device,
        precision: str,
        offline: bool,
    ) -> None:
        super().__init__(card, device, "fp32" if precision == "auto" else precision, window)
        self._recipe = find_recipe("efficientnet-lite0").taking("whole")
        network = load_network("imagenet", self._recipe, offline=offline)
        if not isinstance(network.module, EfficientNetLite0):
            raise InternalError("labels needs the classifier of EfficientNet-Lite0")
        self._network = network.module.to(device, self.dtype)
        index = {name: i for i, name in enumerate(ResNet18_Weights.DEFAULT.meta["categories"])}
        self._places = [[index[name] for name in place.all_classes()] for place in SCENES]
        self._things = [
            {
                words: [index[name] for name in names.split(", ")]
                for words, names in p.things.items()
            }
            for p in SCENES
        ]
        self.provenance |= {
            "weights": network.weights,
            "wording": [place.words for place in SCENES] + [words for _, words in MOTION],
        }

    @torch.inference_mode()
    def __call__(self, windows: Sequence[NDArray[np.uint8]]) -> list[str]:
        captions = []
        for window in windows:
            views = parts(window[len(window) // 2])
            place = self.place(self._logits(views))
            captions.append(f"{place}{light(window)}, {motion(window)}")
        return captions

    def place(self, logits: Tensor) -> str:
        """Return the kind of place, or an object that is typical of it, in words.

        logits [views, 1000] are the classifier's outputs for the whole frame and then its parts.
        """
        weight = torch.full((len(logits), 1), 0.5 / (len(logits) - 1))
        weight[0] = 0.5  # the whole frame weighs as much as its parts together
        among_all = (logits.softmax(1) * weight).sum(0)
        chosen = sorted({i for classes in self._places for i in classes})
        among_places = torch.zeros(logits.shape[1])
        among_places[chosen] = (logits[:, chosen].softmax(1) * weight).sum(0)
        shares = torch.stack([among_places[classes].sum() for classes in self._places])
        best = int(shares.argmax())
        if shares[best] < SURE or among_all[self._places[best]].sum() < SEEN:
            return "a scene"
        for words, classes in self._things[best].items():
            if among_places[classes].sum() >= SURE_OF_THING * shares[best]:
                return words
        return SCENES[best].words

    def _logits(self, views: Sequence[NDArray[np.uint8]]) -> Tensor:
        resized = [
            resize(torch.from_numpy(np.ascontiguousarray(view))[None], self._recipe)
            for view in views
        ]
        pixels = normalise(torch.cat(resized).to(self.device, torch.float32), self._recipe)
        head, _ = self._network.maps(pixels.permute(0, 3, 1, 2).to(self.dtype))
        pooled = head.mean((2, 3))
        logits: Tensor = self._network._fc(pooled).float().cpu()
        return logits


def parts(frame: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Return the whole frame and six overlapping parts of it, in three columns and two rows.

    frame: [height, width, 3]. A part has two thirds of the height and half of the width.
    """
    height, width = frame.shape[:2]
    rows, columns = -(-2 * height // 3), -(-width // 2)
    tops, lefts = (0, height - rows), (0, (width - columns) // 2, width - columns)
    views = [frame[top : top + rows, left : left + columns] for top in tops for left in lefts]
    return [frame, *views]


def light(window: NDArray[np.uint8]) -> str:
    """Return words for unusual colour and light ("in black and white", "in dim light"), to follow a
    noun; empty if there is nothing unusual.

    window: uint8 [frames, height, width, 3].
    """
    frame = window[len(window) // 2, ::2, ::2].astype(np.float32)
    colour = float((frame.max(-1) - frame.min(-1)).mean())
    words = " in black and white" if colour < COLOURLESS else ""
    return words + (" in dim light" if frame.mean() < DIM else "")


def motion(window: NDArray[np.uint8]) -> str:
    """Return how much moves and where, in words. window: [frames, height, width, 3]."""
    step = max(1, window.shape[2] // (2 * SMALL_PX))  # pixels of large frames are subsampled
    sparse = torch.from_numpy(np.ascontiguousarray(window[:, ::step, ::step]))
    height, width = sparse.shape[1:3]
    size = (max(1, round(height * SMALL_PX / width)), SMALL_PX)
    small = F.interpolate(sparse.float().mean(-1)[:, None], size, mode="area")[:, 0]
    moves = (small.diff(dim=0).abs() > CHANGED).float().mean(0)  # [height, width]
    amount = float(moves.mean())
    words = next((words for least, words in MOTION if amount >= least), None)
    if words is None:
        return "nothing moves"
    columns = moves.sum(0) / moves.sum()
    x = (torch.arange(SMALL_PX) + 0.5) / SMALL_PX
    middle = float((columns * x).sum())
    if float((columns * (x - middle) ** 2).sum().sqrt()) >= SPREAD:
        return f"{words} all over the picture"
    where = "on the left" if middle < 0.36 else "on the right" if middle > 0.64 else "in the middle"
    return f"{words} {where}"
