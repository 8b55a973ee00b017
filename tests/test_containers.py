"""Every container and codec that users have: all frames, in order, on time, in their colours.

The videos are made here, by whichever encoders there are; frames carry their number as a bar
code. `vad` reads frames from the first to the last and never seeks; that others who seek, to the
numbers and times it gives, find the same frames is tested at the end.
"""

import json
from fractions import Fraction

import av
import decord
import numpy as np
import pytest

from vad.errors import VideoError
from vad.stages.extract.decoders import read_frames
from vad.stages.extract.decoders.video import Block, Limits, scan
from vad.stages.extract.sources import find_sources

N = 24
FAST = {"deadline": "realtime", "cpu-used": "8"}
X265 = {"x265-params": "log-level=none"}
CODECS = {  # name: (encoder, pixel format, options, codec as it is reported)
    "h264": ("libx264", "yuv420p", {"bf": "3"}, "h264"),
    "h264-10bit": ("libx264", "yuv420p10le", {}, "h264"),
    "hevc": ("libx265", "yuv420p", X265, "hevc"),
    "hevc-10bit": ("libx265", "yuv420p10le", X265, "hevc"),
    "av1": ("libsvtav1", "yuv420p", {"preset": "12"}, "av1"),
    "av1-10bit": ("libsvtav1", "yuv420p10le", {"preset": "12"}, "av1"),
    "vp8": ("libvpx", "yuv420p", FAST, "vp8"),
    "vp9": ("libvpx-vp9", "yuv420p", FAST, "vp9"),
    "mpeg4": ("mpeg4", "yuv420p", {}, "mpeg4"),
    "mjpeg": ("mjpeg", "yuvj420p", {}, "mjpeg"),
    "mpeg2": ("mpeg2video", "yuv420p", {}, "mpeg2video"),
    "flv1": ("flv", "yuv420p", {}, "flv1"),
}
CONTAINERS = {  # suffix: codecs that it can hold
    "mp4": "h264 h264-10bit hevc hevc-10bit av1 av1-10bit vp9 mpeg4 mjpeg mpeg2",
    "mov": "h264 h264-10bit hevc hevc-10bit mpeg4 mjpeg mpeg2",
    "mkv": "h264 h264-10bit hevc hevc-10bit av1 av1-10bit vp8 vp9 mpeg4 mjpeg mpeg2",
    "webm": "av1 av1-10bit vp8 vp9",
    "avi": "h264 vp8 vp9 mpeg4 mjpeg mpeg2",
    "flv": "h264 h264-10bit hevc av1 vp9 flv1",
    "ts": "h264 h264-10bit hevc hevc-10bit mpeg4 mpeg2",
    "mpg": "h264 hevc mpeg4 mpeg2",
}
FILES = [(suffix, codec) for suffix, codecs in CONTAINERS.items() for codec in codecs.split()]
BY_DECORD = {"mp4", "mov", "mkv", "webm", "avi"}, {"h264", "hevc", "vp8", "mpeg4", "mjpeg"}


def decode(path, decoder="auto"):
    """All of a video: rgb, times, report."""
    parts = list(read_frames(path, scan(path, Limits()), decoder=decoder, limits=Limits()))
    blocks = [part for part in parts if isinstance(part, Block)]
    return (
        np.concatenate([block.rgb for block in blocks]),
        np.concatenate([block.times_s for block in blocks]),
        parts[-1],
    )


@pytest.fixture
def encode(make_video):
    """Write a video of a codec of the table, or skip where there is no encoder."""

    def write(name, codec, n_frames=N, **settings):
        encoder, pixel_format, options, _ = CODECS[codec]
        try:
            av.codec.Codec(encoder, "w")
        except av.codec.codec.UnknownCodecError:
            pytest.skip(f"this PyAV has no encoder {encoder}")
        settings = {"options": options, "pixel_format": pixel_format, **settings}
        return make_video(name, n_frames, codec=encoder, **settings)

    return write


@pytest.mark.parametrize(("suffix", "codec"), FILES, ids=[f"{c}.{s}" for s, c in FILES])
def test_all_frames_in_order_on_time_and_in_their_colours(
    encode, read_numbers, draw, suffix, codec
):
    path = encode(f"video.{suffix}", codec)
    info = scan(path, Limits()).info
    assert (info.codec, info.pixel_format) == (CODECS[codec][3], CODECS[codec][1])
    rgb, times, report = decode(path)
    assert read_numbers(rgb) == list(range(N))
    assert np.abs(times - np.arange(N) / 30).max() < 1e-3  # some containers count milliseconds
    assert abs(report.n_frames_expected - N) <= 1  # some declare seconds, rounded
    assert report.n_bad_packets == 0
    # Black, white and grey levels survive compression; a wrong range of values would not.
    truth = np.stack([draw(i, 160, 96) for i in range(N)])
    error = np.abs(rgb.astype(int) - truth)
    assert error[:, :48].mean() < 4  # black and white
    assert error[:, 48:].mean() < 10  # colours, at half resolution
    by_decord = suffix in BY_DECORD[0] and codec in BY_DECORD[1]
    assert report.decoder.split()[0] == ("decord" if by_decord else "pyav")
    if by_decord:
        ours, our_times, _ = decode(path, "pyav")
        assert np.array_equal(ours, rgb)
        assert our_times == pytest.approx(times, abs=1e-9)


