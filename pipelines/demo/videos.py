"""The demo's data set: short surveillance-like videos, half of them with an anomalous event.

Four fixed cameras look at people who walk and talk. In every second video an event is planted, and
its frames are known exactly:

    running    three people race through
    fighting   two people who stood and talked begin to fight
    vehicle    a car, or indoors a bicycle, drives through the people
    fire       a litter bin burns

The seed determines every pixel. A normal video differs from an abnormal one only by the event:
places, crowds, clothes, light and lengths come from the same distributions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from vad.errors import UsageError
from vad.files import committed, write_text
from vad.terminal import meter

from .actors import Actor, Car, Cyclist, Fire
from .drawing import HEIGHT_PX, WIDTH_PX, Color, Line
from .people import CYCLING_M_S, RUNNING_M_S, WALKING_M_S, Person, chat, fight, go
from .scenes import SCENES, Scene, background

FPS = 25
SHORTEST_S, LONGEST_S = 6.0, 8.4
SPLITS = (
    "train",
    "train",
    "val",
    "train",
    "test",
)  # in this order, so that every event and place occurs in each split
LEAST_VIDEOS = 2 * len(SPLITS)  # so that every split has both classes
NOISE = 3.0  # standard deviation of the sensor noise, in 0..255
NEAREST_M = 1.5  # actors nearer than this are below the lower border of the frame
# of a figure drawn on black, 0..255: brighter pixels belong to it, and its shadow is darker
SHADOW = 20

CAR_COLORS = ((150, 50, 46), (190, 192, 194), (62, 78, 108), (222, 218, 206), (58, 60, 64))
GLYPHS = {  # 3 x 5 px: one octal digit per row, one bit per pixel
    **{"0": "75557", "1": "26227", "2": "71747", "3": "71717", "4": "55711"},
    **{"5": "74717", "6": "74757", "7": "71122", "8": "75757", "9": "75717"},
    **{"C": "74447", "A": "75755", "M": "57755", ":": "02020", " ": "00000"},
}

Rng = np.random.Generator
Event = tuple[list[Actor], float]  # the actors of an event, and its end in seconds


@dataclass(frozen=True, slots=True)
class DemoData:
    """Paths of the demo's videos, and of the tables that tell what they show."""

    videos: Path
    labels: Path
    segments: Path
    boxes: Path  # where the figures of events are, frame by frame


@dataclass(frozen=True, slots=True)
class Video:
    """One planned video. `event` is its interval of frames [start, end); None if it is normal."""

    name: str
    scene: Scene
    category: str  # "normal" or a key of EVENTS
    split: str
    n_frames: int
    crowd: tuple[Actor, ...]
    cast: tuple[Actor, ...]  # actors of the event
    event: tuple[int, int] | None


def render_demo(
    folder: Path, *, n_videos: int = 50, seed: int = 0, quiet: bool = False
) -> DemoData:
    """Render the videos and write labels.csv, segments.csv and boxes.csv.

    Raises UsageError for fewer than 10 videos.
    """
    names = ("videos", "labels.csv", "segments.csv", "boxes.csv")
    data = DemoData(*(folder / name for name in names))
    videos = plan(n_videos, seed)
    with meter("render", n_videos, unit="videos", quiet=quiet) as progress:
        for index, video in enumerate(videos):
            pictures = frames(video, np.random.default_rng((seed, index, 1)))
            encode(data.videos / f"{video.name}.mp4", pictures)
            progress.advance()
    labels, segments = ["video,label,category,split"], ["video,start_frame,end_frame,category"]
    boxes = ["video,frame,figure,left_px,top_px,right_px,bottom_px"]
    for video in videos:
        labels.append(f"{video.name},{int(video.event is not None)},{video.category},{video.split}")
        if video.event:
            segments.append(f"{video.name},{video.event[0]},{video.event[1]},{video.category}")
        boxes += [f"{video.name},{','.join(map(str, row))}" for row in boxes_of(video)]
    write_text(data.boxes, "\n".join(boxes) + "\n")
    write_text(data.segments, "\n".join(segments) + "\n")
    write_text(data.labels, "\n".join(labels) + "\n")
    return data


