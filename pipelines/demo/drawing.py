"""A camera, and functions that draw the demo's frames: lines, polygons, cars.

World coordinates are in metres: u to the right, z away from the camera, up from the ground.
Canvases are float32 [height, width, 3] in 0..255.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

WIDTH_PX, HEIGHT_PX = 320, 240

Floats = NDArray[np.floating[Any]]
Color = tuple[float, float, float]
Ground = tuple[float, float]  # u, z
Line = tuple[Ground, Ground]  # from, to
Point = Sequence[float] | Floats  # x, y in px

_COLUMNS = np.arange(1000, dtype=np.float32)[None]  # x and y of pixels, wide enough for any canvas
_ROWS = _COLUMNS.T


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera that looks along z. It is not tilted, so verticals stay vertical in the
    frame.
    """

    horizon_px: float
    focal_px: float
    height_m: float
    scale: int = 1  # the frame has `scale` times 320x240 pixels

    def project(self, points: ArrayLike) -> Floats:
        """Return the pixel positions [..., 2] (x, y) of points [..., 3] (u, z, up)."""
        u, z, up = np.moveaxis(np.asarray(points, np.float32), -1, 0)
        x = WIDTH_PX / 2 + self.focal_px * u / z
        y = self.horizon_px + self.focal_px * (self.height_m - up) / z
        return self.scale * np.stack([x, y], -1)

    def px_per_m(self, z: float) -> float:
        return self.scale * self.focal_px / z

    def rays(self) -> tuple[Floats, Floats]:
        """Return each pixel's ray as slopes to the right [1, width] and downwards [height, 1]."""
        x = (np.arange(WIDTH_PX * self.scale, dtype=np.float32) + 0.5) / self.scale
        y = (np.arange(HEIGHT_PX * self.scale, dtype=np.float32) + 0.5) / self.scale
        return (
            (x[None] - WIDTH_PX / 2) / self.focal_px,
            (y[:, None] - self.horizon_px) / self.focal_px,
        )


def stroke(
    canvas: Floats, start: Point, end: Point, radius_px: float, color: Color, alpha: float = 1
) -> None:
    """Draw a line with round ends and soft edges onto the canvas [height, width, 3]."""
    (x0, y0), (x1, y1) = start, end
    height, width, _ = canvas.shape
    left, right = (x0, x1) if x0 < x1 else (x1, x0)
    top, bottom = (y0, y1) if y0 < y1 else (y1, y0)
    reach = radius_px + 1
    columns = slice(max(int(left - reach), 0), max(min(int(right + reach) + 2, width), 0))
    rows = slice(max(int(top - reach), 0), max(min(int(bottom + reach) + 2, height), 0))
    x, y = _COLUMNS[:, columns] - x0, _ROWS[rows] - y0
    if not x.size or not y.size:
        return
    dx, dy = x1 - x0, y1 - y0
    squared = dx * dx + dy * dy
    if squared > 1e-6:
        along = x * (dx / squared) + y * (dy / squared)
        np.minimum(np.maximum(along, 0, out=along), 1, out=along)
        x, y = x - along * dx, y - along * dy
    cover = (radius_px + 0.5) - np.sqrt(x * x + y * y)
    np.minimum(np.maximum(cover, 0, out=cover), 1, out=cover)
    patch = canvas[rows, columns]
    patch += (alpha * cover)[..., None] * (np.array(color, np.float32) - patch)


def polygon(canvas: Floats, corners: ArrayLike, color: Color, alpha: float = 1) -> None:
    """Fill a convex polygon with soft edges on the canvas [height, width, 3].

    corners [n, 2]: (x, y) in px, in order around the polygon.
    """
    points = np.asarray(corners, np.float32)
    left, top = np.maximum(np.floor(points.min(0)).astype(int) - 1, 0)
    right, bottom = np.minimum(np.ceil(points.max(0)).astype(int) + 2, canvas.shape[1::-1])
    if left >= right or top >= bottom:
        return
    x = np.arange(left, right, dtype=np.float32)[None]
    y = np.arange(top, bottom, dtype=np.float32)[:, None]
    following = np.roll(points, -1, 0)
    twice_area = (points[:, 0] * following[:, 1] - points[:, 1] * following[:, 0]).sum()
    cover = np.float32(alpha)
    for (x0, y0), (x1, y1) in zip(points, following, strict=True):
        length = np.hypot(x1 - x0, y1 - y0)
        if length > 1e-3:
            inside = ((x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)) / length * np.sign(twice_area)
            cover = cover * np.clip(inside + np.float32(0.5), 0, 1)
    patch = canvas[top:bottom, left:right]
    patch += np.asarray(cover)[..., None] * (np.asarray(color, np.float32) - patch)


