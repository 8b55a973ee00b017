"""Checks 11 to 15: failures, changed content, Ctrl-C, full disks, and the start of a run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vad.stages.extract.outcome import Failures
from vad.store import FeatureStore


def test_check_11_a_failed_video_is_retried_and_its_last_reason_kept(
    make_video, tmp_path, extract_null
):
    path, store = tmp_path / "a.mp4", tmp_path / "f.zarr"
    path.touch()
    assert list(extract_null(path, store).failed) == ["a"]
    path.write_text("this is no video")
    outcome = extract_null(path, store)
    assert (outcome.skipped, outcome.failed["a"].reason, outcome.exit_code) == (
        [],
        "not-a-video",
        3,
    )
    assert {v: e["reason"] for v, e in Failures(store).read().items()} == {"a": "not-a-video"}
    make_video("a.mp4", 16)
    assert extract_null(path, store).done == ["a"]
    assert Failures(store).read() == {}


def test_check_12_moved_content_is_known_again_and_changed_content_is_redone(
    make_video, tmp_path, extract_null
):
    store = tmp_path / "f.zarr"
    old = make_video("here/cam/a.mp4", 20)
    assert extract_null(tmp_path / "here", store).done == ["cam/a"]
    before = (store / "cam%2Fa" / "zarr.json").stat().st_mtime_ns
    new = tmp_path / "there" / "cam" / "a.mp4"
    new.parent.mkdir(parents=True)
    new.write_bytes(old.read_bytes())  # the same content, of another date
    outcome = extract_null(tmp_path / "there", store)
    assert (outcome.done, outcome.skipped) == ([], ["cam/a"])
    assert (store / "cam%2Fa" / "zarr.json").stat().st_mtime_ns == before
    content = bytearray(new.read_bytes())
    content[-1] ^= 1  # of the same size
    new.write_bytes(content)
    assert extract_null(tmp_path / "there", store).done == ["cam/a"]
    assert FeatureStore.open(store).record("cam/a").source == str(new)


@pytest.fixture
def many(make_video, tmp_path):
    """Make a folder of twelve videos."""

    def make(n_frames):
        path = make_video("videos/00.mp4", n_frames)
        for number in range(1, 12):
            os.link(path, tmp_path / "videos" / f"{number:02d}.mp4")
        return tmp_path / "videos"

    return make


def test_check_13_ctrl_c_ends_within_seconds_and_leaves_a_store_as_it_should_be(
    python, many, tmp_path
):
    from vad.store.verify import verify

    store = tmp_path / "f.zarr"
    extract = ("-m", "vad", "extract", many(300), "--store", store, "-q")
    process = python.start(*extract, is_leader=True)
    deadline = time.monotonic() + 60
    while not list(store.glob(".scratch/*/visual")) and time.monotonic() < deadline:
        time.sleep(0.05)
    started = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - started < 5
    assert process.returncode == 130
    assert "Traceback" not in err
    assert len(FeatureStore.open(store).ids()) < 12
    assert verify(store, quiet=True).faults == []
    assert list((store / ".scratch").iterdir()) == []


SMALL_FILES = """
import os, resource, signal, sys
from vad.stages.pipelines.cli import main
sys.dont_write_bytecode = True  # Python would cut off the compiled modules that it writes
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
resource.setrlimit(resource.RLIMIT_FSIZE, (1500, resource.RLIM_INFINITY))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then writing more fails
main()
"""


def test_check_14_a_file_that_may_not_grow_is_one_line_and_leaves_nothing(python, many, tmp_path):
    store = tmp_path / "f.zarr"
    extract = ("extract", many(20), "--store", store, "-q")
    done = python.run("-c", SMALL_FILES, *extract, timeout=100)
    assert done.returncode == 70
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("vad: ")]
    assert "File too large" in line
    assert str(store) in line
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.part"))
    assert FeatureStore.open(store).ids() == []
    assert list((store / ".scratch").iterdir()) == []


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 256 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "vad-test", folder]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no small file system can be mounted here: {error}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.slow
def test_check_14_no_space_left_is_told_with_the_folder(vad, many, tiny_disk):
    videos = many(20)
    code, _, err = vad("extract", videos, "--store", tiny_disk / "f.zarr", "-q")
    assert code == 70
    assert "No space left on device" in err
    assert str(tiny_disk) in err
    assert "free some space and run again" in err
    assert not list(tiny_disk.rglob("*.part"))
    subprocess.run(["mount", "-o", "remount,size=64m", tiny_disk], check=True)
    code, _, _ = vad("extract", videos, "--store", tiny_disk / "f.zarr", "-q")
    assert code == 0
    assert len(FeatureStore.open(tiny_disk / "f.zarr").ids()) == 12


def test_check_14_results_that_cannot_be_written_are_no_success(put, tmp_path):
    put(tmp_path / "f.zarr")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "vad", "verify", tmp_path / "f.zarr", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 70
    assert "No space left on device" in done.stderr


def test_check_15_what_can_be_known_beforehand_is_told_before_any_decoding(
    make_video, tmp_path, vad
):
    video = make_video("a.mp4", 16)
    (tmp_path / "occupied").write_text("a file")
    for args, message in (
        (["--store", tmp_path / "occupied"], "exists and is not a feature store"),
        (["--store", tmp_path / "occupied" / "f.zarr"], "occupied"),
        (["--backbone", "i3d", "--weights", tmp_path / "none.pth"], "none.pth"),
        (["--shard", "3/2"], "there is no shard 3/2"),
    ):
        code, out, err = vad("extract", video, *args)
        assert code in (2, 70)
        assert out == ""
        assert message in err
    assert not (tmp_path / "features.zarr").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_check_15_a_store_that_may_not_be_written_is_told(make_video, tmp_path, vad):
    (tmp_path / "closed").mkdir(mode=0o500)
    code, _, err = vad("extract", make_video("a.mp4", 16), "--store", tmp_path / "closed/f.zarr")
    assert code == 70
    assert "Permission denied" in err
