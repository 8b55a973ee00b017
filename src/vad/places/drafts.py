"""Local folders in which videos are written, named by the process that writes."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
from pathlib import Path

_count = itertools.count()


def new_draft(folder: Path) -> Path:
    """A path for a draft of this process; nothing is made yet."""
    return folder / f"{owner()}-{next(_count)}"


def sweep(folder: Path) -> None:
    """Remove the drafts of dead processes of this host."""
    for left in folder.glob(f"{socket.gethostname()}-*"):
        if is_dead(left.name):
            shutil.rmtree(left, ignore_errors=True)


def owner() -> str:
    """This process, by its host and number."""
    return f"{socket.gethostname()}-{os.getpid()}"


def is_dead(name: str) -> bool:
    """Whether a name that begins with `owner` is of a process of this host that has ended.

    False of a process of another host: that cannot be told.
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
