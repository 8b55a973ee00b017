"""`vad run pipeline.toml`: all stages, each skipped if its inputs did not change.

    store = "features.zarr"        # of all stages; this is the default
    [extract]
    videos = ["videos/"]           # the arguments and options of the command, `-` written as `_`
    [train]
    detector = "rtfm"
    k = 5                          # a setting of the detector itself
    [evaluate]
    [score]
    videos = ["new/"]

A stage is the command of that name. What it read and what it was told are noted beside the pipeline
file when it has finished; as long as both stay, it is skipped.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shlex
import tomllib
from collections.abc import Mapping
from contextlib import chdir
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from vad.config import unknown
from vad.documents import read_json
from vad.errors import UsageError, VideoError
from vad.files import write_json
from vad.stages.train.card import CARD
from vad.stages.train.seeds import runs_of
from vad.store import FeatureStore
from vad.tables import read_text
from vad.version import VERSION

log = logging.getLogger("vad")

MAX_BYTES = 1_000_000  # of a pipeline file
DEFAULT_RUN = "runs/default"
# the stages in order, each with its positional argument in the file
STAGES = {"extract": "videos", "caption": "", "train": "", "evaluate": "runs", "score": "videos"}


@dataclass(frozen=True)
class Stage:
    """One command of a pipeline."""

    name: str
    arguments: tuple[str, ...]  # what follows `vad NAME` on the command line
    reads: tuple[str, ...]  # files, folders, stores and runs that decide its result
    writes: str  # a path that exists when the stage has finished

    @property
    def command(self) -> str:
        """Return the command as one would type it."""
        return shlex.join(["vad", self.name, *self.arguments])

    def state(self, folder: Path) -> str:
        """Return a checksum of what the stage is told and of what it reads now."""
        parts: list[object] = [VERSION, self.name, self.arguments]
        parts += [(path, _state_of(folder / path, self.name)) for path in self.reads]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def read_pipeline(path: Path) -> list[Stage]:
    """Return the stages of a pipeline file, in order.

    Raises UsageError that names a table or a value that is wrong.
    """
    try:
        document = tomllib.loads(read_text(path, MAX_BYTES))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}") from None
    store = document.pop("store", "features.zarr")
    for name, table in document.items():
        if name not in STAGES:
            raise UsageError(f"{path}: {unknown(name, [*STAGES, 'store'])}")
        if not isinstance(table, dict):
            raise UsageError(f"{path}: {name} is no table", hint=f"write [{name}]")
    if not isinstance(store, str) or not document:
        raise UsageError(f"{path} names no stage", hint=f"write [{'], ['.join(STAGES)}]")
    run = str(document.get("train", {}).get("out", DEFAULT_RUN))
    if "seeds" in document.get("train", {}) and "detector" not in document.get("score", "detector"):
        raise UsageError(
            f"{path}: [score] must name one of the runs of several seeds",
            hint=f'write detector = "{run}/seed-0"',
        )
    return [_stage(name, document[name], store, run, path) for name in STAGES if name in document]


def _stage(name: str, table: Mapping[str, Any], store: str, run: str, path: Path) -> Stage:
    """Return the stage of one table. Raises UsageError for a value that no option can have."""
    rest = dict(table)
    positional = rest.pop(STAGES[name], []) if STAGES[name] else []
    positional = [positional] if isinstance(positional, str) else positional
    if not isinstance(positional, list) or not all(isinstance(p, str) for p in positional):
        raise UsageError(f"{path}: {name}.{STAGES[name]} is a path, or a list of paths")
    labels = str(rest.get("labels", "labels.csv"))
    reads: list[str] = []
    if name == "extract":
        rest["store"], reads, writes = store, list(positional), store
    elif name == "caption":
        positional, reads, writes = [store], [store], store
    elif name == "train":
        rest["out"], positional, writes = run, [store], run
        reads = [store, labels, str(Path(labels).with_name("reviews.csv"))]
        rest["overwrite"] = True  # it runs again only if what it was trained on has changed
    elif name == "evaluate":
        positional = positional or [run]
        rest.setdefault("store", store)
        segments = str(rest.get("segments", "segments.csv"))
        reads, writes = [store, *positional, segments, labels], positional[0]
    else:
        rest.setdefault("detector", run)
        reads, writes = [*positional, str(rest["detector"])], str(rest.get("out", "scores"))
    if not positional:
        raise UsageError(f"{path}: {name} names no {STAGES[name]}")
    arguments = [*positional, *_options(name, rest, path)]
    return Stage(name, tuple(arguments), tuple(reads), writes)


def _options(stage: str, table: Mapping[str, Any], path: Path) -> list[str]:
    """Return the options of the command line for the values of a table."""
    flags = _flags_of(stage)
    options: list[str] = []
    for name, value in table.items():
        flag = f"--{name.replace('_', '-')}"
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(v, str | int | float) for v in values):
            raise UsageError(f"{path}: {stage}.{name} is no text, number or list of them")
        for one in values:
            if flag not in flags:
                options += ["--set", f"{name}={one}"]
            elif isinstance(one, bool):
                options += [flag] if one else []
            else:
                options += [flag, str(one)]
    return options


def _flags_of(stage: str) -> set[str]:
    """Return the options that a command has."""
    import typer

    app = typer.Typer()
    app.command(stage)(import_module(f".commands.{stage}", __package__).command)
    return {flag for parameter in typer.main.get_command(app).params for flag in parameter.opts}


def _state_of(path: Path, stage: str) -> object:
    """Return what tells whether a path has changed; None if it does not exist.

    A store: the checksums of its arrays, or of the videos alone where captions are made; a run:
    its card; any other folder: the size and the time of its files; or those of a file.
    """
    if (path / "zarr.json").exists():
        store = FeatureStore.open(path)
        if stage == "caption":
            return {video: store.record(video).source_sha256 for video in store.ids()}
        return {
            video: {name: store.info(video, name).sha256 for name in store.names(video)}
            for video in store.ids()
        }
    if (path / CARD).exists():
        return hashlib.sha256((path / CARD).read_bytes()).hexdigest()
    if path.is_dir():
        return sorted(_stamp(file) for file in path.rglob("*") if file.is_file())
    return _stamp(path) if path.exists() else None


def _stamp(path: Path) -> list[object]:
    stat = path.stat()
    return [str(path), stat.st_size, stat.st_mtime_ns]


def run_pipeline(path: Path, *, dry_run: bool = False) -> int:
    """Run the stages of a pipeline file that are not up to date, and return the exit code.

    Paths in the file are relative to its folder. A stage that fails ends the pipeline, apart from
    videos that fail. With `dry_run`, only says what would be done. Raises UsageError if training
    would replace a run that the pipeline did not make.
    """
    stages, folder = read_pipeline(path), path.resolve().parent
    notes = path.with_name(f".{path.name}.done")
    noted = read_json(notes) if notes.exists() else {}
    done = (
        {str(name): str(state) for name, state in noted.items()} if isinstance(noted, dict) else {}
    )
    cli = import_module(".cli", __package__)  # which imports this module
    code, is_fresh = 0, False
    for stage in stages:
        up_to_date = done.get(stage.name) == stage.state(folder) and _exists(folder, stage.writes)
        if up_to_date and not is_fresh:
            log.info("%s: up to date", stage.name)
            continue
        if stage.name == "train" and "train" not in done and _holds_runs(folder / stage.writes):
            raise UsageError(
                f"{stage.writes} holds a run that {path} did not make",
                hint="name another folder under [train], such as out = 'runs/mine'",
            )
        if dry_run:
            is_fresh = True  # what the later stages read will have changed
            log.info("%s: would run %s", stage.name, stage.command)
            continue
        log.info("%s: %s", stage.name, stage.command)
        with chdir(folder):
            ended = cli.run_command([stage.name, *stage.arguments])
        if ended not in (0, VideoError.exit_code):
            return int(ended)
        code = max(code, ended)
        done[stage.name] = stage.state(folder)
        write_json(notes, done)
    return code


def _holds_runs(folder: Path) -> bool:
    return (folder / CARD).exists() or bool(runs_of(folder))


def _exists(folder: Path, path: str) -> bool:
    return "://" in path or (folder / path).exists()
