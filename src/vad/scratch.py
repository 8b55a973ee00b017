"""Temporary files and folders, named by the process that writes them.

A process that is killed leaves them behind; the next one that writes there removes them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socket
from pathlib import Path

PART = ".part"  # suffix of temporary files
_count = itertools.count()


def new_scratch(folder: Path) -> Path:
    """Return a path in `folder` that only this process uses; nothing is created yet."""
    return folder / f"{owner()}-{next(_count)}"


def new_part(folder: Path) -> Path:
    """Return the path of a temporary file in `folder`, which only this process uses."""
    return folder / f".{owner()}-{next(_count)}{PART}"


def sweep(folder: Path) -> None:
    """Remove the temporary folders of processes of this host that have ended."""
    for left in folder.glob(f"{socket.gethostname()}-*"):
        if is_dead(left.name):
            shutil.rmtree(left, ignore_errors=True)


def sweep_parts(folder: Path) -> None:
    """Remove the temporary files of processes of this host that have ended."""
    for left in folder.glob(f".{socket.gethostname()}-*{PART}"):
        if is_dead(left.name[1:]):
            with contextlib.suppress(OSError):
                left.unlink()


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
    except (PermissionError, OverflowError):
        return False
    return False
