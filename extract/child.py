"""A process of our own at the other end of a socket: both ends.

    this process                                        the child
    ------------                                        ---------
                            <-------------------------- {"event": "ready"}
    a task, a line of JSON  --------------------------> works on it
    messages                <-------------------------- lines of JSON; after those that announce
                                                        arrays, the bytes of the arrays
    its end of the socket closes ---------------------> ends, whatever it is doing

It is a new Python process, never a fork, which decoders do not survive. Where nobody reads, the
socket fills and the child waits.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.errors import InternalError

SOCKET_BYTES = 2**20  # in flight; with less, both sides wake up more often
START_LIMIT_S = 120.0  # for a new process to import what it needs


class Child:
    """The process, seen from here. It runs `serve(Parent)` of a module."""

    def __init__(self, module: str) -> None:
        self._socket, theirs = socket.socketpair()
        for end in (self._socket, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BYTES)
        self._reader = self._socket.makefile("rb")
        self._is_ready = False
        code = (
            f"from {__name__} import Parent; from {module} import serve; "
            f"serve(Parent({theirs.fileno()}))"
        )
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", code],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # It finds the modules that this process finds, and starts no threads for algebra.
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(sys.path),
                    "OPENBLAS_NUM_THREADS": "1",
                    "OMP_NUM_THREADS": "1",
                },
                start_new_session=True,  # Ctrl-C is for this process, which ends the child
            )

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def wait_until_ready(self) -> None:
        """Raises InternalError if the process does not get as far as waiting for a task."""
        if self._is_ready:
            return
        self._socket.settimeout(START_LIMIT_S)
        try:
            self._receive()
        except (TimeoutError, EOFError, ConnectionError) as error:
            raise InternalError(
                f"a decoder process did not start ({self.close()})", hint="see its message above"
            ) from error
        self._is_ready = True

    def kill(self) -> None:
        """End the process; who reads from it is told that it died."""
        self._process.kill()

    def close(self) -> str:
        """End the process and let go of all it holds. Returns how it ended."""
        self._process.kill()
        code = self._process.wait()
        self._reader.close()
        self._socket.close()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    # What follows raises TimeoutError, EOFError or ConnectionError.

    def _send(self, task: dict[str, Any], time_limit_s: float) -> None:
        """Give it a task, and so much time for every part of its answer."""
        self._socket.settimeout(time_limit_s)
        self._socket.sendall(_line(task))

    def _receive(self) -> dict[str, Any]:
        line = self._reader.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        message: dict[str, Any] = json.loads(line)
        return message

    def _fill(self, array: NDArray[Any]) -> None:
        if self._reader.readinto(array.data.cast("B")) < array.nbytes:
            raise EOFError


class Parent:
    """The process that started this one, seen from the child. Without it the child ends."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        threading.Thread(target=self._end_with_it, daemon=True).start()

    def tasks(self) -> Iterator[Any]:
        """Say that this process is ready; then what it is told to do, task by task."""
        self.send({"event": "ready"})
        # What decoders write to stderr from here on would run through the parent's progress bar.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        for line in self._socket.makefile("rb"):
            yield json.loads(line)

    def send(self, message: dict[str, Any], *arrays: NDArray[Any]) -> None:
        """Send a message, and the arrays that it announces. Raises ConnectionError."""
        self._socket.sendall(_line(message))
        for array in arrays:
            self._socket.sendall(np.ascontiguousarray(array).data.cast("B"))

    def _end_with_it(self) -> None:
        """End this process when its parent's end of the socket closes, whatever it is doing."""
        hang_up = select.poll()
        hang_up.register(self._socket, 0)  # of all events, only those that cannot be masked
        hang_up.poll()
        os._exit(0)


def limit_memory(n_bytes: int) -> None:
    """Let a file that would fill the machine's memory fail in this process."""
    if sys.platform == "linux":  # others do not keep to this limit
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        soft = n_bytes if hard == resource.RLIM_INFINITY else min(n_bytes, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"
