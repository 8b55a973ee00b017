"""Kinds of places that cameras watch, and the ImageNet classes that speak for each.

No class is a person: ImageNet has none. A thing is only named where its classes were seen to be
right on surveillance video; vehicles were, a "prison" is any bare corridor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Place:
    """A kind of place in words, and its classes, named as torchvision names them."""

    words: str
    classes: str  # separated by commas
    things: Mapping[str, str] = field(default_factory=dict)  # words instead, where such a thing is

    def all_classes(self) -> list[str]:
        """Every class that speaks for the place."""
        return [name for part in (self.classes, *self.things.values()) for name in part.split(", ")]


PLACES = (
    Place(
        "a shop",
        "bakery, bookshop, bookcase, butcher shop, confectionery, grocery store, shoe shop, "
        "tobacco shop, toyshop, vending machine, shopping cart, shopping basket, comic book, "
        "packet, library",
    ),
    Place(
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
    Place(
        "an open place outdoors",
        "aircraft carrier, airship, chainlink fence, church, flagpole, fountain, greenhouse, "
        "lakeside, maze, obelisk, palace, park bench, patio, picket fence, pier, pole, stone wall, "
        "sundial, swing, unicycle, worm fence",
    ),
    Place(
        "a corridor or entrance",
        "bannister, cash machine, grille, prison, safe, shoji, shower curtain, sliding door, "
        "turnstile, vault, washer, window screen",
    ),
    Place(
        "a room with furniture",
        "barber chair, barbershop, desk, desktop computer, dining table, file, folding chair, "
        "home theater, photocopier, printer, refrigerator, restaurant, studio couch, table lamp, "
        "wardrobe, window shade",
    ),
    Place(
        "a screen",
        "entertainment center, hand-held computer, laptop, monitor, notebook, screen, television, "
        "web site",
    ),
    Place("a stage", "cinema, spotlight, stage, theater curtain"),
)
