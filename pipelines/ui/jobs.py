"""The queue behind the page: jobs are done one at a time, by a worker process."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vad.errors import UsageError
from vad.stages.extract.child import Child
from vad.terminal import plain

WORKER = "vad.stages.pipelines.ui.worker"
SILENCE_S = 7 * 86_400.0  # a job that says nothing for this long has failed
N_WAITING = 16
N_KEPT = 20  # ended jobs that the page lists
N_LINES = 200  # of the log of a job
TITLES = {
    "pictures": "Make pictures",
    "prepare": "Make features",
    "train": "Train",
    "score": "Score videos",
}  # what each kind of job is called

State = Literal["waiting", "running", "done", "failed", "cancelled"]


@dataclass
class Job:
    """A job in the queue, with its state and its progress."""

    number: int
    kind: str
    settings: Mapping[str, Any]
    state: State = "waiting"
    says: str = ""  # one line: the result, or why it failed
    share: float = 0.0  # how much of the present step is done, 0 to 1
    words: str = ""  # the present step
    began_s: float | None = None  # Unix time
    took_s: float | None = None
    log: deque[str] = field(default_factory=lambda: deque(maxlen=N_LINES))

    @property
    def has_ended(self) -> bool:
        """Return True if nothing more happens to it."""
        return self.state in ("done", "failed", "cancelled")

    def to_dict(self) -> dict[str, object]:
        """Return the fields that the page shows, as JSON values."""
        running_s = 0.0 if self.began_s is None else time.time() - self.began_s
        return {
            "job": self.number,
            "kind": self.kind,
            "title": TITLES[self.kind],
            "state": self.state,
            "says": self.says,
            "share": round(self.share, 3),
            "words": self.words,
            "seconds": round(running_s if self.took_s is None else self.took_s),
            "log": list(self.log)[-8:],
        }


class _Worker(Child):
    """The parent's handle to the worker process."""

    def do(self, task: Mapping[str, object]) -> Iterator[dict[str, Any]]:
        """Send a job, and yield its messages up to the last, which has a `state`.

        Raises EOFError or ConnectionError if the process ends.
        """
        self.wait_until_ready()
        self._send(task, SILENCE_S)
        while True:
            message = self._receive()
            yield message
            if "state" in message:
                return


class Jobs:
    """The list of jobs, and the thread that passes them to the worker process."""

    def __init__(self, project: Path, settings: Mapping[str, Any]) -> None:
        self._project, self._settings = project.resolve(), settings
        self._jobs: list[Job] = []
        self._changed = threading.Condition()
        self._worker: _Worker | None = None
        self._is_closed = False
        self._n_jobs = 0
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def add(self, kind: str, **settings: Any) -> Job:
        """Put a job into the queue, unless the same one waits already, and return it.

        Raises UsageError if the queue is full.
        """
        if kind not in TITLES:
            raise UsageError(f"there is no job {kind!r}")
        with self._changed:
            waiting = [job for job in self._jobs if job.state == "waiting"]
            chosen = {**self._settings.get(kind, {}), **settings}
            for job in waiting:
                if (job.kind, job.settings) == (kind, chosen):
                    return job
            if len(waiting) >= N_WAITING:
                raise UsageError(
                    f"{N_WAITING} jobs wait already", hint="come back when some are done"
                )
            self._n_jobs += 1
            job = Job(self._n_jobs, kind, chosen)
            ended = [job for job in self._jobs if job.has_ended]
            for old in ended[: max(0, len(ended) - N_KEPT)]:
                self._jobs.remove(old)
            self._jobs.append(job)
            self._changed.notify_all()
            return job

    def all(self) -> list[Job]:
        """Return the jobs that are kept, the newest first."""
        with self._changed:
            return list(reversed(self._jobs))

    def is_busy(self) -> bool:
        """Return True if a job is waiting or running."""
        return any(not job.has_ended for job in self.all())

    def cancel(self, number: int) -> Job | None:
        """End a job; return it, or None if there is no such job."""
        with self._changed:
            job = next((job for job in self._jobs if job.number == number), None)
            if job is None or job.has_ended:
                return job
            if job.state == "running" and self._worker:
                self._worker.kill()
            job.state, job.says = "cancelled", "cancelled"
            self._changed.notify_all()
            return job

    def close(self) -> None:
        """End the worker process and the thread."""
        with self._changed:
            self._is_closed = True
            if self._worker:
                self._worker.kill()
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while job := self._next():
            try:
                self._do(job)
            except Exception as error:  # whatever it is, the next job is done
                how = self._end_worker() or str(error)
                self._end(job, "failed", f"the worker process ended ({how}); it is started again")
        self._end_worker()

    def _next(self) -> Job | None:
        """Wait for the next job, and mark it as running. Returns None when the queue is closed."""
        with self._changed:
            while True:
                if self._is_closed:
                    return None
                job = next((job for job in self._jobs if job.state == "waiting"), None)
                if job:
                    job.state, job.began_s = "running", time.time()
                    return job
                self._changed.wait()

    def _do(self, job: Job) -> None:
        worker = self._worker
        if worker is None or not worker.is_alive():
            self._end_worker()
            worker = _Worker(WORKER, one_thread=False)
            with self._changed:
                self._worker = worker
                if job.has_ended or self._is_closed:  # cancelled while the process started
                    return
        task = {"project": str(self._project), "kind": job.kind, "settings": job.settings}
        for message in worker.do(task):
            if "state" in message:
                self._end(job, message["state"], message["says"])
            elif "log" in message:
                job.log.append(message["log"])
            else:
                job.share, job.words = message["share"], plain(message["words"])

    def _end(self, job: Job, state: State, says: str) -> None:
        with self._changed:
            job.took_s = time.time() - (job.began_s or time.time())
            if not job.has_ended:
                job.state, job.says = state, says

    def _end_worker(self) -> str:
        """Close the worker process; return how it ended, or "" if there is none."""
        with self._changed:
            worker, self._worker = self._worker, None
        return worker.close() if worker else ""
