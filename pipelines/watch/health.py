"""What cameras suffer from, and figures of the process for Prometheus."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
from numpy.typing import NDArray

from vad.errors import UsageError
from vad.stages.train.familiarity import Familiarity

DARK = 12.0  # mean brightness, 0 to 255, below which a picture is dark
STILL = 1e-6  # mean difference of successive pictures up to which they are the same
MOVED = 0.4  # correlation with the usual picture below which the camera was moved
SIDE_PX = 32  # of the small grey pictures that are compared
LEARN_S = 600.0  # time constant of the usual picture, and how long a moved camera stays so
FAMILIAR_SNIPPETS = 64  # that are compared with what the run knows
FAMILIAR_EVERY = 16  # snippets between two comparisons

Small = NDArray[np.float32]  # [SIDE_PX, SIDE_PX], grey, mean 0 and deviation 1


class Health:
    """Watches the pictures of one camera.

    The state is "ok", "lost" (no pictures come), "dark", "frozen" (all pictures are the same),
    "moved" (unlike the usual picture) or "unfamiliar" (its features are unlike all that the run
    knows). A state other than lost is told after it has lasted `hold_s` seconds.
    """

    def __init__(self, familiarity: Familiarity | None, hold_s: float = 10.0) -> None:
        self.state = "ok"
        self._hold_s, self._known = hold_s, familiarity
        self._now, self._since_s = "ok", 0.0
        self._usual: Small | None = None
        self._moved_since_s: float | None = None
        self._last: NDArray[np.uint8] | None = None
        self._rows: deque[NDArray[np.generic]] = deque(maxlen=FAMILIAR_SNIPPETS)
        self._n_rows, self._n_strange = 0, 0

    def lose(self) -> str | None:
        """Note that no pictures come. Returns "lost" if this is news, else None."""
        self._last, self._now = None, "lost"
        return self._tell("lost")

    def see(self, rgb: NDArray[np.uint8], end_s: float) -> str | None:
        """Look at the pictures of a clip [pictures, height, width, 3], which ended at a Unix time.

        Returns the state if it is another one now, else None.
        """
        found = self._look(rgb, end_s)
        if found != self._now:
            self._now, self._since_s = found, end_s
        if found == self.state:
            return None
        returned = self.state == "lost" and found == "ok"
        held = end_s - self._since_s >= self._hold_s
        return self._tell(found) if returned or held else None

    def see_features(self, rows: Mapping[str, NDArray[np.generic]]) -> None:
        """Note the arrays [1, ...] of a snippet, by name, for the comparison with what is known."""
        if self._known is None or self._known.array not in rows:
            return
        self._rows.append(rows[self._known.array][0])
        self._n_rows += 1
        if len(self._rows) == FAMILIAR_SNIPPETS and self._n_rows % FAMILIAR_EVERY == 0:
            is_strange = self._known.of(np.stack(self._rows)) == 0
            self._n_strange = self._n_strange + 1 if is_strange else 0

    def _tell(self, state: str) -> str | None:
        if state == self.state:
            return None
        self.state = state
        return state

    def _look(self, rgb: NDArray[np.uint8], end_s: float) -> str:
        first, last = (cv2.cvtColor(rgb[i], cv2.COLOR_RGB2GRAY) for i in (0, -1))
        before, self._last = self._last, last
        if last.mean() < DARK:
            return "dark"
        same = (cv2.absdiff(first, last).mean() <= STILL) and (
            before is not None
            and before.shape == first.shape
            and cv2.absdiff(before, first).mean() <= STILL
        )
        if same:
            return "frozen"
        if self._is_moved(last, end_s):
            return "moved"
        return "unfamiliar" if self._n_strange >= 2 else "ok"

    def _is_moved(self, grey: NDArray[np.uint8], end_s: float) -> bool:
        small = cv2.resize(grey, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
        picture = small.astype(np.float32) - small.mean()
        picture /= max(float(picture.std()), 1.0)
        if self._usual is None:
            self._usual = picture
        if float((picture * self._usual).mean()) >= MOVED:
            self._moved_since_s = None
            self._usual += (picture - self._usual) * np.float32(1 / LEARN_S)
            return False
        if self._moved_since_s is None:
            self._moved_since_s = end_s
        if end_s - self._moved_since_s > LEARN_S:  # it stays there: this is what is usual now
            self._usual, self._moved_since_s = picture, None
            return False
        return True


# --- Prometheus

Figure = tuple[str, str, Mapping[str, str], float]  # name, help, labels, value


def host_and_port(address: str) -> tuple[str, int]:
    """Split the address that figures are served at, such as 127.0.0.1:9100 or :9100.

    Raises UsageError if it is none.
    """
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or int(port) > 65_535:
        raise UsageError(f"metrics: {address!r} is no address such as 127.0.0.1:9100")
    return host or "127.0.0.1", int(port)


class Metrics:
    """A server that answers GET /metrics in the text format of Prometheus."""

    def __init__(self, address: str, figures: Callable[[], Iterable[Figure]]) -> None:
        host, port = host_and_port(address)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path != "/metrics":
                    self.send_error(404)
                    return
                body = in_text(figures()).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise UsageError(f"metrics: {address!r} cannot be served: {error}") from None
        self._server.daemon_threads = True
        self.address = f"{host}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def in_text(figures: Iterable[Figure]) -> str:
    """Return figures in the text format of Prometheus; those of one name must be neighbours."""
    lines, last = [], ""
    for name, words, labels, value in figures:
        if name != last:
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
            last = name
        escaped = (
            (key, text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n"))
            for key, text in labels.items()
        )
        shown = ",".join(f'{key}="{text}"' for key, text in escaped)
        lines.append(f"{name}{{{shown}}} {value:g}" if shown else f"{name} {value:g}")
    return "\n".join(lines) + "\n"
