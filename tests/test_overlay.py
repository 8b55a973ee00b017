"""What is drawn on a video, and what is cut out of it: the same frames, times and sound."""

import dataclasses
from fractions import Fraction

import av
import numpy as np
import pytest

from vad.errors import VideoError
from vad.stages.infer.video.heat import ALARM, OPACITY, Heat
from vad.stages.infer.video.overlay import CALM, OverlayPanel
from vad.stages.infer.where import Where
from vad.stages.infer.writers import save

SNIPPETS = [0.1, 0.9, 0.2]  # an event in frames 16 to 31, of 10 a second


@pytest.fixture
def scored(make_scores, make_video):
    """Scores of a video whose frames carry their numbers."""

    def make(n_frames=40, **video):
        path = make_video("numbers.mp4", n_frames=n_frames, fps=10, **video)
        return make_scores(SNIPPETS, n_frames=n_frames, source=path)

    return make


def decoded(path):
    """Frames [frames, height, width, 3] and their times in seconds."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return np.stack([f.to_ndarray(format="rgb24") for f in frames]), [f.time for f in frames]


def test_an_overlay_has_every_frame_at_its_time_and_hides_nothing(scored, tmp_path, read_numbers):
    scores = scored()
    (path,) = save(scores, tmp_path / "out", ["mp4"])
    rgb, times = decoded(path)
    panel = OverlayPanel(scores, 160)
    assert rgb.shape == (40, 96 + panel.height_px, 160, 3)
    assert times == pytest.approx(np.arange(40) / 10, abs=1e-4)
    ordinary = [*range(16), *range(32, 40)]
    assert read_numbers(rgb[ordinary, :96]) == ordinary
    edge = rgb[:, 50, 0].astype(int)  # of the picture: red while the event lasts
    is_marked = np.abs(edge - ALARM).max(axis=1) < 60
    assert np.flatnonzero(is_marked).tolist() == list(range(16, 32))


def test_the_strip_shows_the_curve_with_what_has_passed_bright(scored):
    scores = scored()
    panel, black = OverlayPanel(scores, 640), np.zeros((96, 640, 3), np.uint8)

    def colours(number):
        rows = panel.below(black, number)[96:].reshape(-1, 3)
        return {tuple(map(int, row)) for row in rows}

    assert CALM in colours(10)
    assert ALARM not in colours(10)  # the event is to come
    assert ALARM in colours(35)


def test_clips_hold_the_frames_of_their_events_and_no_others(scored, tmp_path, read_numbers):
    scores = scored()
    (path,) = save(scores, tmp_path / "out", [], clips=True)
    assert path.name == "video.event-01.mp4"
    rgb, times = decoded(path)
    assert read_numbers(rgb) == list(range(16, 32))
    assert times == pytest.approx(np.arange(16) / 10, abs=1e-4)


def test_frames_of_events_are_tinted_where_the_score_comes_from(scored, tmp_path):
    shares = np.zeros((3, 2, 4), np.float32)
    shares[:, 1, 3] = 1  # below on the right
    scores = dataclasses.replace(scored(), where=Where(shares, (0.0, 0.0, 160.0, 96.0)))
    heat, black = Heat(scores), np.zeros((96, 160, 3), np.uint8)
    assert np.array_equal(heat.on(black, 15), black)  # before the event
    tinted = heat.on(black, 16)
    assert not black.any()
    assert tinted[72, 140] == pytest.approx(OPACITY * np.array(ALARM), abs=2)
    assert not tinted[:40, :100].any()
    for path in save(scores, tmp_path / "out", ["mp4"], clips=True):
        plain, _ = decoded(tmp_path / "numbers.mp4")
        frames, _ = decoded(path)
        event = slice(16, 32)
        shown = frames[event if len(frames) == 40 else slice(None), :96]
        added = shown.astype(int) - plain[event]
        assert added[:, 60:90, 130:150, 0].mean() > 10
        assert abs(added[:, 26:44, 10:90].mean()) < 3


def test_no_event_no_clip(make_scores, make_video, tmp_path):
    scores = make_scores([0.1], source=make_video("calm.mp4", n_frames=16, fps=10))
    assert save(scores, tmp_path / "out", [], clips=True) == []


@pytest.fixture
def beeping(tmp_path):
    """A video of 40 frames, four seconds, silent but for a tone from 2.0 to 3.0 s."""
    path, rate = tmp_path / "beep.mkv", 16000
    seconds = np.arange(4 * rate) / rate
    tone = 0.5 * np.sin(2 * np.pi * 440 * seconds) * ((seconds >= 2) & (seconds < 3))
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 160, 96, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=rate)
        audio.codec_context.layout = "mono"
        for number in range(40):
            frame = av.VideoFrame.from_ndarray(np.zeros((96, 160, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(video.encode(frame))
            samples = (tone[number * 1600 : (number + 1) * 1600] * 32767).astype(np.int16)
            sound = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = rate, number * 1600, Fraction(1, rate)
            container.mux(audio.encode(sound))
        container.mux(video.encode())
        container.mux(audio.encode())
    return path


def heard(path):
    """From when to when a file is not silent, in seconds."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    times = np.concatenate([f.time + np.arange(f.samples) / f.sample_rate for f in frames])
    samples = np.concatenate([f.to_ndarray()[0] for f in frames])
    loud = times[np.abs(samples) > 0.1]
    return loud[0], loud[-1]


def test_the_sound_stays_and_stays_in_time(make_scores, beeping, tmp_path):
    scores = make_scores([0.1, 0.9, 0.1], n_frames=40, source=beeping)
    (overlay,) = save(scores, tmp_path / "out", ["mp4"])
    assert heard(overlay) == pytest.approx((2.0, 3.0), abs=0.03)
    (clip,) = save(scores, tmp_path / "out", [], clips=True)  # of 1.6 to 3.2 s
    assert heard(clip) == pytest.approx((0.4, 1.4), abs=0.08)


@pytest.mark.parametrize("size", [(161, 97), (40, 30)])
def test_odd_and_tiny_pictures_are_no_hindrance(make_scores, make_video, tmp_path, size):
    path = make_video("odd.mkv", n_frames=20, fps=10, size=size, codec="ffv1")
    scores = make_scores([0.9, 0.1], n_frames=20, source=path)
    record = dataclasses.replace(scores.record, width=size[0], height=size[1])
    scores = dataclasses.replace(scores, record=record)
    (overlay,) = save(scores, tmp_path / "out", ["mp4"])
    assert len(decoded(overlay)[0]) == 20


def test_a_video_that_has_changed_is_refused_and_leaves_no_file(scored, make_video, tmp_path):
    scores = scored()
    make_video("numbers.mp4", n_frames=30, fps=10)
    with pytest.raises(VideoError, match=r"numbers.mp4 has 30 frames, 40 were scored; it has"):
        save(scores, tmp_path / "out", ["mp4"])
    assert list((tmp_path / "out").iterdir()) == []
