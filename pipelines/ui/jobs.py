"""The queue behind the page: videos are scored one at a time, as by `vad score`."""

from __future__ import annotations

import hmac
import queue
import secrets
import shutil
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vad.errors import UsageError, VadError, VideoError
from vad.stages.infer.report import write_report
from vad.stages.infer.scores import VideoScores
from vad.stages.infer.video.copies import Beside, make_copies
from vad.stages.infer.writers import path_of, save
from vad.terminal import plain

from ..score import score_file

FORMATS = {"html": "text/html; charset=utf-8", "json": "application/json", "csv": "text/csv"}
N_WAITING = 16
N_KEPT = 50  # finished jobs whose files are kept; the oldest are deleted first
INSIDE_BYTES = 4 * 2**20  # a copy up to this size is put into its report; a larger one is a file
KEPT_BYTES = 8 * 10**9  # limit for all files of finished jobs, and for the copy of one video


@dataclass
class Job:
    """One video in the queue, with its state and its result files."""

    number: int
    name: str  # name of the video as the person gave it
    video: Path
    folder: Path  # for the result files
    is_upload: bool
    state: str = "waiting"  # later scoring, writing, and finally done or failed
    says: str = ""  # one line: the result, or why it failed
    began_s: float | None = None  # Unix time
    took_s: float | None = None
    files: dict[str, Path] = field(default_factory=dict)  # format -> file
    n_bytes: int = 0  # total size of the result files
    key: str = field(
        default_factory=secrets.token_urlsafe
    )  # secret part of the address of the copy

    @property
    def copy(self) -> Path:
        """Return the path of the copy that browsers can play. There is no such file if the report
        contains the copy.
        """
        return self.folder / f"{self.key}.mp4"

    def to_dict(self) -> dict[str, object]:
        """Return the fields that the page shows, as JSON values."""
        running_s = None if self.began_s is None else time.time() - self.began_s
        return {
            "job": self.number,
            "name": plain(self.name),
            "state": self.state,
            "says": self.says,
            "seconds": round(self.took_s or running_s or 0.0, 1),
            "files": sorted(self.files),
        }


class Jobs:
    """The list of jobs, and the thread that works on them until the process ends."""

    def __init__(self, detector: Path, folder: Path, settings: dict[str, Any]) -> None:
        self._detector, self._folder, self._settings = detector, folder, settings
        self._jobs: dict[int, Job] = {}
        self._waiting: queue.Queue[Job] = queue.Queue(N_WAITING)
        self._lock = threading.Lock()
        self._n_jobs = 0
        threading.Thread(target=self._work, daemon=True).start()

    def new_folder(self) -> tuple[int, Path]:
        """Return the number of the next job, and a new empty folder for its files."""
        with self._lock:
            self._n_jobs += 1
            number = self._n_jobs
        folder = self._folder / str(number)
        folder.mkdir()
        return number, folder

    def add(self, number: int, folder: Path, video: Path, *, is_upload: bool) -> Job:
        """Put a video into the queue. Raises UsageError if the queue is full."""
        job = Job(number, video.name, video, folder, is_upload)
        try:
            self._waiting.put_nowait(job)
        except queue.Full:
            shutil.rmtree(folder, ignore_errors=True)
            raise UsageError(
                f"{N_WAITING} videos wait already", hint="come back when some are done"
            ) from None
        with self._lock:
            self._jobs[number] = job
        return job

    def all(self) -> list[Job]:
        """Return every job that is kept, the newest first."""
        with self._lock:
            return list(reversed(self._jobs.values()))

    def file(self, number: int, name: str) -> Path | None:
        """Return a result file of a job by its format; None if there is no such job or file."""
        with self._lock:
            job = self._jobs.get(number)
        return job.files.get(name) if job else None

    def copy(self, key: str) -> Path | None:
        """Return the video copy of the job whose secret key is `key`; None if no finished job has
        it.
        """
        given = key.encode()
        same = (j for j in self.all() if j.files and hmac.compare_digest(j.key.encode(), given))
        return next((job.copy for job in same), None)

    def _work(self) -> None:
        while True:
            job = self._waiting.get()
            job.began_s = time.time()
            job.state = "scoring"
            state, says = self._try(job)
            if job.is_upload:
                job.video.unlink(missing_ok=True)
            job.n_bytes = sum(path.stat().st_size for path in job.folder.iterdir())
            self._forget_oldest()
            job.took_s = time.time() - job.began_s
            job.says, job.state = says, state

    def _try(self, job: Job) -> tuple[str, str]:
        """Run a job; return its final state, "done" or "failed", and one line for the page."""
        try:
            return "done", self._do(job)
        except VideoError as error:
            return "failed", f"{error} ({error.reason})"
        except VadError as error:
            return "failed", str(error)
        except Exception as error:  # one video must not end the page
            return "failed", f"internal error, {type(error).__name__}: {error}"

    def _do(self, job: Job) -> str:
        scores: VideoScores = score_file(job.video, self._detector, **self._settings)
        job.state = "writing"
        files = {name: path_of(scores, job.folder, name) for name in FORMATS}
        save(scores, job.folder, (name for name in FORMATS if name != "html"))
        room_bytes = shutil.disk_usage(job.folder).free // 2
        most_bytes = min(KEPT_BYTES, room_bytes)
        beside = Beside(job.copy, f"../../copies/{job.key}", INSIDE_BYTES)
        copies = make_copies(scores, most_bytes, beside=beside)
        write_report(files["html"], [scores], copies=[copies])
        job.files = files
        return scores.summary

    def _forget_oldest(self) -> None:
        """Delete the oldest finished jobs until number and size are within the limits."""
        with self._lock:
            for old in [job for job in self._jobs.values() if job.state in ("done", "failed")]:
                n_bytes = sum(job.n_bytes for job in self._jobs.values())
                if len(self._jobs) <= N_KEPT and n_bytes <= KEPT_BYTES:
                    return
                del self._jobs[old.number]
                shutil.rmtree(old.folder, ignore_errors=True)
