"""Live sources: clips in order, gaps told, sources that vanish and return, scores as they come."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import vad
from vad.errors import UsageError, VideoError
from vad.stages.extract.live import Clip, Feed, Gap, LiveSource, Lost, Opened, find_source
from vad.stages.infer.stream.window import Window
from vad.stages.pipelines.stream import stream

SERVER = Path(__file__).with_name("rtsp_server.py")


# --- the detector's window


def peak_so_far(features):
    """A detector that looks both ways: every snippet has the score of the window's peak."""
    visual = features["visual"]
    return np.full(len(visual), visual.max(), np.float32), None


@pytest.mark.parametrize(
    ("n_snippets", "lookahead", "told"),
    [
        # pushed 1 9 2 3 4, then the end
        (2, 0, [[1], [9], [9], [3], [4], []]),  # of a snippet and the one before
        (2, 1, [[], [9], [9], [3], [4], [4]]),  # of a snippet and the one after
        (3, 1, [[], [9], [9], [9], [4], [4]]),
        (9, 4, [[], [], [], [], [9], [9, 9, 9, 9]]),  # of all that there is
    ],
)
def test_a_score_is_told_as_soon_as_its_window_is_seen(n_snippets, lookahead, told):
    window = Window(peak_so_far, n_snippets, lookahead)
    due = [
        window.push({"visual": np.full((1, 1), x)}, tag=i) for i, x in enumerate([1, 9, 2, 3, 4])
    ]
    due.append(window.flush())
    assert [[s.score for s in scored] for scored in due] == told
    assert [s.tag for scored in due for s in scored] == [0, 1, 2, 3, 4]


def test_a_flushed_window_has_forgotten_what_it_saw():
    window = Window(peak_so_far, 4)
    window.push({"visual": np.full((1, 1), 9.0)}, tag=0)
    window.flush()
    (scored,) = window.push({"visual": np.full((1, 1), 2.0)}, tag=1)
    assert (scored.score, scored.n_seen) == (2, 1)