@pytest.mark.parametrize("rotation_deg", [90, 180, 270])
@pytest.mark.parametrize(
    ("suffix", "codec"), [("mp4", "hevc"), ("mov", "h264"), ("mkv", "h264"), ("webm", "vp9")]
)
def test_pictures_are_turned_upright(encode, read_numbers, suffix, codec, rotation_deg):
    stored = (160, 96) if rotation_deg == 180 else (96, 160)
    path = encode(f"video.{suffix}", codec, 5, size=stored, rotation_deg=rotation_deg)
    rgb, _, _ = decode(path)
    assert rgb.shape == (5, 96, 160, 3)
    assert read_numbers(rgb) == list(range(5))


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        *(("mp4", "h264"), ("mp4", "hevc"), ("mp4", "av1"), ("mov", "h264"), ("mkv", "h264")),
        *(("webm", "vp9"), ("ts", "h264"), ("flv", "h264"), ("avi", "mpeg4")),
    ],
)
def test_frames_of_a_variable_rate_keep_their_number_and_their_times(
    encode, read_numbers, suffix, codec
):
    ticks = [0, 1, 2, 3, 10, 11, 12, 30, 31, 32]  # of 1/30 s
    options = {"bf": "0"} if codec == "h264" else CODECS[codec][2]
    path = encode(f"video.{suffix}", codec, len(ticks), times=ticks, options=options)
    rgb, times, report = decode(path)
    assert read_numbers(rgb) == list(range(10))  # none repeated to fill a gap, none left out
    assert times == pytest.approx(np.array(ticks) / 30, abs=1e-3)
    assert not report.is_truncated


RECORDERS = {  # suffix: encoder, pixel format, FFmpeg's name of the format, size
    ".264": ("libx264", "yuv420p", "h264", (160, 96)),
    ".h265": ("libx265", "yuv420p", "hevc", (160, 96)),
    ".dav": ("libx264", "yuv420p", "h264", (160, 96)),
    ".vob": ("mpeg2video", "yuv420p", "vob", (160, 96)),
    ".mod": ("mpeg2video", "yuv420p", "mpeg", (160, 96)),
    ".m2t": ("mpeg2video", "yuv420p", "mpegts", (160, 96)),
    ".m2v": ("mpeg2video", "yuv420p", "mpeg2video", (160, 96)),
    ".f4v": ("libx264", "yuv420p", "f4v", (160, 96)),
    ".mxf": ("mpeg2video", "yuv420p", "mxf", (160, 96)),
    ".wmv": ("wmv2", "yuv420p", "asf", (160, 96)),
    ".mjpeg": ("mjpeg", "yuvj444p", "mjpeg", (320, 240)),
    ".dv": ("dvvideo", "yuv420p", "dv", (720, 576)),
    ".gif": ("gif", "rgb8", "gif", (160, 96)),
}


