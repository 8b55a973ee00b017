"""Frame i is frame i: both decoders, every kind of file, and files that are none."""

import resource
import struct
import subprocess
import sys

import av
import numpy as np
import pytest

from vad.errors import VideoError
from vad.stages.extract.decoders import read_frames
from vad.stages.extract.decoders.video import Block, DecodeReport, Limits, probe, scan

ROOMY = Limits(decord_bytes=2**28)  # so that decord may take what is long for it
BOTH = pytest.mark.parametrize("decoder", ["decord", "pyav"])
X265 = {"x265-params": "log-level=none"}


def decode(path, decoder="auto", limits=None, **settings):
    """All of a video: rgb, times, report."""
    limits = limits or Limits()
    parts = list(read_frames(path, scan(path, limits), decoder=decoder, limits=limits, **settings))
    blocks = [part for part in parts if isinstance(part, Block)]
    assert isinstance(parts[-1], DecodeReport)
    assert all(len(block.rgb) == 16 for block in blocks[:-1])
    rgb = np.concatenate([block.rgb for block in blocks])
    times = np.concatenate([block.times_s for block in blocks])
    assert len(rgb) == len(times) == parts[-1].n_frames
    return rgb, times, parts[-1]


def failure(path, decoder="auto", **settings):
    with pytest.raises(VideoError) as caught:
        decode(path, decoder, **settings)
    return caught.value


# --- frame i is frame i


@BOTH
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("b_frames.mp4", {"options": {"bf": "3"}}),
        ("no_b_frames.mov", {"options": {"bf": "0"}}),
        ("hevc.mp4", {"codec": "libx265", "options": X265}),
        ("mpeg4_b_frames.mp4", {"codec": "mpeg4", "options": {"bf": "2"}}),
        ("mpeg4_b_frames.avi", {"codec": "mpeg4", "options": {"bf": "2"}}),
        ("h264.avi", {}),
        ("h264.mkv", {"options": {"bf": "2"}}),
        ("vp8.webm", {"codec": "libvpx", "options": {"deadline": "realtime"}}),
        ("mjpeg.avi", {"codec": "mjpeg", "pixel_format": "yuvj420p"}),
        ("odd_sides.mp4", {"size": (161, 97), "pixel_format": "yuv444p"}),
        ("odd_sides.avi", {"size": (161, 97), "codec": "mpeg4"}),
        ("grey.mp4", {"pixel_format": "gray"}),
        ("fps_120.mp4", {"fps": 120}),
    ],
)
def test_frames_come_in_their_order(make_video, read_numbers, name, settings, decoder):
    path = make_video(name, 40, **settings)
    rgb, times, report = decode(path, decoder)
    fps = settings.get("fps", 30)
    width, height = settings.get("size", (160, 96))
    assert rgb.shape == (40, height, width, 3)
    assert read_numbers(rgb) == list(range(40))
    assert np.abs(times - np.arange(40) / fps).max() < 0.5 / fps
    assert report.decoder.startswith(decoder)
    assert report.n_frames_expected == 40
    assert report.duration_s == pytest.approx(40 / fps, abs=0.5 / fps)


@BOTH
@pytest.mark.parametrize("n_frames", [1, 15, 16, 17, 33])
def test_no_frame_is_lost_at_the_ends(make_video, read_numbers, n_frames, decoder):
    rgb, _, report = decode(make_video("short.mp4", n_frames), decoder)
    assert read_numbers(rgb) == list(range(n_frames))
    assert (report.n_frames, report.n_bad_packets, report.note) == (n_frames, 0, "")


@BOTH
@pytest.mark.parametrize("name", ["uneven.mp4", "uneven.mkv"])
def test_times_are_those_of_the_file_not_of_a_constant_rate(make_video, name, decoder):
    ticks = [0, 1, 2, 3, 10, 11, 12, 30, 31, 32]  # of 1/30 s
    _, times, report = decode(make_video(name, 10, times=ticks), decoder)
    assert times == pytest.approx(np.array(ticks) / 30, abs=1e-3)
    assert not report.is_truncated


@BOTH
def test_times_count_from_the_first_frame(make_video, decoder):
    _, times, _ = decode(make_video("late.mkv", 4, times=[90, 91, 92, 93]), decoder)
    assert times == pytest.approx([0, 1 / 30, 2 / 30, 3 / 30], abs=1e-3)


def test_frames_before_time_zero_are_hidden_and_that_is_no_truncation(make_video, read_numbers):
    path = make_video("negative.mp4", 60, times=range(-20, 40), options={"bf": "3"})
    rgb, times, report = decode(path)  # decord would return 60 frames, the last one 21 times
    assert read_numbers(rgb) == list(range(20, 60))
    assert (times[0], report.n_frames, report.n_frames_expected) == (0, 40, 40)
    assert report.decoder.startswith("pyav")
    assert report.note == ""  # decord was not even tried