@pytest.mark.parametrize("lookahead", [0, 2])
def test_a_detector_that_looks_at_neighbours_alone_is_given_these_alone(lookahead):
    lengths = []

    def with_neighbours(features):
        visual = features["visual"][:, 0, 0]
        lengths.append(len(visual))
        return np.convolve(visual, [1, 2, 1])[1:-1].astype(np.float32), None

    scores = []
    for reach in (None, 1):
        window, found = Window(with_neighbours, 9, lookahead, reach), []
        for number in (1, 9, 2, 3, 4, 7, 5, 8):
            found += window.push({"visual": np.full((1, 1), number, np.float32)}, tag=0)
        scores.append([s.score for s in found + window.flush()])
    assert scores[0] == scores[1]
    assert max(lengths[: len(lengths) // 2]) == 8
    assert max(lengths[len(lengths) // 2 :]) == 2 + lookahead


def test_a_window_cannot_look_further_ahead_than_it_is_long():
    with pytest.raises(UsageError, match="cannot look 4 snippets ahead"):
        Window(peak_so_far, 4, 4)


# --- what is a source


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("http://camera/video.mjpg", "http:// is no source"),
        ("concat:a.mp4|b.mp4", "there is no such file"),
        ("udp://239.0.0.1:1234", "udp:// is no source"),
        ("rtsp:///path", "names no host"),
        ("rtsp://camera:port/", "the address of the stream is wrong"),
        ("missing.mp4", "there is no such file"),
    ],
)
def test_only_files_cameras_and_rtsp_are_sources(name, said):
    with pytest.raises(UsageError, match=said):
        find_source(name)


def test_a_pace_is_for_files():
    with pytest.raises(UsageError, match="are for files"):
        find_source("rtsp://camera/1", speed=1)


@pytest.mark.parametrize("password", ["se/ret", "se?ret", "12#ret", "12/ret@x", "12?r@t"])
def test_a_password_that_hides_the_host_is_refused_without_being_shown(password):
    with pytest.raises(UsageError, match=r"rtsp://USER:\*\*\*\*@192.0.2.1/live with /") as refused:
        find_source(f"rtsp://admin:{password}@192.0.2.1/live")
    assert "ret" not in str(refused.value).replace("interpret", "")
    assert "12" not in str(refused.value)


def test_a_password_in_the_path_or_query_is_shown_to_nobody():
    source = find_source("rtsp://10.0.0.1/user=admin&password=hush&channel=1?pwd=hush")
    assert source.shown == "rtsp://10.0.0.1/user=admin&password=****&channel=1?pwd=****"
    assert find_source("rtsp://a:p%2Fq@10.0.0.1/x").address == "rtsp://a:p%2Fq@10.0.0.1/x"


def test_a_password_is_shown_to_nobody():
    source = find_source("rtsp://admin:secret@127.0.0.1:1/live?a=1")
    assert source.shown == "rtsp://127.0.0.1:1/live?a=1"
    with pytest.raises(VideoError) as raised:
        read_all(source)
    assert "connection refused" in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("address", "credentials", "request_line"),
    [
        ("a:p%0Xq@HOST/live", "a:p%0Xq", "/live"),  # go2rtc #1208: % that escapes nothing
        ("a:p^w!d@HOST/live", "a:p^w!d", "/live"),  # WebRTC #211
        ("a:p%40w@HOST/live", "a:p@w", "/live"),  # ZoneMinder #4498
        ("a:p@w@HOST/live", "a:p@w", "/live"),
        ("a%40b.org:p%2Fw%3F%23@HOST/live", "a@b.org:p/w?#", "/live"),
        ("a:p+w&=$@HOST/live", "a:p+w&=$", "/live"),
        ("a:@HOST/live", "a:", "/live"),
        ("a:pw@HOST/cam?channel=1&subtype=1", "a:pw", "/cam?channel=1&subtype=1"),  # kurento #554
        ("a:pw@HOST/channel=1&subtype=1", "a:pw", "/channel=1&subtype=1"),
    ],
)
def test_credentials_and_path_arrive_as_they_were_meant(address, credentials, request_line):
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"

        def answer():
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as lines:
                while line := lines.readline().decode():
                    head = line.split()
                    fields = {}
                    while (field := lines.readline().decode().strip()) != "":
                        name, _, value = field.partition(":")
                        fields[name.lower()] = value.strip()
                    asked.append((head, fields))
                    status = "200 OK\r\nPublic: DESCRIBE"
                    if head[0] == "DESCRIBE":
                        status = '401 Unauthorized\r\nWWW-Authenticate: Basic realm="cam"'
                    said = f"RTSP/1.0 {status}\r\nCSeq: {fields['cseq']}\r\n\r\n"
                    connection.sendall(said.encode())

        threading.Thread(target=answer, daemon=True).start()
        source = find_source(f"rtsp://{address.replace('HOST', host)}")
        with pytest.raises(VideoError) as raised:
            read_all(source)
    head, fields = next((h, f) for h, f in asked if "authorization" in f)
    assert base64.b64decode(fields["authorization"].split()[1]).decode() == credentials
    assert head[1].removeprefix(f"rtsp://{host}") == request_line
    secret = address.rpartition("@")[0].partition(":")[2]
    assert source.shown == f"rtsp://{host}{request_line}"
    assert not secret or secret not in str(raised.value)


def test_a_camera_that_is_not_there_is_told():
    with pytest.raises(VideoError, match="^63: no such file or directory; cameras of this machine"):
        read_all(LiveSource("camera", "63"))


def test_a_list_of_files_that_calls_itself_a_video_is_not_opened(tmp_path, make_video):
    make_video("other.mp4")
    trap = tmp_path / "trap.mp4"
    trap.write_text("ffconcat version 1.0\nfile other.mp4\n")
    with pytest.raises(VideoError, match=f"^{trap}: .*no video format"):
        read_all(find_source(str(trap)))


def test_who_speaks_no_rtsp_is_told():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-OpenSSH_9.9\r\n\r\n" * 100)

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(VideoError, match="rtsp://127.0.0.1"):
            read_all(find_source(f"rtsp://127.0.0.1:{server.getsockname()[1]}/x"))


# --- clips of files


def read_all(source, **settings):
    with Feed(source, time_limit_s=10, **settings) as feed:
        return list(feed.events(threading.Event()))


def test_a_file_gives_every_frame_once_and_waits_for_who_is_slow(make_video, read_numbers):
    source = find_source(str(make_video(n_frames=150, fps=25)))
    clips = []
    with Feed(source, n_waiting=1) as feed:
        for event in feed.events(threading.Event()):
            if isinstance(event, Clip):
                time.sleep(0.02)
                clips.append(event)
            else:
                assert isinstance(event, Opened)
    assert [n for c in clips for n in read_numbers(c.rgb[: c.n_frames])] == list(range(150))
    assert [c.first_frame for c in clips] == list(range(0, 150, 16))
    assert clips[-1].n_frames == 6  # 150 = 9 * 16 + 6, filled with the last one
    assert set(read_numbers(clips[-1].rgb[6:])) == {149}
    assert clips[1].start_s == pytest.approx(16 / 25)
    assert clips[-1].end_s == pytest.approx(150 / 25)


def test_a_loop_goes_on_in_time(make_video, read_numbers):
    source = find_source(str(make_video(n_frames=20, fps=10)), loop=True)
    clips = []
    with Feed(source) as feed:
        for event in feed.events(threading.Event()):
            if isinstance(event, Clip):
                clips.append(event)
            if len(clips) == 3:
                break
    numbers = [n for clip in clips for n in read_numbers(clip.rgb)]
    assert numbers == [i % 20 for i in range(48)]
    assert [clip.start_s for clip in clips] == pytest.approx([0, 1.6, 3.2])


def test_who_is_too_slow_loses_the_oldest_clips_and_is_told(make_video, read_numbers):
    source = find_source(str(make_video(n_frames=480, fps=30)), speed=16)  # it takes a second
    events = []
    with Feed(source, n_waiting=2) as feed:
        for event in feed.events(threading.Event()):
            events.append(event)
            if isinstance(event, Clip):
                time.sleep(0.3)
    clips = [e for e in events if isinstance(e, Clip)]
    gaps = [e for e in events if isinstance(e, Gap)]
    assert {gap.reason for gap in gaps} == {"behind"}
    assert len(clips) + sum(gap.n_clips for gap in gaps) == 30
    assert len(clips) < 15
    for clip in clips:  # whatever was dropped, what is left is in its place
        assert read_numbers(clip.rgb) == list(range(clip.first_frame, clip.first_frame + 16))
    now_s = 0.0
    for event in events[1:]:  # without holes: a clip or a gap for every moment
        assert event.start_s == pytest.approx(now_s)
        now_s = event.end_s
    assert now_s == pytest.approx(16)


def test_a_source_that_is_left_leaves_no_process_behind(make_video):
    source = find_source(str(make_video(n_frames=64)), loop=True)
    with Feed(source) as feed:
        next(feed.events(threading.Event()))
        reader = feed._reader._process
        assert reader.poll() is None
    assert reader.poll() is not None


# --- a camera on the network


class Camera:
    """The server of `rtsp_server.py` in a process of its own, on a port that stays."""

    def __init__(self, video):
        self.video, self.port = video, 0
        self.start()

    def start(self):
        command = [sys.executable, str(SERVER), str(self.video), str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.address = self.process.stdout.readline().strip()
        self.port = self.address.split(":")[2].split("/")[0]

    def silence(self):
        os.kill(self.process.pid, signal.SIGSTOP)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def camera(make_video):
    """A camera of 30 frames a second that shows the numbers 0 to 89 again and again."""
    camera = Camera(make_video("camera.mp4", n_frames=90, fps=30, options={"g": "15", "bf": "0"}))
    yield camera
    camera.end()


def test_a_network_camera_gives_every_frame(camera, read_numbers):
    clips = []
    with Feed(find_source(camera.address)) as feed:
        for event in feed.events(threading.Event()):
            if isinstance(event, Clip):
                clips.append(event)
            if len(clips) == 4:
                break
    numbers = [n for clip in clips for n in read_numbers(clip.rgb)]
    assert numbers == [(numbers[0] + i) % 90 for i in range(64)]
    assert [c.start_s for c in clips] == pytest.approx([i * 16 / 30 for i in range(4)], abs=0.01)
    assert abs(time.time() - clips[-1].arrived_s) < 2


def test_a_camera_that_went_away_is_found_again(camera):
    events = []
    with Feed(find_source(camera.address)) as feed:
        for event in feed.events(threading.Event()):
            events.append(event)
            if isinstance(event, Clip) and len(events) == 2:
                camera.end()
            if isinstance(event, Lost) and camera.process.returncode is not None:
                camera.start()
            if isinstance(event, Clip) and any(isinstance(e, Lost) for e in events):
                break
    kinds = [type(e).__name__ for e in events if not isinstance(e, Clip)]
    assert kinds == ["Opened", "Lost", "Gap", "Opened"]
    gap = next(e for e in events if isinstance(e, Gap))
    before = [e for e in events if isinstance(e, Clip)][-2]
    assert gap.reason == "lost"
    assert gap.start_s == before.end_s
    assert gap.end_s - gap.start_s > 0.5  # the pause before the second try is a second
    assert events[-1].start_s == pytest.approx(gap.end_s, abs=0.5)
    assert events[-1].index == before.index + 1


def test_a_silent_camera_is_noticed(camera):
    with Feed(find_source(camera.address), time_limit_s=2, give_up_s=0) as feed:
        events = feed.events(threading.Event())
        for event in events:
            if isinstance(event, Clip):
                camera.silence()
                break
        lost = next(e for e in events if isinstance(e, Lost))
        assert lost.why == "no picture for 2 s"
        with pytest.raises(VideoError, match="^rtsp://.*: given up after 0 s: no picture"):
            list(events)


def test_a_reader_that_dies_takes_nothing_with_it(camera):
    with Feed(find_source(camera.address)) as feed:
        events = feed.events(threading.Event())
        next(e for e in events if isinstance(e, Clip))
        feed._reader.kill()
        assert next(e for e in events if isinstance(e, Lost)).why.endswith("died (SIGKILL)")
        assert isinstance(next(e for e in events if isinstance(e, Clip)), Clip)


# --- scores


def test_a_file_watched_with_a_window_over_all_of_it_has_the_scores_of_vad_score(small_run):
    video, run = small_run / "videos" / "v1.mp4", small_run / "run"
    lines = list(stream(str(video), run, window=16, lookahead=15, quiet=True))
    whole = vad.score(video, detector=run).to_dict()
    scores = [line for line in lines if line["type"] == "score"]
    names = ("snippet", "start_frame", "end_frame")
    assert [[s[n] for n in names] for s in scores] == [
        [s[n] for n in names] for s in whole["snippets"]
    ]
    np.testing.assert_allclose(
        [s["score"] for s in scores], [s["score"] for s in whole["snippets"]], atol=2e-6
    )
    start, end = lines[0], lines[-1]
    assert (start["schema"], start["window_snippets"]) == ("vad.stream/1", 16)
    assert start["threshold"] == whole["threshold"]
    assert (end["type"], end["why"], end["n_snippets"]) == ("end", "the source ended", 2)


def test_lines_tell_the_kind_of_the_event_under_way(small_run, naming_run):
    video = str(small_run / "videos" / "v1.mp4")
    lines = list(stream(video, naming_run, threshold=0.0, quiet=True))
    assert lines[0]["kinds"] == ["fight", "fire"]
    told = [(s["kind"], s["kind_share"]) for s in lines if s["type"] == "score"]
    assert told == [("fire", 0.7311)] * 2
    (event,) = vad.score(video, naming_run, threshold=0.0).events
    assert (event.kind, event.kind_share) == told[-1]
    quiet = [s for s in stream(video, naming_run, threshold=1.0) if s["type"] == "score"]
    assert {(s["kind"], s["kind_share"]) for s in quiet} == {("", None)}


def test_the_command_watches_a_camera_until_it_is_interrupted(python, camera, small_run):
    command = ("-m", "vad", "stream", camera.address, "--detector", small_run / "run")
    watch = python.start(*command, "--queue", 1)
    lines = []
    for text in watch.stdout:  # each is whole when it comes
        lines.append(json.loads(text))
        if lines[-1]["type"] == "score" and lines[-1]["snippet"] >= 2:
            watch.send_signal(signal.SIGINT)
            break
    lines += [json.loads(text) for text in watch.stdout]
    _, errors = watch.communicate()
    assert watch.returncode == 130
    assert [lines[0]["type"], lines[1]["type"], lines[-1]["type"]] == ["start", "source", "end"]
    assert lines[1]["fps"] == 30
    assert lines[-1]["why"] == "stopped"
    scores = [line for line in lines if line["type"] == "score"]
    assert all(0 <= s["score"] <= 1 and 0 < s["latency_s"] < 60 for s in scores)
    assert all(s["wall"].endswith("+00:00") for s in scores)
    assert "snippets scored, latency" in errors
    assert "Traceback" not in errors


def test_a_source_that_cannot_be_opened_ends_with_its_reason(python, small_run):
    command = ("-m", "vad", "stream", "rtsp://127.0.0.1:1/x", "--detector", small_run / "run")
    done = python.run(*command)
    assert done.returncode == 3
    assert json.loads(done.stdout.splitlines()[-1])["type"] == "end"
    assert "vad: rtsp://127.0.0.1:1/x: connection refused; check the address" in done.stderr
