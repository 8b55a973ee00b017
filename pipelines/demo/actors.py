"""Moving things other than people in the demo's videos: cars, a cyclist, a fire."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from .drawing import Color, Floats, Ground, draw_car, lit, stroke
from .people import Moment, Person, Pose, Script
from .scenes import Scene

BICYCLE = np.array(  # the frame as one line: metres forward, metres up
    [
        (-0.52, 0.35),
        (-0.15, 0.9),
        (0.42, 0.9),
        (0.52, 0.35),
        (0.42, 0.9),
        (0.05, 0.32),
        (-0.15, 0.9),
    ]
)
FLAMES: tuple[tuple[Color, float, float], ...] = (  # colour, height and radius in metres
    ((226, 82, 24), 1.5, 0.2),
    ((250, 150, 36), 1.05, 0.15),
    ((255, 232, 150), 0.6, 0.1),
)


class Actor(Protocol):
    """Anything that moves or changes in a video, and so is drawn in every frame."""

    def depth(self, time_s: float) -> float | None:
        """Return the actor's distance from the camera in metres, or None while it is absent."""

    def draw(self, canvas: Floats, scene: Scene, time_s: float) -> None:
        """Draw the actor and its shadow onto the canvas [height, width, 3], in 0..255."""


@dataclass(frozen=True, slots=True)
class Car:
    """A car that drives on a line: at `start` at `start_s`, at `end` at `end_s`, else absent."""

    start: Ground
    end: Ground
    start_s: float
    end_s: float
    color: Color

    def _at(self, time_s: float) -> Ground:
        share = (time_s - self.start_s) / (self.end_s - self.start_s)
        (u0, z0), (u1, z1) = self.start, self.end
        return u0 + share * (u1 - u0), z0 + share * (z1 - z0)

    def depth(self, time_s: float) -> float | None:
        return self._at(time_s)[1] if self.start_s <= time_s < self.end_s else None

    def draw(self, canvas: Floats, scene: Scene, time_s: float) -> None:
        """Draw the car onto the canvas [height, width, 3]; see `Actor.draw`."""
        heading = float(np.arctan2(self.end[1] - self.start[1], self.end[0] - self.start[0]))
        draw_car(canvas, scene.camera, self._at(time_s), heading, self.color, scene.light)


@dataclass(frozen=True, slots=True)
class Cyclist:
    """A person on a bicycle. The rider's script determines place and heading."""

    rider: Person

    @classmethod
    def random(cls, rng: np.random.Generator, line: Script) -> Cyclist:
        """Return a random person on a bicycle that follows the places and headings of `line`."""

        def script(time_s: float) -> Moment:
            at, heading, _ = line(time_s)
            pedal = 9.0 * time_s
            thighs = (0.95 + 0.35 * np.sin(pedal), 0.95 - 0.35 * np.sin(pedal))
            knees = (1.15 + 0.35 * np.cos(pedal), 1.15 - 0.35 * np.cos(pedal))
            pose = Pose(thighs, knees, (0.75, 0.75), (0.35, 0.35), lean=0.45, lift=0.2)
            return at, heading, pose

        return cls(Person.random(rng, script))

    def depth(self, time_s: float) -> float | None:
        return self.rider.depth(time_s)

    def draw(self, canvas: Floats, scene: Scene, time_s: float) -> None:
        """Draw the bicycle and the rider onto the canvas [height, width, 3]; see `Actor.draw`."""
        (u, z), heading, _ = self.rider.script(time_s)
        forward = np.array([np.cos(heading), np.sin(heading)])
        turn = np.linspace(0, 2 * np.pi, 13)
        px = scene.camera.px_per_m(z)

        def tube(body: Floats, color: Color) -> None:  # [n, 2] forward and up, in metres
            points = np.column_stack([np.array([u, z]) + body[:, :1] * forward, body[:, 1]])
            for start, end in pairwise(scene.camera.project(points)):
                stroke(canvas, start, end, max(0.025 * px, 0.6), lit(color, scene.light))

        for axle in (-0.52, 0.52):
            rim = (axle + 0.34 * np.cos(turn), 0.35 + 0.34 * np.sin(turn))
            tube(np.column_stack(rim), (30, 30, 32))
        tube(BICYCLE, (168, 44, 40))
        self.rider.draw(canvas, scene, time_s)


@dataclass(frozen=True, slots=True)
class Fire:
    """Flames and smoke that rise from a place between two times; they grow within half a second."""

    at: Ground
    start_s: float
    end_s: float
    seed: int

    def depth(self, time_s: float) -> float | None:
        return self.at[1] if self.start_s <= time_s < self.end_s else None

    def draw(self, canvas: Floats, scene: Scene, time_s: float) -> None:
        """Draw smoke, glow and flames onto the canvas [height, width, 3]; see `Actor.draw`."""
        age_s, left_s = time_s - self.start_s, self.end_s - time_s
        size = min(0.3 + age_s / 0.5, 0.3 + left_s / 0.4, 1.0)
        rng = np.random.default_rng((self.seed, round(time_s * 1000)))
        u, z = self.at
        px = scene.camera.px_per_m(z)
        for puff in range(9):  # each rises for 1.8 s, then starts again
            life = (age_s / 1.8 + puff / 9) % 1.0
            if life * 1.8 <= age_s:
                drift = 0.25 * np.sin(9 * puff + 3 * life) + 0.7 * life
                middle = scene.camera.project((u + drift, z, 1.2 + 2.6 * life))
                grey = 70 + 60 * life
                smoke = 0.42 * (1 - life) * size
                stroke(canvas, middle, middle, (0.22 + 0.5 * life) * px, (grey, grey, grey), smoke)
        glow = scene.camera.project((u, z, 0.9))
        for radius, alpha in ((1.5, 0.07), (1.0, 0.1), (0.6, 0.14)):
            radius_px = radius * px * rng.uniform(0.85, 1.15)
            stroke(canvas, glow, glow, radius_px, (255, 150, 50), alpha * size)
        for color, tall_m, wide_m in FLAMES:
            for _ in range(6):
                root, sway = rng.uniform(-0.24, 0.24), rng.uniform(-0.12, 0.12)
                top = 0.75 + tall_m * size * rng.uniform(0.45, 1.0)
                line = scene.camera.project([(u + root, z, 0.75), (u + 0.4 * root + sway, z, top)])
                stroke(canvas, line[0], line[1], wide_m * px * rng.uniform(0.6, 1), color, 0.75)