@pytest.mark.parametrize("rotation_deg", [0, 90, 180, 270])
def test_pictures_are_upright(make_video, read_numbers, rotation_deg):
    stored = (160, 96) if rotation_deg % 180 == 0 else (96, 160)
    path = make_video("turned.mp4", 5, size=stored, rotation_deg=rotation_deg)
    rgb, _, _ = decode(path)
    assert rgb.shape == (5, 96, 160, 3)
    assert read_numbers(rgb) == [0, 1, 2, 3, 4]
    info = probe(path)
    assert (info.width, info.height, info.rotation_deg) == (160, 96, rotation_deg)


def test_a_change_of_size_is_brought_to_the_first_size(make_video, read_numbers, tmp_path):
    parts = [make_video("a.ts", 20), make_video("b.ts", 20, size=(320, 192))]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    rgb, times, report = decode(joined)
    assert rgb.shape == (40, 96, 160, 3)
    assert read_numbers(rgb) == [*range(20), *range(20)]
    assert report.n_rescaled == 20
    assert (np.diff(times) > 0).all()  # though the stamps of the second part start again


def test_sound_that_begins_in_the_middle_of_a_stream_is_no_damage(
    make_video, read_numbers, tmp_path
):
    silent = make_video("silent.ts", 20, fps=2).read_bytes()
    with av.open(str(tmp_path / "loud.ts"), "w") as container:
        video, audio = (
            container.add_stream("libx264", rate=2),
            container.add_stream("aac", rate=8000),
        )
        video.width, video.height, video.pix_fmt = 160, 96, "yuv420p"
        for _ in range(2):
            rgb = np.zeros((96, 160, 3), np.uint8)  # the number 0
            container.mux(video.encode(av.VideoFrame.from_ndarray(rgb)))
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.sample_rate = 8000
        for stream, frames in ((audio, [sound, None]), (video, [None])):
            for frame in frames:
                container.mux(stream.encode(frame))
    loud = (tmp_path / "loud.ts").read_bytes()
    # Opening reads 7 s and the last 250 kB: neither knows of the sound.
    n_after = 1 + 250_000 // len(silent)
    (tmp_path / "begins.ts").write_bytes(silent + loud + silent * n_after)
    rgb, _, report = decode(tmp_path / "begins.ts")
    assert read_numbers(rgb) == [*range(20), 0, 0, *[*range(20)] * n_after]
    assert report.n_bad_packets == 0


def test_an_avi_with_skipped_frames_is_not_truncated(make_video, read_numbers):
    ticks = [*range(20), *range(60, 80)]  # the recorder skipped 40, and the header counts 80
    rgb, times, report = decode(make_video("skips.avi", 40, codec="mpeg4", times=ticks))
    assert read_numbers(rgb) == list(range(40))
    assert times[20] == pytest.approx(2.0)
    assert not report.is_truncated


def test_probe_tells_what_the_file_declares(make_video):
    info = probe(make_video("video.mp4", 33, fps=15))
    assert (info.container, info.codec, info.pixel_format) == ("mov", "h264", "yuv420p")
    assert (info.width, info.height, info.rotation_deg, info.fps) == (160, 96, 0, 15)
    assert (info.n_packets, info.n_frames_declared) == (33, 33)
    assert info.duration_s == pytest.approx(33 / 15, abs=1e-3)


# --- two decoders


@pytest.mark.parametrize(
    "name",
    [
        *("decoder/dancing.mp4", "decoder/h265.mp4", "decoder/mpeg4.avi", "decoder/rotated_0.mov"),
        *("decoder/unordered_pts.mov", "fight/videos/s37_calm0.mp4", "fight/videos/s03_calm0.mp4"),
        *("ped2/videos/Test001.mp4", "ped2/videos/Train003.mp4"),
    ],
)
def test_both_decoders_agree_on_real_videos(data, name):
    ours, theirs = decode(data / name, "pyav"), decode(data / name, "decord", ROOMY)
    difference = np.maximum(ours[0], theirs[0]) - np.minimum(ours[0], theirs[0])
    assert difference.mean() <= 2
    assert np.square(difference, dtype=np.uint16).mean() <= 255**2 / 1e4  # PSNR >= 40 dB
    assert ours[1] == pytest.approx(theirs[1], abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["fight", "ped2"])
