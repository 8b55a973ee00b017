"""Check 1: of a folder of every kind of bad video, each ends done or failed with a known reason."""

import time

import av
import numpy as np
import pytest

from vad.errors import REASONS
from vad.store import FeatureStore
from vad.store.verify import verify

TEXT = b"this is no video\n" * 40


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def flip(path, n_bytes=400):
    content = bytearray(path.read_bytes())
    half = len(content) // 2
    for position in np.random.default_rng(0).integers(half, len(content) - 2000, n_bytes):
        content[position] ^= 0xFF
    path.write_bytes(content)


def count_too_many(path):
    """Let the table of durations of an MP4 promise 2,130,706,432 frames: 0x7F in its first byte."""
    content = bytearray(path.read_bytes())
    count = content.index(b"stts") + 12  # behind the name: version, entries, count, duration
    content[count] = 0x7F
    path.write_bytes(content)


def write_sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_no_frames(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.start_encoding()


def write_two_streams(path):
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=25) for _ in range(2)]
        for stream, size in zip(streams, (64, 128), strict=True):
            stream.width, stream.height, stream.pix_fmt = size, size, "yuv420p"
        for stream in streams:
            for shade in range(0, 200, 10):
                rgb = np.full((stream.height, stream.width, 3), shade, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb)))
            container.mux(stream.encode())


@pytest.fixture
def corpus(tmp_path, make_video):
    """The folder, and how every video of it must end: a number of frames, or a reason."""
    folder = tmp_path / "videos"
    folder.mkdir()
    expected = {}

    def made(name, ending, **settings):
        expected[name.rpartition(".")[0]] = ending
        return make_video(f"videos/{name}", **settings)

    for n_frames in (1, 15, 16, 17, 33):
        made(f"frames_{n_frames}.mp4", n_frames, n_frames=n_frames)
    made("odd.mp4", 20, n_frames=20, size=(161, 97), pixel_format="yuv444p")
    made("ten_bit.mp4", 20, n_frames=20, pixel_format="yuv420p10le")
    made("grey.mp4", 20, n_frames=20, pixel_format="gray")
    made("turned.mp4", 20, n_frames=20, rotation_deg=90)
    made("uneven.mkv", 10, n_frames=10, times=[0, 1, 2, 3, 10, 11, 12, 30, 31, 32])
    made("fast.mp4", 20, n_frames=20, fps=120)
    made("negative.mp4", 40, n_frames=60, times=range(-20, 40), options={"bf": "3"})
    count_too_many(made("miscounted.mp4", 20, n_frames=20))
    front = {"movflags": "faststart"}
    cut(made("cut_front.mp4", "truncated", n_frames=300, container_options=front), 0.5)
    cut(made("cut_end.mp4", "truncated", n_frames=100), 0.5)
    cut(made("cut.mkv", "truncated", n_frames=300), 0.5)
    cut(made("header_only.mkv", "no-frames", n_frames=300), 0.02)
    flip(made("flipped.mkv", None, n_frames=100))  # decoders may notice, or not
    parts = [make_video("a.ts", 20), make_video("b.ts", 20, size=(320, 192))]
    for name, content, ending in (
        ("empty", b"", "empty"),
        ("text", TEXT, "not-a-video"),
        ("zeros", bytes(100_000), "not-a-video"),
        ("concat", b"ffconcat version 1.0\nfile frames_33.mp4\n", "not-a-video"),
        ("playlist", b"#EXTM3U\n#EXTINF:2,\nframes_33.mp4\n#EXT-X-ENDLIST\n", "not-a-video"),
        ("drawing", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not-a-video"),
        ("resized", b"".join(part.read_bytes() for part in parts), 40),
    ):
        (folder / f"{name}.{'ts' if name == 'resized' else 'mp4'}").write_bytes(content)
        expected[name] = ending
    write_sound(folder / "sound.mp4")
    write_no_frames(folder / "frames_0.mp4")
    expected["frames_0"] = "not-a-video"  # the container drops a stream without frames
    write_two_streams(folder / "two_streams.mp4")
    return folder, {**expected, "sound": "not-a-video", "two_streams": 20}


def test_check_01_every_bad_video_ends_with_a_reason_and_the_others_are_stored(
    corpus, tmp_path, extract_null
):
    folder, expected = corpus
    assert len(expected) >= 24
    started = time.monotonic()
    outcome = extract_null(folder, tmp_path / "f.zarr", time_limit=10, workers=2)
    assert time.monotonic() - started < 10 + len(expected)
    assert outcome.exit_code == 3
    assert sorted([*outcome.done, *outcome.failed]) == sorted(expected)
    store = FeatureStore.open(tmp_path / "f.zarr")
    ends = {video: store.record(video).n_frames for video in store.ids()}
    ends |= {video: error.reason for video, error in outcome.failed.items()}
    assert ends.pop("flipped") in (100, *REASONS)
    assert ends == {video: end for video, end in expected.items() if end is not None}
    assert verify(store.path, quiet=True).faults == []
