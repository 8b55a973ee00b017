"""Check 9: killed at any moment and run again, the store is that of one run left in peace."""

import contextlib
import os
import random
import signal
import time

import pytest

from vad.store import FeatureStore
from vad.store.verify import verify

N_VIDEOS, WORKERS = 12, 2


@pytest.mark.parametrize(
    "n_kills", [pytest.param(4, id="4"), pytest.param(20, id="20", marks=pytest.mark.slow)]
)
def test_check_09_kills_cost_no_more_than_what_was_under_way(
    make_video, tmp_path, nursery, files_of, n_kills
):
    for number in range(N_VIDEOS):
        make_video(f"videos/{number:02d}.mp4", n_frames=20 + 7 * number)
    videos, peace, killed = tmp_path / "videos", tmp_path / "peace.zarr", tmp_path / "killed.zarr"
    started = time.monotonic()
    _, wait = nursery(videos, peace, sleep_s=0.02, workers=WORKERS)
    assert wait() == 0
    whole_s = time.monotonic() - started
    rng = random.Random(n_kills)
    for _ in range(n_kills):
        pid, wait = nursery(videos, killed, sleep_s=0.02, workers=WORKERS)
        time.sleep(rng.uniform(0, 0.6 * whole_s))
        with contextlib.suppress(ProcessLookupError):  # it was done already
            os.kill(pid, signal.SIGKILL)
        assert wait() in (0, signal.SIGKILL)
        if (killed / "zarr.json").exists():
            assert verify(killed, quiet=True).faults == []  # a reader sees whole videos only
            drafts = [d for d in (killed / ".scratch").glob("*") if not d.name.endswith("-old")]
            assert len(drafts) <= WORKERS + 1
    _, wait = nursery(videos, killed, workers=WORKERS)
    assert wait() == 0
    assert len(FeatureStore.open(killed).ids()) == N_VIDEOS
    assert files_of(killed) == files_of(peace)
    assert list((killed / ".scratch").iterdir()) == []
