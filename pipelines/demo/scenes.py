"""The four places of the demo's videos, each seen by a fixed camera.

For every pixel of the ground, u and z are known in metres. So tiles, lanes and parking bays are
painted in world coordinates, and perspective follows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .drawing import (
    HEIGHT_PX,
    WIDTH_PX,
    Camera,
    Color,
    Floats,
    Ground,
    Line,
    draw_car,
    graded,
    polygon,
    stroke,
)

# In single precision, the last bits of sines and powers depend on the processor; with them, frames
# would.
DOUBLE = np.float64
OVERSAMPLING = 3  # backgrounds are painted larger and shrunk, which smooths their edges


@dataclass(frozen=True, slots=True)
class Scene:
    """A place: its look, and where people, vehicles and fires appear in it."""

    name: str
    camera: Camera
    paint: Callable[[Floats, Camera], None]
    light: Color  # factors for red, green and blue
    shadow: Ground  # from the foot of a 1 m high pole to the end of its shadow
    lanes: tuple[Line, ...]  # people walk along these in both directions
    spot: Ground  # where people stand and talk
    bin: Ground  # a litter bin, which burns in the event "fire"
    vehicle: str  # "car" or "cyclist": the vehicle of the anomalous event
    drive: Line  # the line along which that vehicle drives
    traffic: Line | None = None  # the line of ordinary cars
    end_m: float = 25.0  # people who walk beyond this are out of sight


@cache
def background(scene: Scene) -> Floats:
    """Return a scene without people, float32 [240, 320, 3]. The array is cached: copy before
    drawing.
    """
    camera = replace(scene.camera, scale=OVERSAMPLING)
    rows, columns = HEIGHT_PX * OVERSAMPLING, WIDTH_PX * OVERSAMPLING
    canvas = np.zeros((rows, columns, 3), np.float32)
    scene.paint(canvas, camera)
    _litter_bin(canvas, camera, scene.bin)
    canvas = canvas.reshape(HEIGHT_PX, OVERSAMPLING, WIDTH_PX, OVERSAMPLING, 3).mean((1, 3))
    y, x = np.mgrid[-1 : 1 : HEIGHT_PX * 1j, -1 : 1 : WIDTH_PX * 1j]
    vignette = 1 - 0.16 * (x * x + y * y)
    canvas = graded(canvas, scene.light) * vignette[..., None].astype(np.float32)
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(canvas, -1, 0)), 0, -1)  # faster to draw on


def _grain(u: Floats, z: Floats, *, size_m: float) -> Floats:
    """Return pseudo-random values in [-1, 1], constant within each square of `size_m` metres."""
    squares = np.floor(u / size_m) * 12.9898 + np.floor(z / size_m) * 78.233
    wave = np.sin(squares, dtype=DOUBLE) * 43758.547
    grain: Floats = ((wave - np.floor(wave)) * 2 - 1).astype(np.float32)
    return grain


def _mix(canvas: Floats, where: NDArray[np.bool_], color: Color, shade: ArrayLike = 0.0) -> None:
    """Set the pixels of the mask `where` [height, width] to a colour plus `shade`."""
    value = np.broadcast_to(np.asarray(shade, np.float32), where.shape)[where]
    canvas[where] = np.asarray(color, np.float32) + value[:, None]


def _lines(position: Floats, *, every_m: float, wide_m: float) -> NDArray[np.bool_]:
    """Return a mask of positions on parallel lines: one at position 0, and one every `every_m`."""
    return np.asarray(np.abs((position / every_m + 0.5) % 1 - 0.5) < wide_m / every_m / 2)


def _ground(camera: Camera) -> tuple[Floats, Floats]:
    """Return u and z of the ground seen in each pixel; above the horizon z is very large."""
    right, down = camera.rays()
    z = camera.height_m / np.maximum(down, 1e-3)
    return right * z, np.broadcast_to(z, (z.shape[0], right.shape[1]))


def _facade(canvas: Floats, camera: Camera, z: float, color: Color, *, floor_m: float) -> None:
    """Paint a house front at depth z: shops at the bottom, rows of windows above."""
    right, down = camera.rays()
    u, up = np.broadcast_arrays(right * z, camera.height_m - down * z)
    wall = up > 0
    _mix(canvas, wall, color, 4 * _grain(u, up, size_m=0.4))
    pane_u, pane_up = (u + 1.2) % 2.4 - 1.2, (up - floor_m) % 3.0
    upper = wall & (up > floor_m + 0.3)
    window = upper & (np.abs(pane_u) < 0.62) & (pane_up > 0.7) & (pane_up < 2.3)
    glass = window & (np.abs(np.abs(pane_u) - 0.3) < 0.27) & (pane_up > 0.78) & (pane_up < 2.22)
    kind = _grain(u + 1.2, up - floor_m, size_m=2.4)
    _mix(canvas, window, (225, 222, 214))
    _mix(canvas, glass, (74, 88, 104), 30 * (kind > 0.55) + 5 * pane_up)
    _mix(canvas, upper & (pane_up < 0.14), color, -26)
    shop_u = (u + 3.1) % 6.2 - 3.1
    shop = wall & (up < floor_m - 0.9) & (np.abs(shop_u) < 2.6)
    _mix(canvas, shop & (up > 0.45), (58, 66, 74), 16 * (np.abs(shop_u) < 0.6) + 7 * up)
    awning = wall & (np.abs(up - floor_m + 0.65) < 0.3) & (np.abs(shop_u) < 2.8)
    stripe = np.floor(u / 0.45) % 2
    _mix(canvas, awning & (stripe == 0), (168, 72, 62))
    _mix(canvas, awning & (stripe == 1), (226, 218, 200))


def _tree(canvas: Floats, camera: Camera, at: Ground, *, tall_m: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    u, z = at
    px = camera.px_per_m(z)
    foot, crown = camera.project([(u, z, 0), (u, z, tall_m * 0.6)])
    stroke(canvas, foot, crown, 0.1 * px, (92, 74, 58))
    for height in np.linspace(0, 1, 40):
        angle, out = rng.uniform(0, 2 * np.pi), rng.uniform(0, 1) ** 0.5 * (1.1 - 0.5 * height)
        middle = (u + np.cos(angle) * out, z, tall_m * (0.52 + 0.42 * height) + 0.2 * np.sin(angle))
        green = 62 + 46 * height + rng.uniform(-12, 12)
        leaf = camera.project(middle)
        stroke(
            canvas,
            leaf,
            leaf,
            rng.uniform(0.25, 0.45) * px,
            (green * 0.8, green * 1.15, green * 0.55),
        )


def _litter_bin(canvas: Floats, camera: Camera, at: Ground) -> None:
    u, z = at
    px = camera.px_per_m(z)
    foot, rim = camera.project([(u, z, 0.12), (u, z, 0.8)])
    shade = camera.project((u + 0.25, z, 0))
    stroke(canvas, camera.project((u, z, 0)), shade, 0.2 * px, (40, 40, 40), 0.4)
    stroke(canvas, foot, rim, 0.24 * px, (66, 92, 78))
    edge = np.array([0.2 * px, 0])
    stroke(canvas, rim - edge, rim + edge, 0.06 * px, (38, 50, 44))


def _paint_plaza(canvas: Floats, camera: Camera) -> None:
    u, z = _ground(camera)
    _mix(canvas, z > 0, (172, 164, 150), 7 * _grain(u, z, size_m=1.0))
    ring = np.hypot(u, z - 15.5, dtype=DOUBLE)
    _mix(
        canvas, _lines(ring, every_m=3.2, wide_m=0.5), (148, 132, 118), 5 * _grain(u, z, size_m=0.5)
    )
    _mix(
        canvas,
        _lines(u, every_m=1, wide_m=0.05) | _lines(z, every_m=1, wide_m=0.05),
        (140, 133, 122),
    )
    _facade(canvas, camera, 22, (196, 176, 146), floor_m=3.6)
    turn = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    for radius, up, color in (
        (2.3, 0.0, (120, 114, 106)),
        (2.2, 0.5, (186, 180, 170)),
        (1.9, 0.5, (110, 146, 158)),
    ):
        rim = np.stack([radius * np.cos(turn), 15.5 + radius * np.sin(turn), 0 * turn + up], -1)
        polygon(canvas, camera.project(rim), color)
    jet = camera.project([(0, 15.5, 0.5), (0, 15.5, 1.9)])
    stroke(canvas, jet[0], jet[1], 0.07 * camera.px_per_m(15.5), (214, 226, 230), 0.8)
    for index, side in enumerate((-7.6, -5.0, 5.2, 7.8)):
        _tree(canvas, camera, (side, 17.5), tall_m=4.2, seed=index)


def _paint_street(canvas: Floats, camera: Camera) -> None:
    u, z = _ground(camera)
    _mix(canvas, z > 0, (158, 155, 150), 6 * _grain(u, z, size_m=0.8))
    _mix(
        canvas,
        _lines(u, every_m=0.8, wide_m=0.03) | _lines(z, every_m=0.8, wide_m=0.03),
        (134, 131, 127),
    )
    road = (z > 11.3) & (z < 17.6)
    _mix(canvas, road, (86, 88, 92), 3 * _grain(u, z, size_m=0.15))
    _mix(canvas, _lines(z - 11.3, every_m=6.3, wide_m=0.3) & (z < 18), (190, 188, 182))
    dash = road & (np.abs(z - 14.5) < 0.09) & ((u / 2.4) % 1 < 0.55)
    zebra = road & (np.abs(u - 3.6) < 1.5) & (((z - 11.3) / 1.05) % 1 < 0.5)
    _mix(
        canvas,
        dash & (np.abs(u - 3.6) > 2.2) | zebra,
        (212, 212, 206),
        4 * _grain(u, z, size_m=0.2),
    )
    _facade(canvas, camera, 20.2, (164, 122, 104), floor_m=3.2)
    for index, (side, depth) in enumerate(((-5.4, 18.6), (6.6, 18.6), (-1.0, 18.6))):
        _tree(canvas, camera, (side, depth), tall_m=3.4, seed=10 + index)
    draw_car(canvas, camera, (-3.2, 16.6), 0.0, (74, 92, 120))
    draw_car(canvas, camera, (8.2, 16.6), 0.0, (150, 148, 140))


def _paint_car_park(canvas: Floats, camera: Camera) -> None:
    u, z = _ground(camera)
    _mix(
        canvas, z > 0, (104, 106, 110), 4 * _grain(u, z, size_m=0.12) + 4 * _grain(u, z, size_m=2.3)
    )
    bays = (z > 14) & (z < 19) & _lines(u, every_m=2.5, wide_m=0.12)
    arrow = (np.abs(z - 10.4) < 0.08) & (np.abs(u + 1) < 1.2)
    tip = (np.abs(z - 10.4) < (u - 0.2) * -0.8 + 0.5) & (u > 0.2) & (u < 0.85)
    _mix(canvas, bays | arrow | tip, (206, 206, 198), 5 * _grain(u, z, size_m=0.2))
    right, down = camera.rays()
    side, up = np.broadcast_arrays(right * 20.5, camera.height_m - down * 20.5)
    _mix(canvas, up > 0, (182, 196, 208), 2 * up)
    crowns = 3.2 + 0.5 * np.sin(side * 0.9, dtype=DOUBLE)
    crowns += 0.3 * np.sin(side * 2.3 + 1, dtype=DOUBLE)
    leaf = 10 * _grain(side, up, size_m=0.22) + 6 * _grain(side, up, size_m=0.9)
    _mix(canvas, (up > 0) & (up < crowns), (66, 86, 58), leaf)
    _mix(canvas, (up > 0) & (up < 0.9), (86, 108, 70), leaf)
    colors = ((146, 52, 48), (188, 190, 192), (62, 74, 96), (214, 210, 200), (70, 84, 74))
    for bay, color in zip((-3, -2, 0, 2, 4), colors, strict=True):
        draw_car(canvas, camera, (bay * 2.5 + 1.25, 16.6), np.pi / 2, color)


def _paint_corridor(canvas: Floats, camera: Camera) -> None:
    right, down = camera.rays()
    wall_m, ceiling_m, end_m = 1.8, 3.9, 12.5
    z_wall = wall_m / np.maximum(np.abs(right), 1e-4)
    z_floor = camera.height_m / np.maximum(down, 1e-4)
    z_ceiling = (ceiling_m - camera.height_m) / np.maximum(-down, 1e-4)
    z = np.minimum(np.minimum(z_wall, end_m), np.minimum(z_floor, z_ceiling))
    u, up = right * z, camera.height_m - down * z
    lamp = np.cos(np.pi * (z - 3.5) / 3.5, dtype=DOUBLE) ** 2  # a lamp every 3.5 m
    _mix(canvas, z > 0, (196, 202, 196), 10 * lamp)
    _mix(canvas, (z == z_wall) & (up < 1.1), (116, 144, 138), 12 * lamp)
    _mix(canvas, (z == z_wall) & (np.abs(up - 1.12) < 0.05), (84, 104, 100))
    door = (z == z_wall) & (up < 2.1) & (((z + 0.4 + (u > 0) * 1.7) % 3.5) < 1.0)
    _mix(canvas, door, (132, 104, 78), 8 * lamp + 4 * _grain(z, up, size_m=0.3))
    _mix(canvas, door & (np.abs(up - 1.5) < 0.3), (176, 190, 192))
    floor = z == z_floor
    gloss = 34 * lamp * np.exp(-((u / 0.8) ** 2), dtype=DOUBLE)
    _mix(canvas, floor, (150, 148, 140), 5 * _grain(u, z, size_m=0.6) + gloss)
    _mix(canvas, floor & (np.abs(u) > wall_m - 0.12), (96, 98, 96))
    _mix(canvas, z == z_ceiling, (206, 206, 198), 6 * _grain(u, z, size_m=0.6))
    _mix(canvas, (z == z_ceiling) & (np.abs(u) < 0.35) & (lamp > 0.6), (250, 252, 244))
    end = z == end_m
    _mix(canvas, end & (np.abs(u) < 1.1) & (up < 2.3), (92, 106, 108))
    _mix(canvas, end & (np.abs(np.abs(u) - 0.52) < 0.44) & (up < 2.2), (206, 224, 226), 6 * up)
    _mix(canvas, end & (np.abs(u) < 0.5) & (np.abs(up - 2.55) < 0.13), (70, 168, 104))
    canvas *= (1.08 - 0.3 * z / end_m)[..., None]


def _across(camera: Camera, left_z: float, right_z: float, margin_m: float = 0.5) -> Line:
    """Return a line through the whole frame that ends `margin_m` metres outside of both borders.

    left_z, right_z: depth of its ends, in metres.
    """
    left, right = (WIDTH_PX / 2 * z / camera.focal_px + margin_m for z in (left_z, right_z))
    return (-left, left_z), (right, right_z)


_PLAZA = Camera(horizon_px=24, focal_px=310, height_m=5.0)
_CORRIDOR = Camera(horizon_px=56, focal_px=260, height_m=3.6)
_STREET = Camera(horizon_px=6, focal_px=300, height_m=5.5)
_CAR_PARK = Camera(horizon_px=-4, focal_px=295, height_m=5.8)
_HALF_CAR_M = 2.3

SCENES = (
    Scene(
        name="plaza",
        camera=_PLAZA,
        paint=_paint_plaza,
        light=(1.03, 1.0, 0.95),
        shadow=(0.85, 0.35),
        lanes=(_across(_PLAZA, 8.4, 9.2), _across(_PLAZA, 10.4, 10.0), _across(_PLAZA, 11.8, 11.2)),
        spot=(1.8, 8.9),
        bin=(-3.4, 13.2),
        vehicle="car",
        drive=_across(_PLAZA, 10.8, 10.2, _HALF_CAR_M),
    ),
    Scene(
        name="corridor",
        camera=_CORRIDOR,
        paint=_paint_corridor,
        light=(0.98, 1.01, 0.97),
        shadow=(0.1, 0.1),
        lanes=(((-0.2, 2.2), (-0.3, 11.9)), ((0.8, 2.2), (0.5, 11.9))),
        spot=(-0.95, 6.0),
        bin=(1.3, 7.4),
        vehicle="cyclist",
        drive=((0.3, 11.9), (0.4, 2.2)),
        end_m=12.0,
    ),
    Scene(
        name="street",
        camera=_STREET,
        paint=_paint_street,
        light=(0.97, 0.99, 1.02),
        shadow=(-0.4, 0.25),
        lanes=(
            _across(_STREET, 8.2, 8.2),
            _across(_STREET, 9.2, 9.2),
            _across(_STREET, 10.1, 10.1),
        ),
        spot=(-1.6, 7.7),
        bin=(4.4, 10.3),
        vehicle="car",
        drive=_across(_STREET, 8.9, 9.3, _HALF_CAR_M),
        traffic=_across(_STREET, 13.0, 13.0, _HALF_CAR_M),
    ),
    Scene(
        name="car-park",
        camera=_CAR_PARK,
        paint=_paint_car_park,
        light=(0.96, 0.98, 1.03),
        shadow=(-0.7, -0.1),
        lanes=(
            _across(_CAR_PARK, 8.4, 8.8),
            _across(_CAR_PARK, 10.2, 10.6),
            _across(_CAR_PARK, 11.9, 11.7),
        ),
        spot=(-1.8, 7.9),
        bin=(3.4, 12.8),
        vehicle="car",
        drive=_across(_CAR_PARK, 9.6, 9.6, _HALF_CAR_M),
    ),
)
