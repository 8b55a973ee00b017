"""A child process that is connected to its parent by a socket: the code of both ends.

    parent                                              child
    ------                                              -----
                            <-------------------------- {"event": "ready"}
    a task, a line of JSON  --------------------------> works on the task
    messages                <-------------------------- lines of JSON; a message that announces
                                                        arrays is followed by their bytes
    closes its socket       --------------------------> exits at once, also during a task

The child is a new Python process and never a fork, because decoders do not survive a fork. While
the parent does not read, the socket's buffer fills and the child waits.
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
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.errors import InternalError

SOCKET_BYTES = 2**20  # buffer of the socket; a smaller one wakes both processes more often
START_LIMIT_S = 120.0  # time that a new process has for its imports


class Child:
    """The parent's handle to a child process, which runs the function `serve(Parent)` of a
    module.
    """

    def __init__(self, module: str, *, one_thread: bool = True) -> None:
        """Start the process. one_thread: its numerical libraries use one core."""
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
                # The child searches the parent's module path.
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(sys.path),
                    **(
                        dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")
                        if one_thread
                        else {}
                    ),
                },
                start_new_session=True,  # Ctrl-C reaches only the parent, which ends the child
            )

    def is_alive(self) -> bool:
        """Return True if the process is still running."""
        return self._process.poll() is None

    def wait_until_ready(self) -> None:
        """Wait until the process reports that it is ready for a task. Raises InternalError if it
        exits first, or takes longer than `START_LIMIT_S` seconds.
        """
        if self._is_ready:
            return
        self._socket.settimeout(START_LIMIT_S)
        try:
            self._receive()
        except (TimeoutError, EOFError, ConnectionError) as error:
            raise InternalError(
                f"a worker process did not start ({self.close()})", hint="see its message above"
            ) from error
        self._is_ready = True

    def kill(self) -> None:
        """Kill the process. A thread that is reading from it then gets EOFError or
        ConnectionError.
        """
        self._process.kill()

    def close(self) -> str:
        """Kill the process, wait for its exit and close the socket. Returns the exit code or the
        name of the signal that ended it, as text for a message.
        """
        self._process.kill()
        code = self._process.wait()
        self._reader.close()
        self._socket.close()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    # The methods below raise TimeoutError, EOFError or ConnectionError.

    def _send(self, task: Mapping[str, object], time_limit_s: float) -> None:
        """Send a task. From now on, every read or write on the socket may take `time_limit_s`
        seconds.
        """
        self._socket.settimeout(time_limit_s)
        self._socket.sendall(_line(task))

    def _receive(self) -> dict[str, Any]:
        line = self._reader.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        message: dict[str, Any] = json.loads(line)
        return message

    def _fill(self, array: NDArray[np.generic]) -> None:
        if self._reader.readinto(array.data.cast("B")) < array.nbytes:
            raise EOFError


class Parent:
    """The child's handle to its parent: it receives tasks and sends messages. When the parent
    closes its end of the socket, or dies, the child exits.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        threading.Thread(target=self._end_with_it, daemon=True).start()

    def tasks(self) -> Iterator[Any]:
        """Tell the parent that this process is ready, then yield its tasks, one decoded JSON value
        each, until it closes the socket.
        """
        self.send({"event": "ready"})
        # Silence stderr: what decoders write to it would disturb the parent's progress bar.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        for line in self._socket.makefile("rb"):
            yield json.loads(line)

    def send(self, message: Mapping[str, object], *arrays: NDArray[np.generic]) -> None:
        """Send a message and then the bytes of the arrays that it announces. Raises ConnectionError
        if the parent is gone.
        """
        self._socket.sendall(_line(message))
        for array in arrays:
            self._socket.sendall(np.ascontiguousarray(array).data.cast("B"))

    def _end_with_it(self) -> None:
        """Wait until the parent closes its end of the socket, then exit at once. Runs in a thread,
        so that a task in progress cannot delay the exit.
        """
        hang_up = select.poll()
        hang_up.register(self._socket, 0)  # wait for hang-up and errors alone, not for data
        hang_up.poll()
        os._exit(0)


def limit_memory(n_bytes: int) -> None:
    """Limit the address space of this process to `n_bytes`, so that a file which needs more fails
    here and does not fill the machine's memory. Has an effect on Linux only.
    """
    if sys.platform == "linux":  # other systems do not enforce this limit
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        soft = n_bytes if hard == resource.RLIM_INFINITY else min(n_bytes, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _line(message: Mapping[str, object]) -> bytes:
    return json.dumps(message).encode() + b"\n"
