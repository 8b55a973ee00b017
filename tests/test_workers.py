"""Decoder processes: what a bad video, a dying worker or a slow reader does to the others."""

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from vad.errors import InternalError, UsageError
from vad.stages.extract.decoders import worker
from vad.stages.extract.decoders.pool import Clips, Decoded, DecoderPool, Failed, Opened

BIG = {"size": (320, 240), "options": {"preset": "ultrafast"}}  # a clip is more than buffers hold


def pool(n_workers=2, clips_per_block=2, tail="repeat-last", **settings):
    return DecoderPool(n_workers, clips_per_block=clips_per_block, tail=tail, **settings)


def by_video(events):
    events_of = defaultdict(list)
    for event in events:
        events_of[event.index].append(event)
    return events_of


def names(events):
    return [type(event).__name__ for event in events]


def clips_of(events):
    return np.concatenate([event.rgb for event in events if isinstance(event, Clips)])


def children_of(parent):
    """Processes started by a process, the dead that nobody waited for included."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        if int(fields[1]) == parent:
            found.append(int(stat.parent.name))
    return found


@pytest.fixture
def children():
    """List the processes that this test has started and not waited for."""
    before = children_of(os.getpid())
    return lambda: [child for child in children_of(os.getpid()) if child not in before]


def n_open_files():
    return len(os.listdir("/proc/self/fd"))


def test_bad_videos_leave_the_good_ones_alone(make_video, read_numbers, tmp_path):
    empty, text = tmp_path / "empty.mp4", tmp_path / "text.mp4"
    empty.touch()
    text.write_text("this is no video")
    cut = make_video("cut.mkv", 200)
    cut.write_bytes(cut.read_bytes()[:10_000])
    paths = [empty, make_video("a.mp4", 40), text, cut, tmp_path / "absent.mp4", tmp_path]
    paths.append(make_video("b.mp4", 70))
    with pool() as decoders:
        events_of = by_video(decoders.decode(paths))
    failures = {i: events[-1].error.reason for i, events in events_of.items() if i not in (1, 6)}
    assert failures == {
        0: "empty",
        2: "not-a-video",
        3: "truncated",
        4: "unreadable",
        5: "unreadable",
    }
    assert all(isinstance(events_of[index][-1], Failed) for index in failures)
    for index, n_frames, n_blocks in [(1, 40, 2), (6, 70, 3)]:
        events = events_of[index]
        assert names(events) == ["Opened", *["Clips"] * n_blocks, "Decoded"]
        assert events[-1].report.n_frames == n_frames
        frames = clips_of(events).reshape(-1, 96, 160, 3)[:n_frames]
        assert read_numbers(frames) == list(range(n_frames))
        times = np.concatenate([event.times for event in events if isinstance(event, Clips)])
        assert times == pytest.approx(np.arange(n_frames) / 30)


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_events_carry_what_decoding_in_this_process_gives(make_video, decoder):
    path = make_video("a.mp4", 33, fps=15)
    with pool(decoder=decoder) as decoders:
        opened, *_, decoded = decoders.decode([path])
    assert isinstance(opened, Opened)
    assert isinstance(decoded, Decoded)
    assert (opened.info.fps, opened.info.width, opened.info.codec) == (15, 160, "h264")
    assert decoded.report.decoder.startswith(decoder)
    assert (decoded.report.n_frames, decoded.report.n_frames_expected) == (33, 33)


@pytest.mark.parametrize(
    ("tail", "n_clips", "last_clip"),
    [
        ("repeat-last", 2, [16, 17, 18, *[18] * 13]),
        ("loop", 2, [16, 17, 18] * 5 + [16]),
        ("drop", 1, list(range(16))),
    ],
)
def test_the_tail_of_a_video(make_video, read_numbers, tail, n_clips, last_clip):
    with pool(tail=tail) as decoders:
        events = list(decoders.decode([make_video("a.mp4", 19)]))
    clips = clips_of(events)
    assert clips.shape == (n_clips, 16, 96, 160, 3)
    assert read_numbers(clips[-1]) == last_clip
    assert len(events[1].times) == (16 if tail == "drop" else 19)


def test_a_video_without_a_snippet_is_too_short(make_video):
    with pool(tail="drop") as decoders:
        failed = list(decoders.decode([make_video("a.mp4", 15)]))[-1]
    assert failed.error.reason == "too-short"
    assert "15 frames" in str(failed.error)


@pytest.mark.parametrize(
    ("clips_per_block", "block_clips", "sizes"),
    [
        (1, 9, [1, 1, 1, 1, 1]),
        (3, 9, [3, 2]),
        (8, 9, [5]),
        (8, 2, [2, 2, 1]),  # where only two of them fit a block
        (8, 0.5, [1, 1, 1, 1, 1]),  # where not even one does
    ],
)
def test_blocks_are_as_long_as_asked_and_as_memory_allows(
    make_video, monkeypatch, clips_per_block, block_clips, sizes
):
    monkeypatch.setattr(worker, "BLOCK_BYTES", int(block_clips * 16 * 96 * 160 * 3))
    with pool(clips_per_block=clips_per_block) as decoders:
        events = list(decoders.decode([make_video("a.mp4", 72)]))
    assert [len(event.rgb) for event in events if isinstance(event, Clips)] == sizes


def test_a_killed_worker_takes_only_its_own_video_with_it(make_video, children):
    paths = [make_video("a.mp4", 240, **BIG), make_video("b.mp4", 20), make_video("c.mp4", 20)]
    events = []
    with pool(n_workers=1, clips_per_block=1) as decoders:
        for event in decoders.decode(paths):
            events.append(event)
            if names(events) == ["Opened", "Clips"]:
                (child,) = children()
                os.kill(child, signal.SIGKILL)
    events_of = by_video(events)
    assert isinstance(events_of[0][-1], Failed)
    assert events_of[0][-1].error.reason == "crashed"
    assert "SIGKILL" in str(events_of[0][-1].error)
    assert len([event for event in events_of[0] if isinstance(event, Clips)]) < 15
    assert [names(events_of[index])[-1] for index in (1, 2)] == ["Decoded", "Decoded"]


def test_a_silent_worker_is_ended_after_the_time_limit(make_video, children):
    paths = [make_video("a.mp4", 240, **BIG), make_video("b.mp4", 20)]
    events = []
    with pool(n_workers=1, clips_per_block=1, time_limit_s=3.0) as decoders:
        for event in decoders.decode(paths):
            events.append(event)
            if names(events) == ["Opened", "Clips"]:
                (child,) = children()
                os.kill(child, signal.SIGSTOP)  # in the middle of a clip: it is writing one
                stopped = time.monotonic()
            elif isinstance(event, Failed):
                assert time.monotonic() - stopped < 10
    events_of = by_video(events)
    assert events_of[0][-1].error.reason == "timeout"
    assert "3 s" in str(events_of[0][-1].error)
    assert names(events_of[1])[-1] == "Decoded"


def test_a_slow_reader_is_not_a_silent_worker(make_video):
    with pool(n_workers=1, clips_per_block=1, time_limit_s=2.0) as decoders:
        events = []
        for event in decoders.decode([make_video("a.mp4", 240, **BIG)]):
            events.append(event)
            if len(events) == 2:
                time.sleep(3)
    assert names(events) == ["Opened", *["Clips"] * 15, "Decoded"]


def test_workers_are_used_again_and_nothing_is_left_of_them(make_video, children):
    path = make_video("a.mp4", 17)
    before = n_open_files()
    with pool(n_workers=2) as decoders:
        first = by_video(decoders.decode([path] * 20))
        workers = set(children())
        assert len(workers) == 2
        while_idle = n_open_files()
        second = by_video(decoders.decode([path] * 20))
        assert set(children()) == workers
        assert n_open_files() == while_idle
    for events_of in (first, second):
        assert sorted(events_of) == list(range(20))
        assert all(names(events)[-1] == "Decoded" for events in events_of.values())
    assert children() == []
    assert n_open_files() == before


def test_no_process_is_started_without_need(make_video, children):
    with pool(n_workers=8) as decoders:
        assert list(decoders.decode([])) == []
        assert children() == []
        assert names(decoders.decode([make_video("a.mp4", 16)])) == ["Opened", "Clips", "Decoded"]
        assert len(children()) == 1


def test_a_reader_may_stop_reading(make_video, children):
    paths = [make_video("a.mp4", 240, **BIG), make_video("b.mp4", 240, **BIG)]
    before = n_open_files()
    started = time.monotonic()
    with pool(clips_per_block=1) as decoders:
        for event in decoders.decode(paths):
            if isinstance(event, Clips):
                break
    assert time.monotonic() - started < 20
    assert children() == []
    assert n_open_files() == before


def test_the_pool_can_go_on_after_a_reader_stopped(make_video):
    big, small = make_video("a.mp4", 240, **BIG), make_video("b.mp4", 16)
    with pool(n_workers=1, clips_per_block=1) as decoders:
        events = decoders.decode([big])
        next(events)
        with pytest.raises(InternalError, match="decoding already"):
            next(decoders.decode([small]))
        events.close()
        assert names(decoders.decode([small])) == ["Opened", "Clips", "Decoded"]


def test_what_the_list_of_paths_raises_reaches_the_reader(make_video, children):
    def paths():
        yield make_video("a.mp4", 16)
        raise OSError("the folder is gone")

    with pool() as decoders, pytest.raises(OSError, match="the folder is gone"):
        list(decoders.decode(paths()))
    assert children() == []


def test_wrong_settings_are_refused_before_a_process_starts():
    with pytest.raises(UsageError, match="no tail policy named 'keep'"):
        pool(tail="keep")
    with pytest.raises(UsageError, match="no decoder named 'vlc'"):
        pool(decoder="vlc")
    with pytest.raises(InternalError, match="0 workers"):
        pool(n_workers=0)


WAIT = """
import sys, time
from pathlib import Path
from vad.stages.extract.decoders.pool import DecoderPool
with DecoderPool(1, clips_per_block=1, tail="drop") as decoders:
    for event in decoders.decode([Path(sys.argv[1])]):
        print("event", flush=True)
        time.sleep(60)
