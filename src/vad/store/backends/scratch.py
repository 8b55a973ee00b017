"""Temporary folders in which videos are written, named by the process that writes them."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
from pathlib import Path

_count = itertools.count()


def new_scratch(folder: Path) -> Path:
    """Return a path in `folder` that only this process uses; nothing is created yet."""
    return folder / f"{owner()}-{next(_count)}"


def sweep(folder: Path) -> None:
    """Remove the temporary folders of processes of this host that have ended."""
    for left in folder.glob(f"{socket.gethostname()}-*"):
        if is_dead(left.name):
            shutil.rmtree(left, ignore_errors=True)


def owner() -> str:
    """Return the name of this process: its host and its process id."""
    return f"{socket.gethostname()}-{os.getpid()}"


def is_dead(name: str) -> bool:
    """Return True if the process that `name` begins with (see `owner`) ran on this host and has
    ended.

    Return False for a process of another host, whose state cannot be known here.
    """
    host = socket.gethostname()
    pid = name.removeprefix(f"{host}-").partition("-")[0]
    if not name.startswith(f"{host}-") or not pid.isdigit() or int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
