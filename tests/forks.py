"""Python processes that start with everything loaded, each a fork of one that has imported it.

Importing torch takes seconds, and every new process of a test would do it again. A fork has
streams, signals, a working folder and an exit code of its own, as `python -m vad` has; so tests of
these use it in place of `subprocess`.
"""

from __future__ import annotations

import gc
import importlib
import json
import multiprocessing
import os
import runpy
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Mapping, Sequence
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import IO, Any

LOADED = (  # what commands import when they run
    "pydantic",  # of typer
    "sklearn.metrics",
    "torch._dynamo",
    "vad.stages.infer.evaluation.run",
    "vad.stages.pipelines.cli",
    "vad.stages.pipelines.executors.run",
    "vad.stages.pipelines.project",
    "vad.stages.pipelines.score",
    "vad.stages.pipelines.watch.loop",
    "vad.stages.train.ensemble",
    "vad.store.verify",
    "vad.verbs",
)
STREAMS = ("stdin", "stdout", "stderr")
MOST_BYTES = 1 << 18  # of a task


class Forks:
    """Starts processes; a context manager."""

    def __enter__(self) -> Forks:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(number)],
                pass_fds=[number],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        self._process.wait()

    def start(
        self,
        *words: object,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        closed: Sequence[int] = (),
        is_leader: bool = False,
    ) -> Process:
        """Start `python WORDS`, where WORDS begin with -m MODULE, -c CODE or a script.

        closed: the standard streams that are closed in it. is_leader: it begins a session.
        """
        task = {
            "words": [str(word) for word in words],
            "env": dict(os.environ if env is None else env),
            "cwd": str(cwd or Path.cwd()),
            "closed": list(closed),
            "is_leader": is_leader,
        }
        mine, theirs = zip(*(os.pipe()[:: -1 if n == 0 else 1] for n in range(4)), strict=True)
        socket.send_fds(self._channel, [json.dumps(task).encode()], theirs)
        for number in theirs:
            os.close(number)
        return Process([str(word) for word in words], mine)

    def run(
        self, *words: object, check: bool = False, timeout: float | None = None, **how: Any
    ) -> subprocess.CompletedProcess[str]:
        """Wait for a process that gets no input; return its exit code and what it printed."""
        process = self.start(*words, **how)
        out, err = process.communicate(timeout=timeout)
        done = subprocess.CompletedProcess(process.args, process.wait(), out, err)
        if check:
            done.check_returncode()
        return done


class Process:
    """A process that was started: what tests use of `subprocess.Popen`."""

    def __init__(self, args: list[str], files: Sequence[int]) -> None:
        """files: the ends of pipes to its standard streams, and to what tells of its end."""
        self.args = args
        self.returncode: int | None = None
        self.stdin: IO[str] = open(files[0], "w")  # noqa: SIM115  # the test closes them
        self.stdout: IO[str] = open(files[1])  # noqa: SIM115
        self.stderr: IO[str] = open(files[2])  # noqa: SIM115
        self._told: IO[str] = open(files[3])  # noqa: SIM115
        self.pid = int(self._told.readline())

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code; that of a process that a signal killed is negative."""
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            with self._told:
                self.returncode = int(self._told.readline())
        return self.returncode

    def communicate(
        self, input: str | None = None, timeout: float | None = None
    ) -> tuple[str, str]:
        """Give it its input, wait for its end, and return what it wrote to stdout and stderr."""
        end = time.monotonic() + timeout if timeout else None
        found = {}
        readers = [
            threading.Thread(target=lambda n=n: found.update({n: getattr(self, n).read()}))
            for n in STREAMS[1:]
        ]
        for reader in readers:
            reader.daemon = True
            reader.start()
        with self.stdin:
            self.stdin.write(input or "")
        for reader in readers:
            reader.join(None if end is None else max(0, end - time.monotonic()))
            if reader.is_alive():
                self.kill()
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.wait(None if end is None else max(0, end - time.monotonic()))
        self._close()
        return found["stdout"], found["stderr"]

    def send_signal(self, number: int) -> None:
        """Send a signal, unless its end is known."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(9)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self.wait()

    def _close(self) -> None:
        for name in STREAMS:
            getattr(self, name).close()


# --- the process that forks


def serve(channel: socket.socket) -> None:
    """Start a process for every task, and tell its end, until nobody is there who gives tasks."""
    forks = multiprocessing.get_context("fork")
    running: dict[int, tuple[ForkProcess, int]] = {}
    while True:
        for ready in wait([channel, *running]):
            if isinstance(ready, int):
                process, told = running.pop(ready)
                process.join()
                os.write(told, f"{process.exitcode}\n".encode())
                os.close(told)
                continue
            message, files, _, _ = socket.recv_fds(channel, MOST_BYTES, 4)
            if not message:
                return
            *streams, told = files
            process = forks.Process(target=become, args=(json.loads(message), streams))
            process.start()
            for number in streams:
                os.close(number)
            os.write(told, f"{process.pid}\n".encode())
            running[process.sentinel] = process, told


def become(task: dict[str, Any], streams: Sequence[int]) -> None:
    """Run what a task names, as a new interpreter would."""
    if task["is_leader"]:
        os.setsid()
    for number, file in enumerate(streams):
        os.dup2(file, number)
        os.close(file)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  # multiprocessing has closed it
    for number in task["closed"]:
        os.close(number)
        setattr(sys, STREAMS[number], None)
    os.chdir(task["cwd"])
    os.environ.clear()
    os.environ.update(task["env"])
    tempfile.tempdir = None  # that of another environment
    kind, *words = task["words"]
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    sys.path[0] = "" if kind in ("-m", "-c") else str(Path(kind).parent)
    if kind == "-m":
        sys.argv = words
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv = ["-c", *words[1:]]
        exec(compile(words[0], "<string>", "exec"), vars(main))  # noqa: S102  # as Python does
    else:
        sys.argv = task["words"]
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as tasks:
        for name in LOADED:
            importlib.import_module(name)
        gc.collect()
        gc.freeze()
        serve(tasks)
    os._exit(0)  # triton complains of objects that nothing collects
