"""A pool of decoder processes, so that a video which crashes its decoder harms no other video.

If a worker process dies or stops answering, only the video that it was decoding fails; a new worker
takes its place.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from vad.errors import InternalError, VideoError
from vad.grid import ClipGrid, Tail

from . import DecoderName, check_decoder
from .video import DecodeReport, Limits
from .worker import Clips, Decoded, Empty, Event, Failed, Opened, Worker, empty_array

__all__ = ["Clips", "DecodeReport", "Decoded", "DecoderPool", "Event", "Failed", "Opened"]

VIDEOS_PER_WORKER = 1000  # then the worker is replaced: decord leaks about 20 kB per video


class DecoderPool:
    """Decoder processes, which are started when there is work and ended with the `with` block.

    clips_per_block
        Clips in every `Clips` event except a video's last; fewer if the frames are so large that
        the clips would need more than `BLOCK_BYTES`.
    empty
        Allocates the memory that clips are received in, such as memory that a GPU reads directly.
    counts
        Decode every video twice: first to count its frames (`VideoInfo.n_frames`).
    time_limit_s
        A worker that sends nothing for this long, while the pool waits for it, is killed.
    """

    def __init__(
        self,
        n_workers: int,
        *,
        clips_per_block: int,
        tail: Tail,
        decoder: DecoderName = "auto",
        limits: Limits | None = None,
        time_limit_s: float = 60.0,
        accept_truncated: bool = False,
        counts: bool = False,
        empty: Empty = empty_array,
    ) -> None:
        if n_workers < 1 or clips_per_block < 1:
            raise InternalError(f"{n_workers} workers, {clips_per_block} clips: at least one each")
        check_decoder(decoder)
        self.n_workers = n_workers
        self.clips_per_block = clips_per_block
        self.time_limit_s = time_limit_s
        self.empty = empty
        self._settings: dict[str, object] = {
            "tail": ClipGrid(tail).tail,
            "decoder": decoder,
            "limits": asdict(limits or Limits()),
            "accept_truncated": accept_truncated,
            "counts": counts,
        }
        self._idle: list[Worker] = []
        self._run: _Run | None = None

    def __enter__(self) -> DecoderPool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._run is not None:
            self._run.stop()
        while self._idle:
            self._idle.pop().close()

    def decode(self, paths: Iterable[Path]) -> Iterator[Event]:
        """Decode several videos at once and yield their events as they come, in order for each
        video.

        A video's events are one `Opened`, any number of `Clips` and one `Decoded`; or, at any
        point, one `Failed`, which is its last. Raises InternalError if decoder processes cannot be
        started, and any error that iterating over `paths` raises.
        """
        if self._run is not None:
            raise InternalError("this pool is decoding already")
        self._run = run = _Run(self, self._idle, self._settings, paths)
        try:
            yield from run.events()
        finally:
            run.stop()
            self._run = None


class _Run:
    """One call of `decode`: one thread per worker, which sends it videos and collects its
    events.

    Each thread reads one block more than the queue holds. So decoding and transport go on while the
    consumer computes, and the memory in use stays bounded.
    """

    def __init__(
        self,
        pool: DecoderPool,
        idle: list[Worker],
        settings: dict[str, object],
        paths: Iterable[Path],
    ) -> None:
        self._pool, self._idle, self._settings = pool, idle, settings
        self._todo = enumerate(paths)
        self._todo_lock = threading.Lock()
        self._events: queue.Queue[Event | Exception | None] = queue.Queue(maxsize=1)
        self._busy: set[Worker] = set()
        self._stopped = False
        self._lock = threading.Lock()  # guards _idle, _busy and _stopped
        self._threads = [
            threading.Thread(target=self._feed, daemon=True) for _ in range(pool.n_workers)
        ]
        for thread in self._threads:
            thread.start()

    def events(self) -> Iterator[Event]:
        n_running = len(self._threads)
        while n_running:
            event = self._events.get()
            if event is None:
                n_running -= 1
            elif isinstance(event, Exception):
                raise event
            else:
                yield event

    def stop(self) -> None:
        """Kill the busy workers and wait for all threads to end."""
        with self._lock:
            self._stopped = True
            for worker in self._busy:
                worker.kill()
        while any(thread.is_alive() for thread in self._threads):
            try:  # a thread may be blocked on the full queue
                self._events.get(timeout=0.01)
            except queue.Empty:
                continue

    def _feed(self) -> None:
        try:
            while True:
                with self._todo_lock:
                    index, path = next(self._todo, (-1, None))
                worker = None if path is None else self._borrow()
                if path is None or worker is None:
                    return
                self._decode(worker, index, path)
        except Exception as error:  # `events` raises it in the consumer's thread
            self._events.put(error)
        finally:
            self._events.put(None)

    def _borrow(self) -> Worker | None:
        """Return a worker for one video, or None if the run has been stopped."""
        with self._lock:
            if self._stopped:
                return None
            while self._idle:
                worker = self._idle.pop()
                if worker.is_alive():
                    break
                worker.close()
            else:
                worker = Worker()
            self._busy.add(worker)
            return worker

    def _decode(self, worker: Worker, index: int, path: Path) -> None:
        pool, limit_s = self._pool, self._pool.time_limit_s
        try:
            worker.wait_until_ready()
            task = {"path": os.path.abspath(path), **self._settings}
            for event in worker.decode(index, task, pool.clips_per_block, limit_s, pool.empty):
                self._events.put(event)
        except TimeoutError:
            worker.close()
            error = VideoError(
                "timeout", f"its decoder was silent for {limit_s:g} s", hint="raise --time-limit"
            )
            self._events.put(Failed(index, error))
        except (EOFError, ConnectionError):
            error = VideoError("crashed", f"its decoder process died ({worker.close()})")
            self._events.put(Failed(index, error))
        finally:
            with self._lock:
                self._busy.remove(worker)
                done = worker.n_videos >= VIDEOS_PER_WORKER
                if self._stopped or done or not worker.is_alive():
                    worker.close()
                else:
                    self._idle.append(worker)
