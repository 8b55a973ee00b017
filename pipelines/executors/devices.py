"""Run an extraction on several GPUs of one machine: one process per GPU, all into one store."""

from __future__ import annotations

import multiprocessing
import queue
import signal
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.queues import Queue

from vad.errors import InternalError, VadError, VideoError
from vad.stages.extract.outcome import Ended
from vad.stages.extract.runner import VideoRunner
from vad.stages.extract.sources import Source

POLL_S = 0.5  # seconds between checks that the processes are alive


@dataclass(frozen=True)
class _Finished:
    """The message of a process that has no more videos, or that stops because of the error."""

    error: VadError | None = None


def on_devices(
    runner: VideoRunner, todo: Sequence[Source], devices: Sequence[str]
) -> Generator[Ended]:
    """Process videos, each on the first device that is free; yield how each ended.

    The decoder processes are divided among the devices. If a process dies, its video is reported as
    `crashed` and the other processes do the rest. Raises an error that a process raises, such as
    UsageError if a device does not exist.
    """
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    tasks: Queue[Source | None] = context.Queue()
    ends: Queue[Ended | _Finished] = context.Queue()
    for source in [*todo, *[None] * len(devices)]:
        tasks.put(source)
    n_workers = max(1, runner.decoding.workers // len(devices))
    processes = [
        context.Process(
            target=_work, args=(runner.on(device), tasks, ends, n_workers), daemon=False
        )
        for device in devices
    ]
    for process in processes:
        process.start()
    left = {source.id: source for source in todo}
    n_running = len(processes)
    try:
        while n_running and left:
            try:
                told = ends.get(timeout=POLL_S)
            except queue.Empty:
                if not any(process.is_alive() for process in processes):
                    break
                continue
            if isinstance(told, Ended):
                del left[told.source.id]
                yield told
                continue
            n_running -= 1
            if told.error is not None:
                raise told.error
        for source in left.values():
            what = f"a process of --device {','.join(devices)} died while it was under way"
            yield Ended(source, VideoError("crashed", what, hint="run again"))
    finally:
        for process in processes:
            process.terminate()
            process.join()
        tasks.cancel_join_thread()


def _work(
    runner: VideoRunner, tasks: Queue[Source | None], ends: Queue[Ended | _Finished], n_workers: int
) -> None:
    """The main function of a process: it processes the videos in `tasks` until it takes a None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it, too, and ends this process
    try:
        for end in runner.process(_sources(tasks), n_workers):
            ends.put(end)
    except VadError as error:
        ends.put(_Finished(error))
    except Exception as error:
        what = f"the process on {runner.device} failed: {type(error).__name__}: {error}"
        ends.put(_Finished(InternalError(what)))
    else:
        ends.put(_Finished())


def _sources(tasks: Queue[Source | None]) -> Iterator[Source]:
    while (source := tasks.get()) is not None:
        yield source