def test_all_real_videos_decode_without_complaint(data, folder):
    paths = sorted((data / folder / "videos").glob("*.mp4"))
    assert paths
    for path in paths:
        ours, theirs = decode(path, "pyav"), decode(path, "auto", ROOMY)
        assert ours[2].n_bad_packets == 0
        assert ours[2].n_frames == ours[2].n_frames_expected
        assert np.array_equal(ours[0], theirs[0])


@pytest.mark.parametrize(
    ("name", "settings", "decoder"),
    [
        ("plain.mp4", {}, "decord"),
        ("plain.ts", {}, "pyav"),
        ("plain.flv", {}, "pyav"),
        ("ten_bit.mp4", {"pixel_format": "yuv420p10le"}, "pyav"),
        ("turned.mp4", {"rotation_deg": 90}, "pyav"),
        ("lossless.avi", {"codec": "ffv1"}, "pyav"),
    ],
)
def test_auto_takes_decord_where_it_is_right(make_video, name, settings, decoder):
    path = make_video(name, 20, **settings)
    assert decode(path)[2].decoder.startswith(decoder)
    if decoder == "pyav":
        error = failure(path, "decord")
        assert error.reason == "unreadable"
        assert "--decoder auto" in str(error)


def test_decord_is_spared_videos_that_would_fill_its_memory(make_video, read_numbers):
    path = make_video("long.mp4", 60)
    limits = Limits(decord_bytes=59 * 160 * 96 * 3)
    rgb, _, report = decode(path, limits=limits)
    assert report.decoder.startswith("pyav")
    assert read_numbers(rgb) == list(range(60))
    assert probe(path, limits).n_packets == 60  # by the header, though not all were looked at


def test_pyav_decodes_from_the_start_what_decord_refuses(data):
    _, _, report = decode(data / "decoder" / "corrupted.mp4", limits=ROOMY)
    assert report.decoder.startswith("pyav")
    assert "avcodec_send_packet" in report.note
    assert (report.n_frames, report.n_frames_expected, report.n_bad_packets) == (49, 50, 1)


# --- damage


def cut(path, share):
    """The first part of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


@pytest.mark.parametrize(
    ("name", "container_options"), [("front.mp4", {"movflags": "faststart"}), ("cut.mkv", None)]
)
@pytest.mark.parametrize("decoder", ["auto", "pyav"])
def test_a_missing_tail_is_reported_with_both_numbers(
    make_video, read_numbers, name, container_options, decoder
):
    settings = {"options": {"bf": "0"}, "container_options": container_options}
    path = cut(make_video(name, 300, **settings), 0.5)
    error = failure(path, decoder)
    assert error.reason == "truncated"
    declared, found = (int(word) for word in str(error).split() if word.isdigit())
    assert declared == pytest.approx(300, abs=1)  # Matroska declares seconds, rounded
    assert 50 < found < 250
    assert "--accept-truncated" in str(error)
    rgb, _, report = decode(path, accept_truncated=True)
    assert read_numbers(rgb) == list(range(found))
    assert report.is_truncated


@pytest.mark.parametrize(
    ("declared", "found", "is_truncated"),
    [
        (100, 84, False),  # 16 missing: one clip
        (100, 83, True),
        (2000, 1960, False),  # 40 missing: 2 %
        (2000, 1959, True),
        (15, 1, False),
        (100, 120, False),
    ],
)
def test_more_than_a_clip_and_two_percent_may_not_be_missing(declared, found, is_truncated):
    report = DecodeReport("pyav", found, declared, n_bad_packets=0, n_rescaled=0, duration_s=1.0)
    assert report.is_truncated == is_truncated


def damage(path, packets):
    """Overwrite some of a video's packets, all but their first bytes, with zeros."""
    with av.open(str(path)) as container:
        found = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for position, size in found[packets]:
        content[position : position + size] = b"\xff" * size
    path.write_bytes(content)
    return path


def test_bad_packets_are_left_out_and_counted(make_video, read_numbers):
    settings = {"options": {"g": "1", "bf": "0"}}  # so that no frame needs another one
    path = damage(make_video("scratched.mp4", 100, **settings), slice(40, 44))
    rgb, times, report = decode(path)
    assert read_numbers(rgb) == [*range(40), *range(44, 100)]
    assert times[40] == pytest.approx(44 / 30)
    assert (report.n_bad_packets, report.n_frames_expected) == (4, 100)


def test_too_many_bad_packets_are_damage(make_video):
    settings = {"options": {"g": "1", "bf": "0"}}
    path = damage(make_video("ruined.mp4", 100, **settings), slice(20, 60))
    error = failure(path, accept_truncated=True)
    assert error.reason == "damaged"
    assert str(error) == "40 of its packets cannot be decoded, 60 frames are left"


