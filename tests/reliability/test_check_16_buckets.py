"""Checks 9 and 16 on an object store: kills and company leave the store of one careful run.

Real videos, a model that costs nothing, processes that are killed, and a server that speaks S3.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from vad.stages.extract.outcome import Failures
from vad.store import FeatureStore
from vad.store.backends import backend_of
from vad.store.verify import verify

NURSERY = Path(__file__).resolve().parents[2] / "benchmarks" / "nursery.py"


@pytest.fixture
def videos(data, tmp_path):
    """A folder with ten short videos of people."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for path in sorted((data / "fight" / "videos").glob("*_fight.mp4"))[:10]:
        (folder / path.name).symlink_to(path)
    return folder


@contextmanager
def nursery(environment):
    """A function that starts a run: its process, and a function that waits for its end."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(
        [sys.executable, NURSERY], env={**os.environ, **environment}, **pipes
    ) as process:

        def start(videos, store, sleep_s=0.0):
            settings = {"workers": 1}
            task = {"videos": str(videos), "store": store, "sleep_s": sleep_s, "settings": settings}
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
            return int(process.stdout.readline()), lambda: int(process.stdout.readline())

        yield start
        process.stdin.close()


def wait_for(condition, limit_s=60):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.02)


def objects(address):
    backend = backend_of(address)
    return {key: backend.read(key) for key in backend.files("") if not key.startswith(".")}


@pytest.mark.slow
def test_check_16_kills_and_company_leave_the_store_of_one_careful_run(
    s3_server, s3, videos, tmp_path, extract_null, files_of
):
    assert len(extract_null(videos, tmp_path / "peace", workers=1).done) == 10
    peace = {key.as_posix(): content for key, content in files_of(tmp_path / "peace").items()}
    address = f"{s3}/f.zarr"
    store = FeatureStore.create(address)
    with nursery(s3_server) as start, nursery(s3_server) as start_another:
        for n_stored in (1, 3, 5):  # check 9: kill -9 in the midst of the work
            process, end = start(videos, address, 0.01)
            wait_for(lambda n=n_stored: len(store.ids()) >= n)
            os.kill(process, signal.SIGKILL)
            assert end() == signal.SIGKILL
            assert verify(address, quiet=True).faults == []
            whole = {key for video in store.ids() for key in peace if key.startswith(f"{video}/")}
            assert {key: objects(address)[key] for key in whole} == {
                key: peace[key] for key in whole
            }
        _, end = start(videos, address, 0.01)
        _, end_another = start_another(videos, address, 0.01)
        assert (end(), end_another()) == (0, 0)
    assert objects(address) == peace
    left = [key for key in backend_of(address).files("") if key.startswith(".")]
    assert [
        key for key in left if not key.startswith(".claims/")
    ] == []  # of videos that are stored


def test_check_16_real_videos_make_the_same_objects_as_files(
    s3, videos, tmp_path, extract_null, files_of
):
    for path in sorted(videos.iterdir())[3:]:
        path.unlink()
    (videos / "broken.mp4").write_bytes(b"this is no video")
    for store in (tmp_path / "folder", f"{s3}/f.zarr"):
        outcome = extract_null(videos, store, workers=1)
        assert (len(outcome.done), list(outcome.failed)) == (3, ["broken"])
        assert list(Failures(store).read()) == ["broken"]
        assert len(extract_null(videos, store, workers=1).skipped) == 3
    files = {key.as_posix(): content for key, content in files_of(tmp_path / "folder").items()}
    assert objects(f"{s3}/f.zarr") == {k: v for k, v in files.items() if k != "failures.jsonl"}


@pytest.mark.slow
def test_check_18_workers_of_a_cluster_fill_a_bucket(s3, videos, tmp_path, files_of):
    pytest.importorskip("ray", reason="Ray is an extra: pip install 'wsvad[ray]'")
    from vad.stages.pipelines.executors.run import extract

    for path in sorted(videos.iterdir())[3:]:
        path.unlink()
    extract(videos, tmp_path / "folder", quiet=True)
    assert len(extract(videos, f"{s3}/f.zarr", quiet=True, executor="ray").done) == 3
    files = {key.as_posix(): content for key, content in files_of(tmp_path / "folder").items()}
    assert objects(f"{s3}/f.zarr") == files
