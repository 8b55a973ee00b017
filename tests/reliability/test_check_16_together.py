"""Check 16: several processes on one store together do what one would have done, once."""

import itertools
import subprocess
import sys

import pytest

from vad.errors import UsageError, VideoError
from vad.stages.extract.outcome import Failures
from vad.stages.extract.sources import Shard, Source
from vad.store.backends.folder import FileClaims

HOLD = """
import sys
from pathlib import Path
from vad.store.backends.folder import FileClaims
claims = FileClaims(Path(sys.argv[1]))
print(*(claims.take(video) for video in sys.argv[2:]), flush=True)
sys.stdin.read()
"""


def other_process(store, *videos):
    """A process that claims videos and holds them until it ends; and what it got."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, store, *videos],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return process, process.stdout.readline().split()


def test_check_16_a_video_is_claimed_by_one_process_and_freed_by_its_death(tmp_path):
    with FileClaims(tmp_path) as claims:
        assert [claims.take("a"), claims.take("b")] == [True, True]
        claims.release("b")
        process, got = other_process(tmp_path, "a", "b", "c")
        with process:
            assert got == ["False", "True", "True"]
            assert not claims.take("b")
            process.kill()
            process.wait()
            assert claims.take("b")


def test_check_16_shards_share_out_every_video_once_and_for_good():
    videos = [f"cam{number % 7}/video {number:04d}" for number in range(3000)]
    shards = [[v for v in videos if v in Shard(index, 8)] for index in range(1, 9)]
    assert sorted(itertools.chain(*shards)) == sorted(videos)
    assert all(300 < len(shard) < 450 for shard in shards)  # 375 +- 4 standard deviations
    assert all(v in Shard() for v in videos)
    # The digest of an id decides, nothing else: sha256("a") begins with ca978112ca1bbdca
    assert [int("ca978112ca1bbdca", 16) % n for n in (3, 8)] == [1, 2]
    assert [n for n in (1, 2, 3) if "a" in Shard(n, 3)] == [2]
    assert [n for n in range(1, 9) if "a" in Shard(n, 8)] == [3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2", "--shard 2: write I/N, such as 2/8"),
        ("0/8", "there is no shard 0/8; shards count from 1: --shard 1/8"),
        ("9/8", "there is no shard 9/8"),
        ("1/0", "there is no shard 1/0"),
    ],
)
def test_check_16_a_shard_that_is_none_is_told(text, message):
    with pytest.raises(UsageError, match=message):
        Shard.parse(text)
    assert Shard.parse("2/8") == Shard(2, 8)
    assert Shard.parse(None) == Shard(1, 1)


def test_check_16_failures_of_several_runs_are_kept(tmp_path):
    one, other = Failures(tmp_path), Failures(tmp_path)
    for number in range(4):
        source = Source(str(number), tmp_path / f"{number}.mp4")
        (one, other)[number % 2].note(source, VideoError("empty", "the file is empty"))
    one.forget({"0"})
    other.forget({"1"})
    assert list(one.read()) == ["2", "3"]


def test_check_16_a_line_that_was_cut_off_costs_nothing_but_itself(tmp_path):
    failures = Failures(tmp_path)
    failures.path.write_text('{"video": "a", "reason": "empty"}\n{"video": "b", "rea')
    failures.note(Source("c", tmp_path / "c.mp4"), VideoError("empty", "the file is empty"))
    assert list(failures.read()) == ["a", "c"]
    failures.forget({})
    assert len(failures.path.read_text().splitlines()) == 2


def run_extract(videos, store, *options):
    return subprocess.Popen(
        [sys.executable, "-m", "vad", "extract", videos, "--store", store, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def files_of(store):
    """Every file of the stored videos, with its bytes."""
    return {
        path.relative_to(store): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file() and not path.relative_to(store).parts[0].startswith(".")
    }


@pytest.fixture
def videos(make_video, tmp_path):
    for number in range(6):
        make_video(f"videos/{number}.mp4", n_frames=16 + number)
    return tmp_path / "videos"


@pytest.mark.slow
@pytest.mark.parametrize("ways", [["--shard=1/2", "--shard=2/2"], ["--workers=1", "--workers=1"]])
def test_check_16_two_processes_make_the_store_of_one(videos, tmp_path, ways):
    both = [run_extract(videos, tmp_path / "both.zarr", way) for way in ways]
    outs = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    counts = [[int(word) for word in out.split() if word.isdigit()] for out, _ in outs]
    assert sum(done for done, *_ in counts) == 6  # no video twice
    alone = run_extract(videos, tmp_path / "alone.zarr")
    alone.communicate(timeout=120)
    assert files_of(tmp_path / "both.zarr") == files_of(tmp_path / "alone.zarr")