def plan(n_videos: int, seed: int) -> list[Video]:
    """Return the plan of all videos, sorted by name. Raises UsageError for fewer than 10."""
    if n_videos < LEAST_VIDEOS:
        raise UsageError(
            f"{n_videos} videos are too few to learn from; make at least {LEAST_VIDEOS}"
        )
    kinds = [("normal", i) for i in range((n_videos + 1) // 2)]
    kinds += [(list(EVENTS)[i % len(EVENTS)], i) for i in range(n_videos // 2)]
    order = np.random.default_rng((seed, n_videos)).permutation(n_videos)
    videos: list[Video] = []
    for index, (category, i) in enumerate(kinds[j] for j in order):
        scene = SCENES[(i + i // len(SCENES)) % len(SCENES)]  # every event meets every place
        number = 1 + sum(video.scene is scene for video in videos)
        split = SPLITS[i % len(SPLITS)]
        rng = np.random.default_rng((seed, index, 0))
        videos.append(cast_video(f"{scene.name}-{number:02d}", scene, category, split, rng))
    return sorted(videos, key=lambda video: video.name)


def cast_video(name: str, scene: Scene, category: str, split: str, rng: Rng) -> Video:
    """Return one planned video: a random crowd in a scene, and actors of the category's event."""
    duration_s = SHORTEST_S + (LONGEST_S - SHORTEST_S) * rng.uniform() ** 3
    n_frames, start = round(duration_s * FPS), round(duration_s * FPS * rng.uniform(0.15, 0.4))
    crowd: list[Actor] = [_walker(scene, rng, duration_s) for _ in range(rng.integers(2, 5))]
    if scene.traffic and rng.uniform() < 0.4:
        enters_s = rng.uniform(-2, duration_s - 1)
        leaves_s = enters_s + rng.uniform(3.2, 4.0)
        crowd.append(Car(*_either_way(scene.traffic, rng), enters_s, leaves_s, _paint_job(rng)))
    if rng.uniform() < 0.5 and category != "fighting":
        crowd += _pair(scene, rng)
    cast: list[Actor] = []
    event = None
    if category != "normal":
        cast, end_s = EVENTS[category](scene, rng, start / FPS)
        event = start, min(math.ceil(end_s * FPS), n_frames)
    return Video(name, scene, category, split, n_frames, tuple(crowd), tuple(cast), event)


def _either_way(line: Line, rng: Rng) -> Line:
    return line if rng.uniform() < 0.5 else (line[1], line[0])


def _paint_job(rng: Rng) -> Color:
    return CAR_COLORS[rng.integers(len(CAR_COLORS))]


def _lane(scene: Scene, rng: Rng) -> tuple[Line, float]:
    """Return a random lane of the scene in a random direction, and its length in metres."""
    start, end = _either_way(scene.lanes[rng.integers(len(scene.lanes))], rng)
    return (start, end), float(np.hypot(end[0] - start[0], end[1] - start[1]))


def _walker(scene: Scene, rng: Rng, duration_s: float) -> Person:
    """Return a person who walks through the scene; the walk may begin before the video."""
    lane, length_m = _lane(scene, rng)
    speed_m_s = WALKING_M_S * rng.uniform(0.85, 1.15)
    start_s = rng.uniform(-0.8 * length_m / speed_m_s, 0.6 * duration_s)
    phase = rng.uniform(0, 2 * np.pi)
    return Person.random(rng, go(*lane, speed_m_s=speed_m_s, start_s=start_s, phase=phase))


def _pair(scene: Scene, rng: Rng, quarrel_s: tuple[float, float] | None = None) -> list[Actor]:
    """Return two people who stand and talk, and who fight during the interval `quarrel_s`, if
    given.
    """
    u, z = scene.spot
    pair: list[Actor] = []
    for side, heading in ((-0.42, 0.0), (0.42, np.pi)):
        script = chat((u + side, z + rng.uniform(-0.1, 0.1)), heading, tempo=rng.uniform(2, 4))
        if quarrel_s:
            script = fight(script, *quarrel_s, tempo=rng.uniform(6.5, 8.5))
        pair.append(Person.random(rng, script))
    return pair


def _running(scene: Scene, rng: Rng, start_s: float) -> Event:
    lane, length_m = _lane(scene, rng)
    speed_m_s, waits_s = RUNNING_M_S * rng.uniform(0.95, 1.1), (0.0, 0.3, 0.7)
    end_s = start_s + waits_s[-1] + length_m / speed_m_s
    scripts = (go(*lane, speed_m_s=speed_m_s, start_s=start_s + wait_s) for wait_s in waits_s)
    return [Person.random(rng, script, (start_s, end_s)) for script in scripts], end_s


def _fighting(scene: Scene, rng: Rng, start_s: float) -> Event:
    end_s = start_s + rng.uniform(2.2, 3.2)
    return _pair(scene, rng, (start_s, end_s)), end_s


def _vehicle(scene: Scene, rng: Rng, start_s: float) -> Event:
    start, end = _either_way(scene.drive, rng)
    if scene.vehicle == "car":
        end_s = start_s + rng.uniform(2.0, 2.6)
        return [Car(start, end, start_s, end_s, _paint_job(rng))], end_s
    end_s = start_s + float(np.hypot(end[0] - start[0], end[1] - start[1])) / CYCLING_M_S
    ride = go(start, end, speed_m_s=CYCLING_M_S, start_s=start_s)
    return [Cyclist.random(rng, ride)], end_s


def _fire(scene: Scene, rng: Rng, start_s: float) -> Event:
    end_s = start_s + rng.uniform(2.4, 3.4)
    return [Fire(scene.bin, start_s, end_s, int(rng.integers(2**31)))], end_s


EVENTS: dict[str, Callable[[Scene, Rng, float], Event]] = {
    "running": _running,
    "fighting": _fighting,
    "vehicle": _vehicle,
    "fire": _fire,
}


def frames(video: Video, rng: Rng, *, every: int = 1) -> Iterator[NDArray[np.uint8]]:
    """Yield a video's frames, uint8 [240, 320, 3], with the noise and flicker of its camera.

    every: 5 yields frames 0, 5, 10, ..., for a video of 5 frames a second.
    """
    empty = background(video.scene)
    noise = rng.normal(0, NOISE, (HEIGHT_PX + 64, WIDTH_PX + 64)).astype(np.float32)
    exposure, phase = rng.uniform(0.93, 1.06), rng.uniform(0, 2 * np.pi)
    began_s = int(rng.integers(6 * 3600, 20 * 3600))
    for index in range(0, video.n_frames, every):
        time_s = index / FPS
        canvas = empty.copy(order="K")
        there = [(actor.depth(time_s), actor) for actor in video.crowd + video.cast]
        seen = [(z, a) for z, a in there if z is not None and NEAREST_M < z < video.scene.end_m]
        for _, actor in sorted(seen, key=lambda pair: -pair[0]):
            actor.draw(canvas, video.scene, time_s)
        flicker = 1 + 0.012 * np.sin(2.5 * time_s + phase) + rng.normal(0, 0.006)
        top, left = rng.integers(0, 64, 2)
        canvas *= np.float32(exposure * flicker)
        canvas += noise[top : top + HEIGHT_PX, left : left + WIDTH_PX, None]
        picture = canvas.clip(0, 255).astype(np.uint8, order="C")
        _stamp(picture, SCENES.index(video.scene) + 1, began_s + int(time_s))
        yield picture


def boxes_of(video: Video) -> Iterator[tuple[int, int, int, int, int, int]]:
    """Yield where the figures of a video's event are: frame, figure, left, top, right, bottom.

    figure counts the actors of the event from 1. right and bottom are the first column and row
    after the figure, in pixels. Shadows do not belong to figures; what hides a figure is ignored.
    """
    scene = video.scene
    for frame in range(*video.event) if video.event else ():
        for figure, actor in enumerate(video.cast, start=1):
            depth = actor.depth(frame / FPS)
            if depth is None or not NEAREST_M < depth < scene.end_m:
                continue
            canvas = np.moveaxis(np.zeros((3, HEIGHT_PX, WIDTH_PX), np.float32), 0, -1)
            actor.draw(canvas, scene, frame / FPS)
            rows, columns = np.nonzero(canvas.max(2) > SHADOW)
            if rows.size:
                left, right = int(columns.min()), int(columns.max()) + 1
                yield frame, figure, left, int(rows.min()), right, int(rows.max()) + 1


def _stamp(picture: NDArray[np.uint8], camera: int, clock_s: int) -> None:
    """Draw the camera's number and the time into the upper left corner of a frame."""
    hours, rest = divmod(clock_s, 3600)
    ink = _ink(f"CAM {camera:02d}  {hours:02d}:{rest // 60:02d}:{rest % 60:02d}")
    corner = picture[6 : 6 + ink.shape[0], 8 : 8 + ink.shape[1]]
    corner[...] = np.where(ink[..., None], 236, corner // 4 * 3)


@cache
def _ink(text: str) -> NDArray[np.bool_]:
    """Return the mask [10, width] of the pixels of a text, in letters of 6 x 10 px."""
    rows = [[f"{int(GLYPHS[letter][row]):03b}0" for letter in text] for row in range(5)]
    bits = np.array([[bit == "1" for bit in "".join(row)] for row in rows])
    return bits.repeat(2, 0).repeat(2, 1)


def encode(path: Path, pictures: Iterator[NDArray[np.uint8]], *, fps: int = FPS) -> None:
    """Write frames [height, width, 3] as an MP4 file: H.264 if this PyAV has it, else MPEG-4."""
    h264 = "libx264" in av.codecs_available
    with committed(path) as part, av.open(str(part), "w", format="mp4") as container:
        stream = container.add_stream("libx264" if h264 else "mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        if h264:
            stream.options = {"preset": "veryfast", "crf": "23", "bf": "0", "threads": "1"}
        else:
            stream.bit_rate = 1_500_000
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
