"""The people in the demo's videos: their looks, movements and actions.

A `Script` is a function of time that returns a person's place, heading and pose; the functions at
the end of this module make scripts. Lengths within a body are fractions of its height. Angles are
in radians: 0 is straight down, positive swings forward.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .drawing import WIDTH_PX, Color, Floats, Ground, lit, stroke
from .scenes import Scene

WALKING_M_S, RUNNING_M_S, CYCLING_M_S = 1.35, 5.2, 5.0
THIGH, SHIN, ARM, FOREARM = 0.245, 0.245, 0.17, 0.16
SKIN = ((224, 184, 158), (198, 150, 120), (140, 100, 78), (236, 202, 180))
HAIR = ((40, 32, 28), (92, 66, 44), (28, 26, 28), (150, 120, 80), (120, 118, 116))
TOPS = (
    *((176, 58, 54), (52, 84, 140), (222, 214, 198), (66, 110, 78)),
    *((196, 150, 62), (70, 70, 78), (132, 84, 128), (230, 230, 232)),
)
TROUSERS = ((48, 56, 78), (62, 60, 58), (96, 84, 68), (36, 36, 40), (104, 110, 122))


@dataclass(frozen=True, slots=True)
class Pose:
    """The angles of the limbs, each as (left, right), and of the trunk."""

    thighs: tuple[float, float] = (0.0, 0.0)
    knees: tuple[float, float] = (0.05, 0.05)
    arms: tuple[float, float] = (0.05, -0.05)
    elbows: tuple[float, float] = (0.15, 0.15)
    lean: float = 0.0  # forward lean of the trunk
    lift: float = 0.0  # height of the hips above that of standing legs, as on a saddle


Joint = tuple[float, float, float]  # forward, to the left, up
Moment = tuple[Ground, float, Pose]  # place, heading (0 to the right, pi / 2 away), pose
Script = Callable[[float], Moment]  # from the time in seconds to the moment


@dataclass(frozen=True, slots=True)
class Person:
    """A person who follows a script and is visible between two times."""

    script: Script
    between_s: tuple[float, float]
    height_m: float
    skin: Color
    hair: Color
    top: Color
    trousers: Color

    @classmethod
    def random(
        cls,
        rng: np.random.Generator,
        script: Script,
        between_s: tuple[float, float] = (-math.inf, math.inf),
    ) -> Person:
        """Return a person with random height, skin, hair and clothes."""
        skin, hair, top, trousers = (c[rng.integers(len(c))] for c in (SKIN, HAIR, TOPS, TROUSERS))
        height_m = float(rng.uniform(1.6, 1.86))
        return cls(script, between_s, height_m, skin, hair, top, trousers)

    def depth(self, time_s: float) -> float | None:
        (_, z), _, _ = self.script(time_s)
        return z if self.between_s[0] <= time_s < self.between_s[1] else None

    def draw(self, canvas: Floats, scene: Scene, time_s: float) -> None:
        """Draw the person and the shadow onto the canvas [height, width, 3]; see `Actor.draw`."""
        at, heading, pose = self.script(time_s)
        if abs(at[0]) > 0.5 * WIDTH_PX / scene.camera.px_per_m(at[1]) + 2:
            return  # outside the frame, with the shadow
        _shadow(canvas, scene, at, tall_m=self.height_m, wide_m=0.2)
        body = np.array(_joints(pose))
        forward = np.array([np.cos(heading), np.sin(heading)])
        aside = np.array([-forward[1], forward[0]])  # to the left
        ground = np.asarray(at) + self.height_m * (body[:, :1] * forward + body[:, 1:2] * aside)
        joints = scene.camera.project(
            np.column_stack([ground, self.height_m * body[:, 2]])
        ).tolist()
        size = self.height_m * scene.camera.px_per_m(at[1])
        left_is_far = float(aside @ np.asarray(at)) > 0

        def bone(start: int, end: int, radius: float, color: Color, shade: float = 1.0) -> None:
            seen = lit(color, scene.light, shade)
            stroke(canvas, joints[start], joints[end], max(radius * size, 0.6), seen)

        for far, first in ((True, 4 if left_is_far else 8), (False, 8 if left_is_far else 4)):
            shade = 0.8 if far else 1.0
            bone(first, first + 1, 0.045, self.trousers, shade)
            bone(first + 1, first + 2, 0.034, self.trousers, shade * 0.95)
            bone(first + 2, first + 3, 0.026, (44, 40, 38), shade)
            if not far:  # the trunk hides the far limbs and lies under the near arm
                bone(0, 1, 0.085, self.top)
                bone(2, 2, 0.066, self.hair)
                if forward[1] < 0.5:  # from behind there is no face
                    bone(3, 3, 0.052, self.skin)
            arm = 12 if first == 4 else 15
            bone(arm, arm + 1, 0.034, self.top, shade * 0.92)
            bone(arm + 1, arm + 2, 0.026, self.skin, shade)


def _joints(pose: Pose) -> list[Joint]:
    """Return a body's 18 joints, in body heights from the point between its feet.

    By index: 0 hips, 1 neck, 2 head, 3 face, 4-7 left hip to toe, 8-11 right hip to toe, 12-14 left
    shoulder to hand, 15-17 right shoulder to hand.
    """
    shins = (pose.thighs[0] - pose.knees[0], pose.thighs[1] - pose.knees[1])
    legs = zip(pose.thighs, shins, strict=True)
    hips = max(THIGH * math.cos(a) + SHIN * math.cos(b) for a, b in legs) + 0.02 + pose.lift
    forward, up = math.sin(pose.lean), math.cos(pose.lean)
    trunk = [(length * forward, 0.0, hips + length * up) for length in (0.0, 0.29, 0.42)]
    joints = [*trunk, (trunk[2][0] + 0.022, 0.0, trunk[2][2] - 0.012)]
    for side, aside in ((0, 0.05), (1, -0.05)):
        bones = ((THIGH, pose.thighs[side]), (SHIN, shins[side]), (0.06, math.pi / 2))
        joints += _chain((0.0, aside, hips), bones)
    for side, aside in ((0, 0.115), (1, -0.115)):
        swing = pose.arms[side] + pose.lean
        shoulder = (0.3 * forward, aside, hips + 0.3 * up)
        joints += _chain(shoulder, ((ARM, swing), (FOREARM, swing + pose.elbows[side])))
    return joints


def _chain(start: Joint, bones: tuple[tuple[float, float], ...]) -> list[Joint]:
    """Return the joints of a chain of bones from `start`; each bone is given as (length, angle)."""
    joints = [start]
    for length, angle in bones:
        forward, aside, up = joints[-1]
        joints.append((forward + length * math.sin(angle), aside, up - length * math.cos(angle)))
    return joints


def _shadow(canvas: Floats, scene: Scene, at: Ground, *, tall_m: float, wide_m: float) -> None:
    (u, z), (du, dz) = at, scene.shadow
    foot, tip = scene.camera.project([(u, z, 0), (u + du * tall_m, z + dz * tall_m, 0)])
    stroke(canvas, foot, tip, wide_m * scene.camera.px_per_m(z), (24, 24, 28), 0.34)


def _stride(phase: float, vigour: float) -> Pose:
    """Return the pose at a phase of the step cycle, in radians; vigour: 0 walking, 1 running."""
    swing, bend, arm = 0.42 + 0.5 * vigour, 0.75 + 0.9 * vigour, 0.36 + 0.6 * vigour
    phases = (phase, phase + math.pi)
    return Pose(
        thighs=(
            swing * math.sin(phases[0]) + 0.2 * vigour,
            swing * math.sin(phases[1]) + 0.2 * vigour,
        ),
        knees=(
            0.08 + bend * max(math.cos(phases[0]), 0) ** 1.5,
            0.08 + bend * max(math.cos(phases[1]), 0) ** 1.5,
        ),
        arms=(-arm * math.sin(phases[0]), -arm * math.sin(phases[1])),
        elbows=(0.25 + 1.2 * vigour, 0.25 + 1.2 * vigour),
        lean=0.03 + 0.2 * vigour,
        lift=0.03 * vigour * abs(math.sin(phase)),
    )


def go(
    start: Ground, end: Ground, *, speed_m_s: float, start_s: float = 0.0, phase: float = 0.0
) -> Script:
    """Return a script that moves a person along the straight line from `start` to `end`.

    The person is at `start` at the time `start_s`. Before that time and after reaching `end`, the
    person moves on the same line, extended. Above 3 m/s the pose is that of running, otherwise of
    walking. phase: where in the step cycle the person starts, in radians.
    """
    (u0, z0), (u1, z1) = start, end
    length, heading = math.hypot(u1 - u0, z1 - z0), math.atan2(z1 - z0, u1 - u0)
    vigour = 1.0 if speed_m_s > 3 else 0.0
    turns_per_m = 2 * math.pi / (1.45 + 1.1 * vigour)

    def script(time_s: float) -> Moment:
        gone_m = speed_m_s * (time_s - start_s)
        share = gone_m / length
        at = (u0 + share * (u1 - u0), z0 + share * (z1 - z0))
        return at, heading, _stride(phase + gone_m * turns_per_m, vigour)

    return script


def chat(at: Ground, heading: float, *, tempo: float) -> Script:
    """Return a script of a person who stands and talks, with occasional gestures of one arm."""

    def script(time_s: float) -> Moment:
        wave = math.sin(tempo * time_s) * max(math.sin(0.37 * tempo * time_s), 0)
        pose = Pose(
            arms=(0.1 + 0.5 * wave, 0.05), elbows=(0.4 + 0.9 * abs(wave), 0.2), lean=0.03 * wave
        )
        return at, heading, pose

    return script


def fight(before: Script, start_s: float, end_s: float, *, tempo: float) -> Script:
    """Return a script that follows `before`, except for lunges, punches and kicks in between.

    start_s, end_s: the interval of the fight. tempo: its speed, in radians per second.
    """

    def script(time_s: float) -> Moment:
        (u, z), heading, pose = before(time_s)
        if not start_s <= time_s < end_s:
            return (u, z), heading, pose
        beat = tempo * (time_s - start_s)
        lunge = 0.22 + 0.3 * math.sin(0.8 * beat) + 0.1 * math.sin(2.1 * beat)
        left, right = math.sin(2.3 * beat), math.sin(2.3 * beat + 2.4)
        kick = max(math.sin(0.9 * beat), 0) ** 3
        pose = Pose(
            thighs=(0.35 + 1.1 * kick, -0.35),
            knees=(0.5 - 0.3 * kick, 0.25),
            arms=(1.4 + 0.6 * left, 1.4 + 0.6 * right),
            elbows=(1.1 - left, 1.1 - right),
            lean=0.2 + 0.3 * math.sin(1.3 * beat),
        )
        at = (
            u + lunge * math.cos(heading),
            z + lunge * math.sin(heading) + 0.15 * math.sin(1.7 * beat),
        )
        return at, heading, pose

    return script
