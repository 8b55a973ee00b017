"""Seconds go forward at the pace of the video, whatever is stamped on its frames."""

import json
import logging
import struct
import threading
from fractions import Fraction

import av
import numpy as np
import pytest

import vad
from vad.stages.extract.decoders import read_frames
from vad.stages.extract.decoders.clock import Clock
from vad.stages.extract.decoders.video import Limits, scan
from vad.stages.extract.live import Clip, Feed, find_source
from vad.store import FeatureStore

HOUR = 3600 * 30  # in frames of 30 a second
STEADY = list(range(90))


def told(stamps, fps=30):
    """The seconds of frames with these stamps, in 1/30 s, and the jumps that were mended."""
    clock = Clock(fps, "mov")
    return [clock.tell(stamp, 1 / 30) for stamp in stamps], clock.n_jumps


@pytest.mark.parametrize(
    ("stamps", "n_jumps"),
    [
        ([*STEADY[:45], 45 + 10 * HOUR, *STEADY[46:]], 2),  # one frame ahead: there and back
        ([HOUR + n for n in STEADY[:45]] + [0] + [HOUR + n for n in STEADY[46:]], 2),  # behind
        ([*STEADY[:45], *STEADY[:45]], 1),  # a clock set back
        ([*STEADY[:45], *[n + HOUR for n in STEADY[45:]]], 1),  # recordings joined
    ],
)
@pytest.mark.parametrize("fps", [30, 0.01])  # the average of a header may count the jump, too
def test_a_jump_is_mended_and_the_rate_goes_on(stamps, n_jumps, fps):
    times, found = told(stamps, fps)
    np.testing.assert_allclose(times, np.arange(90) / 30, atol=1e-6)
    assert found == n_jumps


def test_a_wrong_stamp_at_the_start_does_not_decide_what_a_step_is():
    stamps = [0, 301, 302, *range(3, 50), *[n + 100 * HOUR for n in range(50, 90)]]
    times, n_jumps = told(stamps)
    assert n_jumps == 2
    assert times[-1] == pytest.approx(89 / 30 + 10, abs=0.01)


def test_a_held_frame_and_a_variable_rate_are_no_jumps():
    held = [*STEADY[:45], *[n + 300 for n in STEADY[45:]]]  # 10 s
    lapse = [60 * 30 * n for n in range(40)]  # a frame a minute
    uneven = np.cumsum(np.random.default_rng(0).integers(1, 60, 200)).tolist()
    for stamps, fps in ((held, 30), (lapse, 1 / 60), (uneven, 1)):
        times, n_jumps = told(stamps, fps)
        np.testing.assert_allclose(times, (np.array(stamps) - stamps[0]) / 30, atol=1e-9)
        assert n_jumps == 0


