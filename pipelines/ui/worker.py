"""The process that does the work of the page, one job at a time.

It runs apart from the server, so that neither a file that crashes a decoder nor a training that
needs too much memory ends the page, and so that a job is cancelled by ending its process.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vad.errors import UsageError, VadError, VideoError
from vad.files import committed
from vad.stages.extract.child import Parent
from vad.stages.infer.report import write_report
from vad.stages.infer.scores import VideoScores
from vad.stages.infer.video.copies import Beside, make_copies
from vad.stages.infer.writers import path_of
from vad.store import key_of
from vad.terminal import Meter, PlainFormatter, meter, plain, told_to

from ..executors import run as extraction
from ..options import project_settings
from ..paths import SCORES, STORE, VIDEOS
from ..project import train
from ..results import Results
from ..score import score_sources
from .folder import COPIES, PREVIEWS, STILLS, ProjectFolder
from .previews import make_previews

INSIDE_BYTES = 4 * 2**20  # a copy up to this size is put into its report; a larger one is a file
MOST_COPY_BYTES = 8 * 10**9  # of the copy of one video

log = logging.getLogger("vad")

Settings = Mapping[str, Any]


def serve(parent: Parent) -> None:
    """Work on the jobs of the parent process until it ends. It sends, for each, messages with the
    fields `share` and `words` (progress), `log` (a line), and finally `state` and `says`.
    """
    if "OMP_NUM_THREADS" not in os.environ:  # with which a person limits the cores
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    handler = _Sender(parent)
    handler.setFormatter(PlainFormatter())
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    for task in parent.tasks():
        os.chdir(task["project"])
        with told_to(lambda share, words: parent.send({"share": share, "words": words})):
            state, says = _try(task["kind"], task["settings"])
        parent.send({"state": state, "says": plain(says)})


class _Sender(logging.Handler):
    def __init__(self, parent: Parent) -> None:
        super().__init__()
        self._parent = parent

    def emit(self, record: logging.LogRecord) -> None:
        self._parent.send({"log": self.format(record)})


def _try(kind: str, settings: Settings) -> tuple[str, str]:
    """Run a job; return its final state, "done" or "failed", and one line for the page."""
    try:
        return "done", ACTIONS[kind](settings)
    except VideoError as error:
        return "failed", f"{error} ({error.reason})"
    except VadError as error:
        return "failed", str(error)
    except Exception as error:  # the page goes on
        return "failed", f"internal error, {type(error).__name__}: {error}"


def _pictures(settings: Settings) -> str:
    """Make the pictures that videos lack; return what was done."""
    todo = ProjectFolder(Path()).without_pictures()
    with meter("pictures", len(todo), unit="videos") as progress:
        for source, error in make_previews(PREVIEWS, todo):
            if error:
                log.warning("%s: no pictures: %s", source.id, error)
            progress.advance(name=source.id)
    return f"pictures made of {len(todo)} video{'s' * (len(todo) != 1)}"


def _prepare(settings: Settings) -> str:
    """Make the pictures and the features that videos lack; return what was done."""
    _pictures(settings)
    if not ProjectFolder(Path()).sources():
        return "there is no video yet"
    outcome = extraction.extract([VIDEOS], STORE, **{**project_settings("extract"), **settings})
    words = ", ".join(f"{video}: {error}" for video, error in list(outcome.failed.items())[:3])
    n = len(outcome.done)
    if not n and not outcome.failed:
        return "all videos have their features"
    return f"features made of {n} video{'s' * (n != 1)}" + (
        f"; {len(outcome.failed)} failed: {words}" if outcome.failed else ""
    )


def _train(settings: Settings) -> str:
    """Make the features that videos lack, then train; return what to expect of the run."""
    _prepare({name: value for name, value in settings.items() if name != "detector"})
    device = {n: v for n, v in settings.items() if n == "device"}
    given: dict[str, Any] = {**project_settings("train"), **device}
    run = train(STORE, None, None, resume=False, overwrite=False, quiet=False, **given)
    expected = run.card.selection.expected or run.card.selection.doubt
    return f"{run.path} is trained" + (f". {expected}" if expected else "")


def _score(settings: Settings) -> str:
    """Score the named videos, or all; write scores, reports and pictures of events."""
    given = {**project_settings("score"), **settings}
    wanted = set(given.pop("videos", ()))
    sources = [s for s in ProjectFolder(Path()).sources() if not wanted or s.id in wanted]
    if not sources:
        raise UsageError("there is no video to score", hint="add some")
    n_events = 0
    with (
        Results(SCORES, ["csv", "json"], quiet=True) as results,
        meter("report", len(sources), unit="videos") as progress,
    ):

        def write(scores: VideoScores) -> None:
            nonlocal n_events
            results.add(scores)
            _write_report(scores)
            n_events += len(scores.events)
            progress.advance(name=scores.video)

        outcome = score_sources(
            sources, given.pop("detector", None), on_scores=write, store=STORE, **given
        )
        results.fail(outcome.failed)
    n = len(outcome.done)
    words = f"{n} video{'s' * (n != 1)} scored, {n_events} event{'s' * (n_events != 1)}"
    return words + (f"; {len(outcome.failed)} failed" if outcome.failed else "")


def _write_report(scores: VideoScores) -> None:
    """Write the report of one video, its copy beside it if it is large, and pictures of events."""
    path = path_of(scores, SCORES, "html")
    COPIES.mkdir(parents=True, exist_ok=True)
    notes = COPIES / f"{key_of(scores.video)}.name"  # the secret name of the video's copy
    if notes.exists():
        (COPIES / notes.read_text().strip()).unlink(missing_ok=True)
    name = f"{secrets.token_urlsafe(24)}.mp4"
    room = min(MOST_COPY_BYTES, shutil.disk_usage(COPIES).free // 2)
    beside = Beside(COPIES / name, f"copies/{name}", INSIDE_BYTES)
    notes.write_text(name)
    copies = make_copies(scores, room, meter=Meter(), beside=beside)
    if not copies.address:
        (COPIES / name).unlink(missing_ok=True)
        notes.unlink()
    write_report(path, [scores], copies=[copies])
    folder = STILLS / key_of(scores.video)
    shutil.rmtree(folder, ignore_errors=True)
    for event, picture in zip(scores.events, copies.thumbnails, strict=False):
        with committed(folder / f"{event.peak_frame}.jpg") as part:
            part.write_bytes(picture)


ACTIONS = {"pictures": _pictures, "prepare": _prepare, "train": _train, "score": _score}
