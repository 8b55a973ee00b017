"""Checks 7 and 33: hundreds of videos in one process leave nothing behind but their features."""

import os
import shutil
import threading
from pathlib import Path

import pytest

PER_BATCH, BATCHES = 100, 5


def resources():
    """File descriptors, threads, child processes and resident bytes of this process."""
    n_children = sum(
        len(task.read_text().split()) for task in Path("/proc/self/task").glob("*/children")
    )
    n_pages = int(Path("/proc/self/statm").read_text().split()[1])
    descriptors = len(os.listdir("/proc/self/fd"))
    return descriptors, threading.active_count(), n_children, n_pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs the /proc of Linux")
def test_check_07_33_five_hundred_videos_leave_nothing_behind(make_video, tmp_path, extract_null):
    video, seen = make_video("one.mp4", 20), []
    for batch in range(BATCHES):
        folder = tmp_path / "videos" / str(batch)
        folder.mkdir(parents=True)
        for number in range(PER_BATCH):
            shutil.copy(video, folder / f"{batch}-{number}.mp4")
        outcome = extract_null(folder, tmp_path / "f.zarr", workers=2)
        assert len(outcome.done) == PER_BATCH
        seen.append(resources())
    descriptors, threads, children, n_bytes = zip(*seen, strict=True)
    assert max(descriptors) <= descriptors[0] + 2
    assert max(threads) <= threads[0]
    assert set(children) == {0}
    growth_per_100 = (n_bytes[-1] - n_bytes[1]) / (BATCHES - 2)  # caches fill in the first two
    assert growth_per_100 < 2**20