"""


CTRL_C = """
import os, signal, sys
from pathlib import Path
from vad.stages.extract.decoders.pool import DecoderPool
signal.signal(signal.SIGINT, lambda *_: None)
with DecoderPool(1, clips_per_block=1, tail="drop") as decoders:
    for number, event in enumerate(decoders.decode([Path(sys.argv[1])])):
        if number == 1:
            os.killpg(0, signal.SIGINT)
    print(type(event).__name__)
"""


def test_ctrl_c_is_not_for_the_workers(make_video):
    command = [sys.executable, "-c", CTRL_C, make_video("a.mp4", 240, **BIG)]
    done = subprocess.run(command, capture_output=True, text=True, start_new_session=True)
    assert done.stdout == "Decoded\n"


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_its_parent(make_video, kill):
    command = [sys.executable, "-c", WAIT, make_video("a.mp4", 240, **BIG)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as parent:
        assert parent.stdout.readline() == "event\n"
        (orphan,) = children_of(parent.pid)
        os.killpg(parent.pid, kill)  # as Ctrl-C does: all of the parent's group
        parent.wait(timeout=5)
        assert parent.stderr.read().count("\nKeyboardInterrupt") == (kill == signal.SIGINT)
    deadline = time.monotonic() + 5
    while Path(f"/proc/{orphan}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{orphan}").exists()


PEAKS = """
import resource, sys
from pathlib import Path
from vad.stages.extract.decoders.pool import DecoderPool
with DecoderPool(1, clips_per_block=4, tail="drop", decoder="pyav") as decoders:
    *_, last = (type(event).__name__ for event in decoders.decode([Path(sys.argv[1])]))
for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
    print(resource.getrusage(who).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_a_video(make_video):
    peaks = []
    for n_frames in (300, 6000):
        path = make_video("a.mp4", n_frames, options={"preset": "ultrafast"})
        command = [sys.executable, "-c", PEAKS, path]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append([int(line) for line in done.stdout.split()])
    (here, there), (here_long, there_long) = peaks
    assert here_long <= 1.1 * here
    assert there_long <= 1.1 * there


def test_workers_load_neither_torch_nor_transformers():
    code = (
        "import sys, vad.stages.extract.decoders.worker; "
        "print({'torch', 'transformers'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