@pytest.mark.parametrize("suffix", RECORDERS)
def test_what_recorders_write_is_found_in_a_folder_and_decoded_whole_at_its_rate(
    draw, tmp_path, suffix
):
    encoder, pixel_format, form, size = RECORDERS[suffix]
    path = tmp_path / "in" / f"a{suffix}"
    path.parent.mkdir()
    with av.open(str(path), "w", format=form) as container:
        options = X265 if encoder == "libx265" else {}
        stream = container.add_stream(encoder, rate=25, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        stream.codec_context.sample_aspect_ratio = Fraction(1)  # so JPEGs have a JFIF header
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(draw(number, *size), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    (source,) = find_sources([path.parent])
    info = scan(source.path, Limits()).info
    rgb, times, report = decode(source.path)
    assert (info.fps, info.fps_assumed) == (25, suffix == ".mjpeg")  # it names no rate
    assert (len(rgb), report.is_truncated) == (20, False)
    assert times == pytest.approx(np.arange(20) / 25, abs=0.011)


@pytest.fixture
def resizing(draw, tmp_path):
    """Write a video of 20 small frames, 20 large ones and 10 small ones, in one stream."""

    def write(suffix, codec):
        encoder, pixel_format, options, _ = CODECS[codec]
        path, step, number = tmp_path / f"video.{suffix}", Fraction(1, 30), 0
        with av.open(str(path), "w") as container:
            stream = container.add_stream(encoder, rate=30)
            stream.width, stream.height, stream.pix_fmt = 160, 96, pixel_format
            for size, n_frames in (((160, 96), 20), ((320, 192), 20), ((160, 96), 10)):
                context = av.CodecContext.create(encoder, "w")
                context.width, context.height = size
                context.pix_fmt, context.time_base, context.framerate = pixel_format, step, 30
                context.options = {**options, "bf": "0"} if codec == "h264" else options
                frames = []
                for at in range(number, number + n_frames):
                    frames.append(av.VideoFrame.from_ndarray(draw(at, *size), format="rgb24"))
                    frames[-1].pts, frames[-1].time_base = at, step
                number += n_frames
                for packet in [p for f in [*frames, None] for p in context.encode(f)]:
                    packet.stream, packet.time_base = stream, step
                    container.mux(packet)
        return path

    return write


RESIZING = [
    *(("mkv", "h264"), ("mp4", "h264"), ("avi", "h264"), ("mkv", "hevc"), ("avi", "mpeg4")),
    *(("mkv", "mpeg4"), ("webm", "vp8"), ("webm", "vp9"), ("avi", "mjpeg"), ("mp4", "mjpeg")),
]


@pytest.mark.parametrize(("suffix", "codec"), RESIZING, ids=[f"{c}.{s}" for s, c in RESIZING])
def test_a_change_of_size_is_counted_whichever_decoder_is_chosen(
    resizing, read_numbers, suffix, codec
):
    path = resizing(suffix, codec)
    for decoder in ("auto", "pyav"):
        rgb, _, report = decode(path, decoder)
        assert read_numbers(rgb) == list(range(50))
        assert (decoder, report.n_rescaled) == (decoder, 20)
    with pytest.raises(VideoError, match="decord: "):  # it would not tell
        decode(path, "decord")


def test_a_change_of_size_is_told_and_recorded(resizing, vad, small_run, tmp_path):
    path, store, scores = resizing("mkv", "h264"), tmp_path / "s.zarr", tmp_path / "scores"
    said = "20 frames of another size were brought to the first one's"
    _, _, err = vad("extract", path, "--store", store)
    assert said in err
    _, out, _ = vad("inspect", store, "--json")
    assert said in out
    _, _, err = vad("score", path, "--detector", small_run / "run", "--out", scores, "-f", "json")
    assert said in err
    _, out, err = vad("stream", path, "--detector", small_run / "run")
    assert json.loads(out.splitlines()[-1])["n_rescaled"] == 20
    assert said in err


REAL = [  # file, codec, pixel format, size as shown
    ("av1.mkv", "av1", "yuv420p", (640, 360)),
    ("h264_10bit.mp4", "h264", "yuv420p10le", (200, 200)),
    ("h265.mp4", "hevc", "yuv420p", (128, 128)),
    ("h265_10bit.mp4", "hevc", "yuv420p10le", (200, 200)),
    ("mpeg4.avi", "mpeg4", "yuv420p", (320, 240)),
    ("rotated_0.mov", "h264", "yuv420p", (568, 320)),
    ("rotated_90.mov", "h264", "yuv420p", (320, 568)),
    ("rotated_180.mov", "h264", "yuv420p", (568, 320)),
    ("rotated_270.mov", "h264", "yuv420p", (320, 568)),
    ("unordered_pts.mov", "h264", "yuv420p", (50, 50)),
    ("dancing.mp4", "h264", "yuv420p", (320, 240)),
]


@pytest.mark.parametrize(("name", "codec", "pixel_format", "size"), REAL)
def test_files_from_other_encoders(data, name, codec, pixel_format, size):
    path = data / "decoder" / name
    info = scan(path, Limits()).info
    assert (info.codec, info.pixel_format, (info.width, info.height)) == (codec, pixel_format, size)
    rgb, times, report = decode(path)
    assert len(rgb) == report.n_frames_expected == info.n_packets
    assert rgb.shape[1:3] == size[::-1]
    assert (np.diff(times) > 0).all()


def test_the_same_scene_in_ten_bits_of_two_codecs(data):
    avc, hevc = (decode(data / "decoder" / f"h26{n}_10bit.mp4")[0] for n in (4, 5))
    assert np.abs(avc.astype(int) - hevc).mean() < 3


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mp4", "h264"), ("mkv", "hevc"), ("webm", "vp9"), ("avi", "mpeg4")]
)
def test_whoever_seeks_to_our_times_finds_our_frames(encode, read_numbers, suffix, codec):
    """By decord's random access, and by PyAV: to the keyframe before, then on to the time.

    Groups of pictures are closed here: in open ones decord's random access, which nothing in
    `vad` uses, gives frames that are up to two off.
    """
    x265 = "keyint=5:no-open-gop=1:log-level=none"
    options = CODECS[codec][2] | ({"x265-params": x265} if codec == "hevc" else {"g": "5"})
    path = encode(f"video.{suffix}", codec, options=options)
    rgb, times, _ = decode(path)
    order = [17, 3, 23, 0, 11, 4, 20]
    picked = decord.VideoReader(str(path)).get_batch(order).asnumpy()
    assert read_numbers(picked) == order
    assert np.array_equal(picked, rgb[order])
    assert read_numbers(np.stack([frame_at(path, times[i]) for i in order])) == order


def frame_at(path, time_s):
    """The picture that is shown at a time counted from the first frame."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        first = next(container.decode(stream)).time
        container.seek(round((first + time_s) / stream.time_base), stream=stream)
        frames = [f for f in container.decode(stream) if f.time <= first + time_s + 1e-4]
        return frames[-1].to_ndarray(format="rgb24")