def graded(rgb: Floats, light: Color) -> Floats:
    """Return colours [..., 3] as a scene's camera sees them: less saturated, times the factors
    `light`.
    """
    grey = rgb.mean(-1, keepdims=True)
    seen: Floats = (grey + np.float32(0.8) * (rgb - grey)) * np.array(light, np.float32)
    return seen


@cache
def lit(color: Color, light: Color, shade: float = 1.0) -> Color:
    """Return one colour as `graded` makes it, multiplied by `shade`."""
    red, green, blue = (shade * graded(np.array(color, np.float32), light)).tolist()
    return red, green, blue


def draw_car(
    canvas: Floats,
    camera: Camera,
    at: Ground,
    heading: float,
    color: Color,
    light: Color = (1, 1, 1),
) -> None:
    """Draw a car from about 15 flat pieces onto the canvas [height, width, 3].

    heading: the driving direction in radians; 0 is to the right, pi / 2 away from the camera.
    """
    forward = np.array([np.cos(heading), np.sin(heading)])
    left = np.array([-forward[1], forward[0]])

    def points(body: ArrayLike) -> Floats:  # [n, 3] along, aside, up -> [n, 3] u, z, up
        along, aside, up = np.asarray(body, float).T
        ground = np.asarray(at) + along[:, None] * forward + aside[:, None] * left
        return np.column_stack([ground, up]).astype(np.float32)

    def paint(body: ArrayLike, rgb: Color, alpha: float = 1) -> None:
        polygon(canvas, camera.project(points(body)), lit(rgb, light), alpha)

    nearest = -1.0 if left @ np.asarray(at) > 0 else 1.0  # the side that faces the camera
    paint([(-2.2, -1, 0), (2.2, -1, 0), (2.2, 1, 0), (-2.2, 1, 0)], (24, 24, 26), 0.55)
    _frustum(points, paint, (-2.1, 2.1, 0.85), (-2.0, 2.0, 0.82), 0.3, 0.9, color, color)
    turn = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    for axle in (-1.3, 1.3):
        for radius, rgb in ((0.33, (28, 28, 30)), (0.17, (150, 152, 154))):
            wheel = [
                (axle + radius * np.cos(a), 0.86 * nearest, 0.33 + radius * np.sin(a)) for a in turn
            ]
            paint(wheel, rgb)
    _frustum(points, paint, (-1.5, 1.0, 0.76), (-1.1, 0.4, 0.62), 0.9, 1.42, (54, 64, 74), color)
    for end, rgb in ((-2.07, (190, 40, 36)), (2.07, (246, 240, 210))):
        if end * forward[1] <= 0.3:  # skip the end that faces away
            for aside in (-0.62, 0.62):
                lamp = [
                    (end, aside + a, 0.68 + b)
                    for a, b in ((-0.15, -0.07), (0.15, -0.07), (0.15, 0.07), (-0.15, 0.07))
                ]
                paint(lamp, rgb)


def _frustum(
    points: Callable[[ArrayLike], Floats],
    paint: Callable[[ArrayLike, Color], None],
    base: tuple[float, float, float],
    top: tuple[float, float, float],
    up0: float,
    up1: float,
    sides: Color,
    roof: Color,
) -> None:
    """Paint a box that narrows upwards, from the height up0 to up1, in metres.

    base, top: (rear, front, half width) in metres, along and across the car.
    """
    (r0, f0, w0), (r1, f1, w1) = base, top
    low = [(r0, -w0, up0), (f0, -w0, up0), (f0, w0, up0), (r0, w0, up0)]
    high = [(r1, -w1, up1), (f1, -w1, up1), (f1, w1, up1), (r1, w1, up1)]
    faces = [[low[i], low[i - 3], high[i - 3], high[i]] for i in range(4)]
    for face in sorted(faces, key=lambda face: -points(face)[:, 1].mean()):  # far ones first
        end_on = abs(points(face)[:, 0].max() - points(face)[:, 0].min()) < 1.2
        paint(face, _shaded(sides, 0.72 if end_on else 0.9))
    paint(high, _shaded(roof, 1.12))


def _shaded(color: Color, factor: float) -> Color:
    red, green, blue = (min(factor * value, 255.0) for value in color)
    return red, green, blue
