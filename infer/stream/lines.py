"""The output lines of `vad stream`: JSON objects of the schema `vad.stream/1`.

    start    the first line: the source, the detector, and how many snippets the detector sees
    source   "open", with the size of the picture; "lost", with the reason and the pause before
             a retry
    score    one snippet: its frames, stream time, wall-clock time, latency and score, and the box
             of what raises it, in pixels, told from the snippet alone; null if not known. `kind`
             is that of the event under way, from its first snippet up to this one
    gap      a part that is not scored: "behind" for clips dropped because this machine is too
             slow, "lost" for the time without a source
    end      the last line: why the stream ended, and the statistics of the whole stream

Stream time counts seconds from the first frame and also runs during gaps. `wall` is the time, in
UTC, at which the last frame of the snippet was decoded. `latency_s` is the time from that frame to
the line with its score: waiting, computing, and the lag of the decoder behind the source. It is
null for a file that is read as fast as it is scored.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

import numpy as np

from ..where import Box, box_dict

SCHEMA = "vad.stream/1"
RECENT = 1024  # number of latest scores whose latencies are kept for statistics

Line = dict[str, object]


@dataclass(frozen=True, slots=True)
class Moment:
    """The position of a snippet in a stream, in frames and in time."""

    snippet: int
    start_frame: int
    end_frame: int
    start_s: float  # stream time in seconds
    end_s: float
    arrived_s: float  # Unix time at which its last frame was decoded
    lag_s: float  # seconds that the decoder was behind the source at that frame
    n_jumps: int  # jumps of the time stamps that were corrected within it
    box: Box | None = None  # of what raises its score; None if the features do not tell


@dataclass
class Tally:
    """Statistics of a stream, which take constant memory. Its methods make the lines and count
    them.
    """

    is_live: bool
    n_snippets: int = 0  # number of scored snippets
    n_dropped: int = 0
    n_anomalous: int = 0
    n_lost: int = 0  # how often the source was lost
    n_jumps: int = 0  # jumps of the time stamps that were corrected, in dropped clips too
    n_rescaled: int = 0  # frames that had another size than the first
    end_s: float = 0.0  # end of the stream so far, in stream time
    recent_s: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))  # latest latencies
    started_s: float = field(default_factory=time.monotonic)

    @property
    def dropped_share(self) -> float:
        """Return the share of all clips that were dropped."""
        return self.n_dropped / max(1, self.n_dropped + self.n_snippets)

    def latency(self) -> dict[str, float] | None:
        """Return median, 95 % quantile and maximum of the latest latencies in seconds.

        Returns None if there are none.
        """
        if not self.recent_s:
            return None
        median, high, most = np.quantile(np.array(self.recent_s), [0.5, 0.95, 1.0])
        return {
            "median": round(float(median), 3),
            "p95": round(float(high), 3),
            "max": round(float(most), 3),
        }

    @property
    def wall_s(self) -> float:
        """Return the seconds since the stream was begun."""
        return time.monotonic() - self.started_s

    def score(
        self,
        moment: Moment,
        score: float,
        n_seen: int,
        threshold: float,
        once_in_s: float | None = None,
        kind: tuple[str, float | None] = ("", None),
    ) -> Line:
        """Return a `score` line, and count its snippet.

        n_seen is the number of snippets that the detector saw for this score. once_in_s: mean
        seconds between two times that held-out normal footage reaches the score; None if never, or
        not known. kind: of the event under way, with its share; "" and None if not known.
        """
        latency_s: float | None = None
        if self.is_live:
            latency_s = round(max(0.0, time.time() - moment.arrived_s) + moment.lag_s, 3)
            self.recent_s.append(latency_s)
        self.n_snippets += 1
        self.n_anomalous += score >= threshold
        self.end_s = moment.end_s
        return {
            "type": "score",
            "snippet": moment.snippet,
            "start_frame": moment.start_frame,
            "end_frame": moment.end_frame,
            "start_s": round(moment.start_s, 3),
            "end_s": round(moment.end_s, 3),
            "wall": utc(moment.arrived_s),
            "latency_s": latency_s,
            "score": round(score, 6),
            "anomalous": score >= threshold,
            "once_in_s": once_in_s and round(once_in_s, 1),
            "kind": kind[0],
            "kind_share": kind[1],
            "n_seen": n_seen,
            "n_jumps": moment.n_jumps,
            **box_dict(moment.box),
        }

    def gap(self, reason: str, n_clips: int, n_frames: int, start_s: float, end_s: float) -> Line:
        """Return a `gap` line, and count its dropped clips."""
        self.n_dropped += n_clips
        self.end_s = end_s
        return {
            "type": "gap",
            "reason": reason,
            "n_clips": n_clips,
            "n_frames": n_frames,
            "start_s": round(start_s, 3),
            "end_s": round(end_s, 3),
        }

    def lost(self, why: str, pause_s: float) -> Line:
        """Return a `source` line for a lost source, and count the loss."""
        self.n_lost += 1
        return {"type": "source", "state": "lost", "why": why, "retry_in_s": pause_s}

    def end(self, why: str) -> Line:
        """Return the `end` line."""
        figures = asdict(self)
        for name in ("is_live", "recent_s", "started_s", "end_s"):
            del figures[name]
        return {
            "type": "end",
            "why": why,
            **figures,
            "dropped_share": round(self.dropped_share, 4),
            "stream_s": round(self.end_s, 3),
            "wall_s": round(self.wall_s, 3),
            "latency_s": self.latency(),
        }


def opened(
    width: int, height: int, fps: float, codec: str, fps_assumed: bool, warning: str = ""
) -> Line:
    """Return a `source` line for a source that was opened.

    warning: why its scores deserve little belief, such as another frame rate than the training
    videos have.
    """
    size = {"width": width, "height": height, "fps": round(fps, 3), "codec": codec}
    rate = {"fps_assumed": fps_assumed, "warning": warning}
    return {"type": "source", "state": "open", **size, **rate}


def utc(unix_s: float) -> str:
    """Return a Unix time as ISO 8601 in UTC, with milliseconds."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds")
