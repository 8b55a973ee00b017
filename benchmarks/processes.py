"""Run a program and measure the memory of its process tree."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

SAMPLE_S = 0.1


def watch(command: Sequence[str]) -> tuple[str, int]:
    """Run a program on one thread; return its output, and the peak memory of its tree in bytes.

    Memory is resident and sampled; a page that n processes share counts 1/n for each. If the
    program fails, this process exits.
    """
    peak_bytes = 0
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        while process.poll() is None:
            peak_bytes = max(peak_bytes, tree_bytes(process.pid))
            time.sleep(SAMPLE_S)
        printed = process.stdout.read() if process.stdout else ""
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with exit code {process.returncode}")
    return printed, peak_bytes


def tree_bytes(pid: int) -> int:
    """Return the resident memory of a process and its descendants; shared pages count once."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        resident_kb = next((int(n.split()[1]) for n in lines if n.startswith("Pss:")), 0)
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(c) for t in tasks for c in (t / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return 0  # the process has ended
    return 1024 * resident_kb + sum(map(tree_bytes, children))
