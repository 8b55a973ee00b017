"""Find the feature files that a command's arguments name, their layout, and the video of each."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vad.errors import UsageError
from vad.names import VideoNames
from vad.tables import read_lines

from ..sources import files_below, tell_left_out
from .beside import BESIDE, Timing, read_timings
from .layout import LAYOUTS, Layout, find_layout

Crops = dict[int, Path]  # the files of one video, by crop number
LINE = re.compile(r"(.+?\.(?:npy|pth?|txt))(?:[\s,].*)?", re.IGNORECASE)  # path, label


@dataclass(frozen=True)
class FoundFiles:
    """Feature files of one layout, by video."""

    layout: Layout
    videos: dict[str, Crops]
    missing: dict[str, str] = field(default_factory=dict)  # video -> line, if no file exists
    timings: dict[str, Timing] = field(default_factory=dict)  # by video, of files of times beside


def find_files(inputs: Iterable[str | Path], layout: str = "auto") -> FoundFiles:
    """Return the feature files in folders or, if lists are given, those of them that the lists
    name.

    An input is a folder (searched with its subfolders), a file, or `@list.txt` with one path per
    line. Lists often hold paths of other machines: if a path does not exist, the file of the same
    video in the given folders is used. A label after the path is ignored. Raises UsageError if
    there is no file, if files are of several layouts, or if two files hold the same crop of the
    same video.
    """
    names = [str(i) for i in inputs]
    files, lines = _all_files(names)
    beside = {name: files.pop(name) for name in list(files) if name.endswith(BESIDE)}
    where = ", ".join(names) or "nothing"
    chosen = detect(files, where) if layout == "auto" else find_layout(layout)
    videos: dict[str, Crops] = {}
    claimed = [name for name in sorted(files) if chosen.claims(name, files)]
    for name in claimed:
        video, crop = chosen.split(name)
        other = videos.setdefault(video, {}).setdefault(crop, files[name])
        if other != files[name]:
            raise UsageError(f"{other} and {files[name]} both hold {_what(video, crop)}")
    if not videos:
        raise UsageError(
            f"no file of layout {chosen.name} in {where}", hint=f"it reads {chosen.says}"
        )
    if others := [files[name] for name in sorted(files.keys() - set(claimed))]:
        tell_left_out(where, others, f"that are not of layout {chosen.name}")
    found = _listed(chosen, videos, lines) if lines else FoundFiles(chosen, videos)
    return replace(found, timings=read_timings(beside))


def detect(files: Mapping[str, Path], where: str) -> Layout:
    """Return the layout of the files, which is judged by their names. Raises UsageError if the
    names fit no layout, or several.
    """
    examples: dict[str, str] = {}
    for name in sorted(files):
        layout = next((row for row in LAYOUTS.values() if row.claims(name, files)), None)
        if layout:
            examples.setdefault(layout.name, name)
    if len(examples) > 1:
        examples.pop("c3d-text", None)  # next to arrays, a text file is a note or a list
    if len(examples) == 1:
        return LAYOUTS[next(iter(examples))]
    if not examples:
        raise UsageError(
            f"no features in {where}", hint="files of features end in .npy, .pt, .pth or .txt"
        )
    seen = ", ".join(f"{layout} ({name})" for layout, name in examples.items())
    raise UsageError(f"{where} holds files of several layouts: {seen}", hint="choose with --layout")


def _all_files(inputs: list[str]) -> tuple[dict[str, Path], list[str]]:
    """Return the files by their path below the given folder, and the lines of the lists."""
    files: dict[str, Path] = {}
    lines: list[str] = []
    for name in sorted(inputs, key=lambda name: name.startswith("@")):  # lists after folders
        path = Path(name)
        if name.startswith("@"):
            found = _lines(Path(name[1:]))
            lines += found
            known = set(map(os.path.realpath, files.values()))
            here = [
                (Path(line).name, Path(line))
                for line in found
                if Path(line).is_file() and os.path.realpath(line) not in known
            ]
        elif path.is_dir():
            here = [(file.relative_to(path).as_posix(), file) for file in files_below(path)]
        elif path.is_file():
            here = [(path.name, path)]
        else:
            raise UsageError(f"no file or folder {name}")
        for below, file in here:
            other = files.setdefault(below, file)
            if os.path.realpath(other) != os.path.realpath(file):
                raise UsageError(f"{other} and {file} are both called {below}")
    return files, lines


def _listed(layout: Layout, videos: dict[str, Crops], lines: list[str]) -> FoundFiles:
    """Return the files that the lines of a list name, in the order of the list."""
    names = VideoNames(videos)
    wanted: dict[str, Crops] = {}
    missing: dict[str, str] = {}
    for line in lines:
        stem, crop = layout.split(Path(line.replace("\\", "/")).name)
        fits = names.with_stem(stem)
        if len(fits) > 1:
            raise UsageError(f"{line} could be {fits[0]!r} or {fits[1]!r}")
        if fits and crop in videos[fits[0]]:
            wanted.setdefault(fits[0], {})[crop] = videos[fits[0]][crop]
        else:
            missing[fits[0] if fits else stem] = line
    if not wanted:
        raise UsageError(
            f"of the {len(lines)} files that the list names, such as {lines[0]}, none is here",
            hint="name the folder that holds them, too",
        )
    wanted = {video: crops for video, crops in wanted.items() if video not in missing}
    if (
        not layout.joins_dims
    ):  # a list can name some of the crops alone, such as the mirrored centre
        numbers = sorted({crop for crops in wanted.values() for crop in crops})
        wanted = {v: {numbers.index(k): path for k, path in c.items()} for v, c in wanted.items()}
    return FoundFiles(layout, wanted, missing)


def _lines(path: Path) -> list[str]:
    every = (line for _, line in read_lines(path))
    # a path in quotes is the first value of a table
    paths = (next(csv.reader([line]))[0] if line.startswith('"') else line for line in every)
    found = [LINE.fullmatch(line) for line in paths]
    lines = [line[1] for line in found if line]
    if not lines:
        raise UsageError(f"{path} lists no file of features")
    return lines


def _what(video: str, crop: int) -> str:
    return f"crop {crop} of {video!r}" if crop else repr(video)