@pytest.mark.parametrize(
    "stamps",
    [
        [n + 45 * (n % 2) for n in range(300)],  # 1.5 s to and fro, every frame
        [n + 90 * (n // 60 % 2) for n in range(300)],  # 3 s, every two seconds
        [n + 300 * (n // 30 % 2) for n in range(300)],  # 10 s, every second
        (np.arange(300) + np.random.default_rng(0).integers(-5, 6, 300)).tolist(),
    ],
)
def test_stamps_that_go_to_and_fro_add_up_to_one_pause_at_most(stamps):
    times, n_jumps = told(stamps)
    assert (np.diff(times) > 0).all()
    pause_s = max(stamp - n for n, stamp in enumerate(stamps)) / 30
    assert times[-1] <= 10 + pause_s + 0.1
    back = -min(np.diff(stamps)) / 30
    assert (n_jumps > 0) == (back > 1)


def test_a_pause_long_after_a_clock_was_set_back_is_kept():
    stamps = [*range(100), *range(100), *range(400, 600)]  # 10 s
    times, n_jumps = told(stamps)
    assert (times[-1], n_jumps) == (pytest.approx(399 / 30 + 10, abs=0.01), 1)


@pytest.mark.parametrize("suffix", ["mkv", "ts", "mp4", "avi"])
def test_a_rate_in_the_codec_header_does_not_win_over_the_frames(draw, tmp_path, suffix):
    """The header of the codec says 100 frames a second, the container shows 15."""
    path = tmp_path / f"cam.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=100, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.time_base = Fraction(1, 15)
        stream.codec_context.time_base = Fraction(1, 100)
        stream.codec_context.framerate = Fraction(100)
        frames = [av.VideoFrame.from_ndarray(draw(n, 160, 96), format="rgb24") for n in range(60)]
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base = number, Fraction(1, 100)
        for packet in [p for frame in [*frames, None] for p in stream.encode(frame)]:
            packet.time_base = Fraction(1, 15)
            container.mux(packet)
    info, times, report = decoded(path)
    assert float(info.fps) == pytest.approx(15, rel=0.02)
    np.testing.assert_allclose(times, np.arange(60) / 15, atol=1e-3)
    assert report.duration_s == pytest.approx(4, abs=0.01)


@pytest.fixture
def joined(make_video, tmp_path):
    """Two recordings of 40 frames in one file, as a recorder whose clock starts again writes it."""
    one = make_video("one.ts", 40)
    path = tmp_path / "joined.ts"
    path.write_bytes(one.read_bytes() * 2)
    return path


@pytest.fixture
def apart(make_video):
    """60 frames, the second half stamped ten hours later."""
    return make_video("apart.mkv", 60, times=[n + 10 * HOUR * (n >= 30) for n in range(60)])


@pytest.mark.parametrize("name", ["joined", "apart"])
def test_the_record_and_the_log_say_that_jumps_were_mended(name, request, tmp_path, caplog):
    path = request.getfixturevalue(name)
    with caplog.at_level(logging.WARNING, logger="vad"):
        vad.extract(path, tmp_path / "s.zarr", weights="random:0", quiet=True)
    store = FeatureStore.open(tmp_path / "s.zarr")
    record, times = store.record(name), store.times(name)
    assert record.n_jumps == 1
    assert record.n_frames == len(times)
    assert record.fps == pytest.approx(30, rel=0.02)
    assert times[-1] <= 1.05 * len(times) / 30
    assert record.duration_s <= 1.05 * len(times) / 30
    assert "its time stamps jump; 1 jumps were mended" in caplog.text


def test_a_live_source_counts_its_seconds_by_the_same_rule(apart):
    with Feed(find_source(str(apart))) as feed:
        clips = [event for event in feed.events(threading.Event()) if isinstance(event, Clip)]
    assert clips[-1].end_s == pytest.approx(2.0, abs=0.05)


def test_a_stream_that_is_played_waits_for_no_jump(apart):
    with Feed(find_source(str(apart), speed=8)) as feed:
        clips = [event for event in feed.events(threading.Event()) if isinstance(event, Clip)]
    assert sum(clip.n_frames for clip in clips) == 60


# --- the rate of bare streams


def decoded(path, **limits):
    scanned = scan(path, Limits(**limits))
    *blocks, report = read_frames(path, scanned, limits=Limits(**limits))
    return scanned.info, np.concatenate([block.times_s for block in blocks]), report


X265 = {"x265-params": "log-level=none"}
BARE = {  # suffix -> how it is written; recorders call bare streams .dav, too
    "h264": ("h264", {}),
    "dav": ("h264", {}),
    "hevc": ("hevc", {"codec": "libx265", "options": X265}),
    "hevc.dav": ("hevc", {"codec": "libx265", "options": X265}),
}


@pytest.mark.parametrize("suffix", BARE)
def test_a_bare_stream_runs_at_the_rate_of_its_header(make_video, suffix):
    written, settings = BARE[suffix]
    bare = make_video(f"cam.{written}", 45, fps=30, **settings)
    path = bare.rename(bare.with_name(f"cam.{suffix}"))
    for limits, fps in (({}, 30), ({"bare_fps": 15.0}, 15)):  # --fps overrides the header
        info, times, report = decoded(path, **limits)
        assert (info.fps, info.fps_assumed) == (fps, False)
        np.testing.assert_allclose(times, np.arange(45) / fps)
        assert report.duration_s == pytest.approx(45 / fps)


def test_a_bare_stream_without_a_rate_is_assumed_to_run_at_25_and_that_is_told(
    make_video, tmp_path, caplog
):
    path = make_video("cam.mjpeg", 40, codec="mjpeg", pixel_format="yuvj420p")
    with caplog.at_level(logging.WARNING, logger="vad"):
        vad.extract(path, tmp_path / "s.zarr", weights="random:0", quiet=True)
    record = FeatureStore.open(tmp_path / "s.zarr").record("cam")
    assert (record.fps, record.fps_assumed) == (25, True)
    assert "it names no frame rate, 25 was assumed; --fps sets another" in caplog.text
    vad.extract(path, tmp_path / "t.zarr", weights="random:0", fps=12.5, quiet=True)
    record = FeatureStore.open(tmp_path / "t.zarr").record("cam")
    assert (record.fps, record.fps_assumed) == (12.5, False)
    assert record.duration_s == pytest.approx(3.2)


# --- containers that state the duration of their longest stream


@pytest.mark.parametrize("suffix", ["mkv", "avi", "flv"])
def test_a_video_beside_a_longer_one_is_whole(draw, tmp_path, suffix):
    path = tmp_path / f"two.{suffix}"
    lengths = (40, 120) if suffix != "flv" else (40,)  # it holds one picture
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=30) for _ in lengths]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
            stream.codec_context.thread_count = 1
        for number in range(max(lengths)):
            for stream, length in zip(streams, lengths, strict=True):
                if number < length:
                    frame = av.VideoFrame.from_ndarray(draw(number, 160, 96), format="rgb24")
                    frame.pts, frame.time_base = number, Fraction(1, 30)
                    container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())
    _, times, report = decoded(path)
    assert not report.is_truncated
    assert report.n_frames == len(times)


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "mov", "avi", "flv", "asf", "ts"])
def test_a_video_beside_longer_sound_is_whole(draw, tmp_path, suffix):
    path = tmp_path / f"loud.{suffix}"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4" if suffix in ("avi", "asf") else "libx264", rate=30)
        video.width, video.height, video.pix_fmt = 160, 96, "yuv420p"
        sound = container.add_stream("aac", rate=44100, layout="mono")
        for number in range(40):
            frame = av.VideoFrame.from_ndarray(draw(number, 160, 96), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        for start in range(0, 5 * 44100, 1024):  # 5 s
            heard = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            heard.rate, heard.pts, heard.time_base = 44100, start, Fraction(1, 44100)
            container.mux(sound.encode(heard))
        container.mux(sound.encode())
    _, times, report = decoded(path)
    assert (len(times), report.is_truncated) == (40, False)


def test_a_video_beside_longer_subtitles_is_whole(make_video, tmp_path):
    path, titles = tmp_path / "titled.mkv", tmp_path / "titles.srt"
    titles.write_text(
        "1\n00:00:00,000 --> 00:00:01,000\nyes\n\n2\n00:00:09,000 --> 00:00:10,000\nno\n"
    )
    parts = [av.open(str(make_video("v.mp4", 40))), av.open(str(titles))]
    with av.open(str(path), "w") as container:
        streams = [container.add_stream_from_template(part.streams[0]) for part in parts]
        for part, stream in zip(parts, streams, strict=True):
            for packet in part.demux():
                if packet.dts is not None:
                    packet.stream = stream
                    container.mux(packet)
    _, times, report = decoded(path)
    assert (len(times), report.is_truncated) == (40, False)


def test_the_estimate_counts_snippets_video_by_video_and_by_the_tail(make_video, tmp_path):
    from vad.stages.extract.plan import estimate
    from vad.stages.extract.settings import ExtractSettings
    from vad.stages.pipelines.executors.run import prepare
    from vad.stages.pipelines.executors.settings import ExecutorSettings

    for name in ("a", "b", "c"):
        make_video(f"in/{name}.mp4", 20)
    for tail, n_snippets in (("repeat-last", 6), ("drop", 3)):  # 60 frames at once would be 4
        settings = ExtractSettings(weights="random:0", tail=tail)
        todo, store = [tmp_path / "in"], tmp_path / "s.zarr"
        plan, backbone = prepare(todo, store, settings, ExecutorSettings(), overwrite=False)
        found = estimate(plan, backbone, settings)
        assert (found.n_frames, found.n_snippets) == (60, n_snippets)


@pytest.mark.parametrize("settings", [[], ["--speed", "8", "--queue", "1"]])
def test_the_lines_of_a_stream_say_where_jumps_were_mended(vad, small_run, apart, settings):
    code, out, err = vad("stream", apart, "--detector", small_run / "run", "--quiet", *settings)
    lines = [json.loads(line) for line in out.splitlines()]
    scores = [line for line in lines if line["type"] == "score"]
    assert code == 0
    assert (lines[-1]["type"], lines[-1]["n_jumps"], lines[-1]["n_rescaled"]) == ("end", 1, 0)
    if not settings:  # otherwise the snippet can be one that was dropped
        assert [score["n_jumps"] for score in scores] == [0, 1, 0, 0]  # frame 30 of snippets of 16
    assert "its time stamps jump; 1 jumps were mended" in err


def test_a_stream_of_a_bare_file_says_that_its_rate_is_assumed(vad, small_run, make_video):
    bare = make_video("cam.mjpeg", 20, codec="mjpeg", pixel_format="yuvj420p")
    for options, fps, assumed in (((), 25, True), (("--fps", 12.5), 12.5, False)):
        _, out, _ = vad("stream", bare, "--detector", small_run / "run", *options)
        opened = json.loads(out.splitlines()[1])
        assert (opened["fps"], opened["fps_assumed"]) == (fps, assumed)


def test_a_browser_s_recording_is_whole_though_its_header_counts_milliseconds(draw, tmp_path):
    """A variable rate, and 1000 frames a second by the header: a last frame of which only the
    header's duration tells is not 33 frames.
    """
    encoded, path = tmp_path / "encoded.webm", tmp_path / "screen.webm"
    stamps = np.cumsum([0, *np.random.default_rng(0).choice([33, 33, 200], 39)]).tolist()  # ms
    with av.open(str(encoded), "w") as container:
        stream = container.add_stream("libvpx", rate=1000, options={"deadline": "realtime"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for number, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(draw(number, 160, 96), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    content = bytearray(encoded.read_bytes())
    at = content.index(b"\x44\x89\x88") + 3  # the duration of the header, in milliseconds
    content[at : at + 8] = struct.pack(">d", stamps[-1] + 34.0)
    path.write_bytes(content)
    info, times, report = decoded(path)
    np.testing.assert_allclose(times, np.array(stamps) / 1000, atol=1e-3)
    assert float(info.fps) == pytest.approx(39 / stamps[-1] * 1000, rel=0.01)
    assert report.n_frames == report.n_frames_expected == 40


def test_a_rate_that_no_camera_has_is_not_believed(make_video, tmp_path, caplog):
    path = make_video("odd.mp4", 20, fps=30)
    content = bytearray(path.read_bytes())
    at = content.index(b"mdhd") + 4 + 12  # version and flags, two dates, and then ticks a second
    content[at : at + 4] = (2**31 - 1).to_bytes(4, "big")  # would be 4 million frames a second
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING, logger="vad"):
        vad.extract(path, tmp_path / "s.zarr", weights="random:0", quiet=True)
    record = FeatureStore.open(tmp_path / "s.zarr").record("odd")
    assert (record.n_frames, record.fps, record.fps_assumed) == (20, 25, True)
    assert "25 was assumed" in caplog.text