# --- files that are no videos, or hostile


@pytest.mark.parametrize(
    ("content", "reason", "what"),
    [
        (b"", "empty", "the file is empty"),
        (b"hello\n" * 50, "not-a-video", "no video format"),
        (bytes(100_000), "not-a-video", "no video format"),
        (b"ffconcat version 1.0\nfile canary.mp4\n", "not-a-video", "no video format"),
        (b"ffconcat version 1.0\nfile canary.mp4\n", "not-a-video", "a list, which names other"),
        (b"#EXTM3U\ncanary.mp4\n", "not-a-video", "it is a playlist, which names other files"),
        (
            b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\ncanary.mp4\n#EXT-X-ENDLIST\n",
            "not-a-video",
            "no video format",
        ),
        (
            b'<?xml version="1.0"?><svg><image href="canary.mp4"/></svg>',
            "not-a-video",
            "no video format",
        ),
    ],
)
def test_what_is_no_video_says_so(make_video, tmp_path, monkeypatch, content, reason, what):
    make_video("canary.mp4", 5)  # which some of these files ask to be decoded in their place
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    error = failure(path)
    assert error.reason == reason
    assert what in str(error)


@pytest.mark.parametrize(
    "name", ["http:x.mp4", "concat:a|b.mp4", "%03d.mp4", "-i.mp4", "new\nline.mp4"]
)
@BOTH
def test_a_name_is_a_name(make_video, read_numbers, monkeypatch, tmp_path, name, decoder):
    make_video("plain.mp4", 3).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    rgb, _, _ = decode(tmp_path.relative_to(tmp_path) / name, decoder)
    assert read_numbers(rgb) == [0, 1, 2]


def test_a_video_without_its_index_was_cut_off(make_video):
    error = failure(cut(make_video("end.mp4", 40), 0.5))  # the index is at the end
    assert error.reason == "truncated"
    assert "no index" in str(error)


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    error = failure(path)
    assert (error.reason, str(error)) == ("not-a-video", "it holds no video stream")


def test_what_is_not_a_file_is_unreadable(tmp_path):
    assert "no such file" in str(failure(tmp_path / "absent.mp4"))
    assert "not a regular file" in str(failure(tmp_path))
    assert failure(tmp_path).reason == "unreadable"


@pytest.mark.slow
def test_a_bomb_is_refused_in_little_memory(make_video):
    path = make_video("bomb.mp4", 1, size=(8192, 8192), options={"preset": "ultrafast"})
    code = f"""
import resource
from pathlib import Path
from vad.errors import VideoError
from vad.stages.extract.decoders.video import probe
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    probe(Path({str(path)!r}))
except VideoError as error:
    print(error.reason, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    reason, grown_mb = done.stdout.split()
    assert reason == "too-large"
    assert int(grown_mb) < 64


BOMBS = {  # how each kind of file says the size of its pictures, here 160x96
    "screen.gif": ({"codec": "gif", "pixel_format": "rgb8"}, "<HH", (160, 96)),
    "lossless.avi": ({"codec": "ffv1"}, "<ii", (160, 96)),
    "raw.avi": ({"codec": "rawvideo"}, "<ii", (160, 96)),
    "bare.mjpeg": ({"codec": "mjpeg", "pixel_format": "yuvj420p"}, ">HH", (96, 160)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_that_claims_huge_pictures_is_too_large_and_takes_no_memory(make_video, name):
    settings, form, size = BOMBS[name]
    path = make_video(name, 3, **settings)
    content, said = path.read_bytes(), struct.pack(form, *size)
    assert said in content
    path.write_bytes(content.replace(said, struct.pack(form, 60_000, 60_000)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = failure(path)
    assert error.reason == "too-large"
    assert str(error) == (
        "its pictures are 60000x60000 = 3,600,000,000 pixels; the limit is 9,437,184"
    )  # and no setting allows more than FFmpeg does
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # kB
    if name == "lossless.avi":
        path.write_bytes(content.replace(said, struct.pack(form, 5000, 5000)))
        assert str(failure(path)).endswith("9,437,184; --max-pixels 25000000")


def test_large_pictures_are_refused_before_one_is_decoded(make_video):
    path = make_video("large.mp4", 1, size=(640, 480))
    error = failure(path, limits=Limits(max_pixels=640 * 480 - 1))
    assert error.reason == "too-large"
    assert "640x480 = 307,200 pixels; the limit is 307,199; --max-pixels 307200" in str(error)
    assert decode(path, limits=Limits(max_pixels=640 * 480))[2].n_frames == 1
