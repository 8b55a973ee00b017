"""`vad watch`: the file of cameras, events, the journal, sinks, health, and all of it together."""

import errno
import hashlib
import hmac
import json
import logging
import os
import runpy
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch

import vad
from vad.errors import UsageError
from vad.stages.extract.live import Clip, LiveSource
from vad.stages.pipelines.watch import events
from vad.stages.pipelines.watch.camera import Masks, Watched
from vad.stages.pipelines.watch.events import (
    Alert,
    Events,
    Heard,
    Journal,
    Recorder,
    alert_id,
    prune,
    write_clip,
)
from vad.stages.pipelines.watch.health import Health, in_text
from vad.stages.pipelines.watch.reading import read_watch_file
from vad.stages.pipelines.watch.settings import (
    Camera,
    CameraSettings,
    LinesSettings,
    Sink,
    Zone,
)
from vad.stages.pipelines.watch.sinks import signature, wants
from vad.stages.train.card import Card, Member, Selection, Stream
from vad.stages.train.detectors import create_detector
from vad.stages.train.familiarity import Familiarity
from vad.stages.train.kinds import Kinds
from vad.stages.train.run import Run, TrainedMember
from vad.stages.train.streams import Inputs, Scaling
from vad.store import Provenance

Receiver = runpy.run_path(str(Path(__file__).with_name("alert_receiver.py")))["Receiver"]
T0 = 1_800_000_000.0


# --- the file


def file_of(folder, text, secrets=None):
    path = folder / "cameras.toml"
    path.write_text(text)
    if secrets is not None:
        (folder / "secrets.toml").write_text(secrets)
        (folder / "secrets.toml").chmod(0o600)
    return path


def test_all_mistakes_are_told_at_once_with_their_lines_and_good_cameras_stay(tmp_path):
    path = file_of(
        tmp_path,
        """folder = "out"
[defaults]
cool_down = 5
[cameras.good]
address = "rtsp://10.0.0.1/live"
hours = ["Mon-Fri 18:00-06:00"]
[cameras.gate]
adress = "rtsp://10.0.0.2/live"
[cameras.hall]
address = "rtsp://10.0.0.3/live"
threshold = 2
hours = ["Mon-Foo 18:00-06:00"]
[[cameras.hall.zones]]
polygon = [[0, 0], [1, 1], [1, 0], [0, 1]]
[[cameras.hall.zones]]
polygon = [[0, 0], [1, 1], [2, 0]]
[cameras.yard]
address = "rtsp://user:secret@10.0.0.4/live"
[cameras.gone]
address = "gone.mp4"
[cameras.blind]
address = "rtsp://10.0.0.5/live"
[[cameras.blind.zones]]
polygon = [[0, 0], [1, 0], [1, 1], [0, 1]]
""",
    )
    found = read_watch_file(path)
    assert [camera.name for camera in found.cameras] == ["good"]
    assert found.cameras[0].settings.cool_down == 5
    told = {mistake.line: mistake.what for mistake in found.mistakes if mistake.line != 7}
    assert told.keys() == {8, 11, 12, 14, 16, 18, 20, 23}
    assert "no key 'adress', did you mean 'address'" in told[8]
    assert "2 is above 1" in told[11] or "2.0 is above 1" in told[11]
    assert "Mon-Foo" in told[12]
    assert "sides 1 and 3 cross" in told[14]
    assert "[2, 0] is no point" in told[16]
    assert "holds a password" in told[18]
    assert "there is no such file" in told[20]
    assert "its zones ignore the whole picture" in told[23]
    assert not any("secret@" in mistake.what for mistake in found.mistakes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[cameras.a]\naddress = ", "is not TOML"),
        ("", "names no camera"),
        ("[cameras.a]\naddress = '0'\n[sinks.x]\ntype = 'fax'", "line 4: type is one of: jsonl"),
        ("[cameras.a]\naddress = '0'\n[sinks.x]\ntype = 'webhook'", "line 3: a sink of type web"),
        (
            "[cameras.a]\naddress = '0'\n[sinks.x]\ntype = 'jsonl'\ncameras = ['b']",
            "line 5: there is no camera 'b'",
        ),
        (
            "[cameras.a]\naddress = '0'\n[sinks.x]\ntype = 'jsonl'\nkinds = [7]",
            "line 5: kinds: 7 is no name of a kind",
        ),
        ("fodler = 'x'\n[cameras.a]\naddress = '0'", "line 1: no key 'fodler', did you mean"),
        (
            "[cameras.a]\naddress = 'rtsp://${NO_SUCH}@h/x'",
            "line 2: address: NO_SUCH is neither in the env",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path, text, said):
    with pytest.raises(UsageError) as refused:
        read_watch_file(file_of(tmp_path, text))
    assert said in str(refused.value)


def test_a_mistake_in_the_defaults_is_told_once(tmp_path):
    cameras = "".join(f"[cameras.c{i}]\naddress = '0'\n" for i in range(3))
    wrong = "[defaults]\ncool_donw = 3\nafter = 99\nhours = ['Mon-Foo 18:00-06:00']\n"
    with pytest.raises(UsageError) as refused:
        read_watch_file(file_of(tmp_path, wrong + cameras))
    told = str(refused.value)
    assert [told.count(f"line {line}: ") for line in (2, 3, 4)] == [1, 1, 1]
    assert told.count("; ") == 2


def test_a_rate_of_false_alarms_of_a_camera_replaces_a_default_threshold(tmp_path):
    text = "[defaults]\nthreshold = 0.8\n[cameras.a]\naddress = '0'\nfalse_alarms = '2/h'\n"
    (camera,) = read_watch_file(file_of(tmp_path, text)).cameras
    assert (camera.settings.threshold, camera.settings.false_alarms) == (None, "2/h")


def test_secrets_come_from_the_environment_or_a_file_for_its_owner_alone(tmp_path, monkeypatch):
    text = '[cameras.a]\naddress = "rtsp://${USER_A}:${PASS_A}@10.0.0.1/live"\n'
    path = file_of(tmp_path, text, "USER_A = 'me'\nPASS_A = 'p/w@x'\n")
    (camera,) = read_watch_file(path).cameras
    assert camera.source.address == "rtsp://me:p%2Fw%40x@10.0.0.1/live"
    assert camera.source.shown == "rtsp://10.0.0.1/live"
    monkeypatch.setenv("PASS_A", "other")
    assert "other" in read_watch_file(path).cameras[0].source.address
    (tmp_path / "secrets.toml").chmod(0o640)
    with pytest.raises(UsageError, match="others can read .*chmod 600"):
        read_watch_file(path)


def test_hours_may_go_beyond_midnight(tmp_path):
    text = '[cameras.a]\naddress = "0"\nhours = ["Fri-Sun 22:00-06:00", "Wed 12:00-13:00"]\n'
    (camera,) = read_watch_file(file_of(tmp_path, text)).cameras
    on = {
        "2026-11-27 21:59": False,  # a Friday
        "2026-11-27 22:00": True,
        "2026-11-30 05:59": True,  # the night from Sunday to Monday
        "2026-11-30 22:30": False,
        "2026-11-27 03:00": False,
        "2026-12-02 12:59": True,
        "2026-12-02 13:00": False,
    }
    assert {when: camera.is_on(datetime.fromisoformat(when)) for when in on} == on


def test_zones_hide_pixels_and_cells():
    left = Zone("", ((0, 0), (0.5, 0), (0.5, 1), (0, 1)), "ignore", black=True)
    masks = Masks.of([left], 40, 60)
    assert masks.ignored[:, :29].all()
    assert not masks.ignored[:, 32:].any()
    rgb = masks.blackened(np.full((2, 40, 60, 3), 9, np.uint8))
    assert rgb[:, :, :29].max() == 0
    assert rgb[:, :, 32:].min() == 9
    corners = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75))
    middle = Zone("", corners, "watch", black=False)
    masks = Masks.of([middle], 40, 60)
    assert masks.ignored[0, 0]
    assert not masks.ignored[20, 30]
    assert not masks.black.any()


def test_what_ignored_cells_raise_is_not_heard():
    cells = {"grid": [2, 3], "pooled": [{"columns": [0, 2], "by": "peaks"}]}
    made = Provenance.of({"backbone": "test", "crop_set": "whole", "cells": cells})
    stream = Stream("visual/x", 2, 1, made)
    detector = create_detector("topk", visual_dim=2)
    with torch.no_grad():
        detector.score.weight.fill_(1.0)
    card = Member("topk", {}, 2, None, (stream,))
    member = TrainedMember(card, detector.eval(), Inputs({"visual": Scaling()}))
    run = Run(Path("run"), Card((member.card,), Selection(on="test"), 0.5, None, {}), [member])
    left = Zone("", ((0, 0), (0.34, 0), (0.34, 1), (0, 1)), "ignore", black=False)
    source = LiveSource("camera", "0")
    watched = Watched(Camera("gate", CameraSettings(), source, 1, (left,)), run, (), 30)
    watched.open(90, 60, 10.0)
    rgb = np.zeros((16, 60, 90, 3), np.uint8)
    clip = Clip(0, 0, 16, 0.0, 1.6, T0, 0.0, 0, rgb)
    visual = np.full((1, 1, 2), 3.0, np.float32)

    def hear(*peaks):
        arrays = {"visual/x": visual, "peaks/x": np.array([peaks], np.uint8)}
        return watched.score(clip, arrays)

    assert (hear(0, 3).score, hear(0, 3).box) == (0.0, None)  # both cells are on the left
    assert hear(2, 5).score > 0.9
    assert hear(0, 2).score > 0.9  # half of it is elsewhere, where the box is
    assert hear(0, 2).box == (50, 0, 90, 40)


# --- events


def heard(second, score):
    return Heard(T0 + second, T0 + second + 1, T0 + second + 1.2, score, None, None)


def test_an_event_is_told_when_it_begins_and_when_it_has_ended():
    settings = CameraSettings(after=2, cool_down=10)
    events = Events("gate", "run", 0.5, 0.4, settings, per_hour=30)
    scores = [0.1, 0.6, 0.9, 0.2, 0.7, 0.1, 0.1, 0.1]
    told = [alert for second, s in enumerate(scores) for alert in events.hear(heard(second, s))]
    first, last = told
    assert (first.state, last.state) == ("open", "closed")
    assert first.id == last.id == alert_id("gate", T0 + 1)
    assert (first.score, last.score) == (0.6, 0.9)
    assert first.latency_s == pytest.approx(0.2)
    assert last.end > first.start
    assert datetime.fromisoformat(last.end).timestamp() == T0 + 5
    # within ten seconds of the end another event is counted alone
    assert events.hear(heard(9, 0.9)) == []
    assert events.end() == []
    assert events.suppressed["cool-down"] == 1
    assert len(events.hear(heard(30, 0.9))) == 1


def test_an_event_lasts_while_scores_reach_its_lower_level():
    events = Events("gate", "run", 0.5, 0.4, CameraSettings(after=1, cool_down=0), per_hour=30)
    scores = [0.45, 0.6, 0.45, 0.45, 0.3]
    told = [[a.state for a in events.hear(heard(n, s))] for n, s in enumerate(scores)]
    assert told == [[], ["open"], [], [], ["closed"]]


def test_the_kind_of_an_event_is_told_from_its_first_snippet_to_its_end():
    names = ("normal", "fight", "fire")
    shares = [[0.2, 0.8, 0.0], [0.1, 0.0, 0.9], [0.1, 0.0, 0.9]]
    events = Events("gate", "run", 0.5, 0.4, CameraSettings(after=1, cool_down=0), per_hour=30)
    told = []
    for second, row in enumerate(shares):
        kinds = Kinds(names, np.array([row], np.float32))
        told += events.hear(replace(heard(second, 0.9), kinds=kinds))
    told += events.hear(heard(3, 0.1))
    assert [(a.state, a.kind, a.kind_share, a.first_kind) for a in told] == [
        ("open", "fight", 1.0, "fight"),
        ("closed", "fire", 0.8182, "fight"),  # odds against the normal class: 18 of 22
    ]
    # who was told of its begin is told of its end, and so is who wants what it turned out to be
    for kind, wanted in (("fight", [True, True]), ("fire", [False, True]), ("flood", [False] * 2)):
        sink = Sink("phone", LinesSettings(), kinds=frozenset([kind]))
        assert [wants(sink, alert) for alert in told] == wanted


def test_alerts_have_a_budget_and_events_a_longest_time():
    settings = CameraSettings(after=1, cool_down=0, longest=5)
    events = Events("gate", "run", 0.5, 0.4, settings, per_hour=3)
    told = [a for second in range(60) for a in events.hear(heard(second, 0.9))]
    assert [alert.state for alert in told] == ["open", "closed"] * 3
    assert {alert.ended_by for alert in told if alert.state == "closed"} == {"longest"}
    assert events.suppressed["budget"] == events.n_events - 3
    assert len(events.hear(heard(4000, 0.9))) == 1  # an hour later


def test_a_clip_holds_the_seconds_before_and_after(tmp_path):
    import av

    recorder = Recorder(before_s=2, longest_s=60)
    for second in range(10):
        rgb = np.full((10, 48, 65, 3), 20 * second, np.uint8)
        recorder.is_on = second >= 6
        recorder.add(rgb, T0 + second, T0 + second + 1)
    pictures = recorder.take()
    assert pictures[0][0] == pytest.approx(T0 + 4, abs=0.11)
    assert pictures[-1][0] == pytest.approx(T0 + 9.9, abs=0.11)
    write_clip(tmp_path / "clip.mp4", pictures)
    with av.open(str(tmp_path / "clip.mp4")) as video:
        shown = [frame.to_ndarray(format="gray").mean() for frame in video.decode(video=0)]
    assert len(shown) == len(pictures)
    assert shown == pytest.approx([20 * (at - T0) // 20 * 20 for at, _ in pictures], abs=25)


def test_the_oldest_clips_go_by_room_and_by_age(tmp_path):
    for age in range(5):
        file = tmp_path / f"{age}.mp4"
        file.write_bytes(b"x" * 100)
        os.utime(file, (time.time() - 1000 * age,) * 2)
    assert prune(tmp_path, 1e9, 3500) == 400
    assert prune(tmp_path, 250, 3500) == 200
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.mp4", "1.mp4"]


def test_the_journal_knows_after_a_kill_what_was_not_told(tmp_path):
    one = Alert("gate-1", "open", "gate", "run", "2026-01-01")
    two = Alert("gate-2", "open", "gate", "run", "2026-01-02")
    journal = Journal(tmp_path)
    journal.add(one, ["a", "b"])
    journal.confirm(one, "a")
    journal.add(two, ["a"])
    path = tmp_path / "journal.jsonl"
    path.write_text(path.read_text() + '{"alert": {"id": "torn')  # killed while it wrote
    journal.close()
    again = Journal(tmp_path)
    assert again.next_for("a", 0) == two
    assert again.next_for("b", 0) == one
    assert again.left_open() == [one, two]
    again.add(Alert("gate-1", "closed", "gate", "run", "2026-01-01"), ["b"])
    assert again.left_open() == [two]
    assert again.next_for("b", 0).state == "open"
    again.confirm(one, "b")
    assert again.next_for("b", 0).state == "closed"
    again.close()


def test_the_journal_stays_small_and_forgets_what_was_told(tmp_path, monkeypatch):
    monkeypatch.setattr(events, "MOST_ENTRIES", 20)
    journal = Journal(tmp_path)
    waits = Alert("gate-0", "open", "gate", "run", "2026-01-01")
    journal.add(waits, ["b"])
    for number in range(1, 30):
        alert = Alert(f"gate-{number}", "health", "gate", "run", "2026-01-01", health="ok")
        journal.add(alert, ["a"])
        journal.confirm(alert, "a")
    journal.close()
    assert len((tmp_path / "journal.jsonl").read_text().splitlines()) <= 21
    again = Journal(tmp_path)
    assert again.next_for("a", 0) is None
    assert again.next_for("b", 0) == waits
    again.close()


def test_an_event_that_ended_is_not_left_open_while_a_sink_waits_for_its_beginning(tmp_path):
    journal = Journal(tmp_path)
    began = Alert("gate-1", "open", "gate", "run", "2026-01-01")
    ended = replace(began, state="closed")
    journal.add(began, ["down", "up"])
    journal.confirm(began, "up")
    journal.add(ended, ["up"])  # `down` is not told of ends
    journal.confirm(ended, "up")
    journal.close()
    for _ in range(2):  # each opening writes the journal anew
        again = Journal(tmp_path)
        assert again.left_open() == []
        assert (again.next_for("down", 0), again.next_for("up", 0)) == (began, None)
        again.close()


def test_sinks_are_told_from_memory_while_the_disk_takes_nothing(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "vad")
    one, two = (Alert(f"gate-{n}", "open", "gate", "run", f"2026-01-0{n}") for n in (1, 2))
    journal = Journal(tmp_path)
    journal.add(one, ["a"])

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        journal.confirm(one, "a")
        journal.add(two, ["a", "b"])
        assert journal.next_for("a", 0) == journal.next_for("b", 0) == two
        journal.confirm(two, "b")
    assert [m.partition("journal.jsonl ")[2][:17] for m in caplog.messages] == ["cannot be written"]
    journal.add(one, ["b"])  # the disk has room again
    assert "is written again" in caplog.messages[1]
    journal.close()
    again = Journal(tmp_path)
    assert (again.next_for("a", 0), again.next_for("b", 0)) == (two, one)
    again.close()


# --- health


def test_a_camera_that_shows_something_else_is_called_unfamiliar():
    random = np.random.default_rng(0)
    known = Familiarity("visual/x", np.zeros(4), np.ones(4), np.linspace(0, 1, 20))
    health, told = Health(known, hold_s=3), []
    view = random.integers(40, 200, (60, 80, 3))
    for second in range(300):
        rows = np.full((1, 1, 4), 9.0 if 100 <= second < 200 else 0.1)
        health.see_features({"visual/x": rows, "places/x": rows})
        rgb = np.stack([view + random.integers(0, 9, view.shape) for _ in range(2)])
        if state := health.see(rgb.astype(np.uint8), T0 + second):
            told.append((second, state))
    (strange, first), (familiar, last) = told
    assert (first, last) == ("unfamiliar", "ok")
    assert 110 < strange < 180
    assert 210 < familiar < 290


def test_what_a_camera_suffers_from_is_told_when_it_lasts():
    random = np.random.default_rng(0)
    scene = random.integers(40, 200, (60, 80, 3))

    def clip(view):
        views = [view + random.integers(0, 9, view.shape) for _ in range(4)]
        return np.stack(views).astype(np.uint8)

    health, told = Health(None, hold_s=3), []
    black, other = np.zeros((60, 80, 3), int), random.integers(40, 200, (60, 80, 3))
    still = np.repeat(clip(scene)[:1], 4, axis=0)
    shown = [clip(scene)] * 2 + [clip(scene) for _ in range(3)]
    shown += [clip(black)] * 5 + [clip(scene) for _ in range(5)] + [still] * 6
    shown += [clip(scene) for _ in range(5)] + [clip(other) for _ in range(6)]
    for second, rgb in enumerate(shown):
        if state := health.see(rgb, T0 + second):
            told.append((second, state))
    assert told == [(8, "dark"), (13, "ok"), (19, "frozen"), (24, "ok"), (29, "moved")]
    assert health.lose() == "lost"
    assert health.lose() is None
    assert health.see(clip(scene), T0 + 60) == "ok"


def test_figures_have_the_format_of_prometheus():
    figures = [("a_total", "of a", {"x": 'q"\\'}, 3), ("b", "of b", {}, 0.5)]
    assert in_text(figures).splitlines() == [
        "# HELP a_total of a",
        "# TYPE a_total counter",
        'a_total{x="q\\"\\\\"} 3',
        "# HELP b of b",
        "# TYPE b gauge",
        "b 0.5",
    ]


# --- all of it


@pytest.fixture
def receiver():
    pytest.importorskip("httpx", reason="pip install wsvad[watch]")
    pytest.importorskip("paho.mqtt", reason="pip install wsvad[watch]")
    found = Receiver()
    yield found
    found.close()


def cameras_toml(folder, run, video, receiver, more=""):
    return file_of(
        folder,
        f"""folder = "{folder / "alerts"}"
[defaults]
run = "{run}"
threshold = 0.0
before = 0.5
[cameras.gate]
address = "{video}"
{more}
[cameras.hall]
address = "{video}"
[sinks.lines]
type = "jsonl"
path = "{folder / "alerts.jsonl"}"
[sinks.files]
type = "folder"
path = "{folder / "files"}"
cameras = ["gate"]
[sinks.hook]
type = "webhook"
url = "http://127.0.0.1:{receiver.http}/${{TOKEN}}"
secret = "${{KEY}}"
snapshot = true
[sinks.home]
type = "mqtt"
host = "127.0.0.1"
port = {receiver.mqtt}
[sinks.siren]
type = "command"
command = ["{sys.executable}", "-c", "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())",
           "{folder / "siren"}"]
closed = false
""",
        "TOKEN = 'let-me-in'\nKEY = 'key'\n",
    )


def test_events_reach_every_sink_at_their_begin_and_their_end(
    make_video, small_run, tmp_path, receiver
):
    path = cameras_toml(tmp_path, small_run / "run", make_video(n_frames=36), receiver)
    receiver.refuse = 1
    vad.watch(path)
    lines = [json.loads(line) for line in (tmp_path / "alerts.jsonl").read_text().splitlines()]
    told = {(line["camera"], line["state"]) for line in lines}
    assert told == {(c, s) for c in ("gate", "hall") for s in ("open", "closed")}
    (opened,) = (line for line in lines if line["camera"] == "gate" and line["state"] == "open")
    assert opened["id"].startswith("gate-2")

    files = {p.name for p in (tmp_path / "files").iterdir()}
    assert files == {f"{opened['id']}{suffix}" for suffix in (".json", ".jpg", ".mp4")}
    last = json.loads((tmp_path / "files" / f"{opened['id']}.json").read_text())
    assert last["state"] == "closed"

    posts = [(headers, json.loads(body), body) for headers, body, _ in receiver.posts]
    assert sorted((p["id"], p["state"]) for _, p, _ in posts) == sorted(
        (line["id"], line["state"]) for line in lines
    )
    headers, post, body = posts[0]
    stamp = headers["x-vad-timestamp"]
    digest = hmac.new(b"key", f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    assert headers["x-vad-signature"] == f"sha256={digest}"
    assert headers["idempotency-key"] == f"{post['id']} {post['state']}".lower()
    assert "snapshot_jpeg" in post

    topics = {topic for topic, _, _, _ in receiver.topics}
    assert {"vad/gate/event", "vad/gate/snapshot", "vad/hall/anomaly", "vad/status"} <= topics
    states = [payload for topic, payload, _, _ in receiver.topics if topic == "vad/gate/anomaly"]
    assert states == [b"OFF", b"ON", b"OFF"]
    retained = {topic: payload for topic, payload, is_kept, _ in receiver.topics if is_kept}
    config = json.loads(retained["homeassistant/binary_sensor/vad_gate/anomaly/config"])
    assert config["state_topic"] == "vad/gate/anomaly"
    assert (tmp_path / "siren").read_text().count('"open"') == 2
    written = [p for p in tmp_path.rglob("*") if p.is_file() and p.name != "secrets.toml"]
    assert not any(b"let-me-in" in path.read_bytes() for path in written)


def test_sinks_are_sent_the_kinds_that_they_name_and_unknown_ones_are_told(
    make_video, naming_run, tmp_path, caplog
):
    sinks = "".join(
        f'[sinks.{kind}]\ntype = "jsonl"\nkinds = ["{kind}"]\npath = "{tmp_path / "told" / kind}"\n'
        for kind in ("fire", "fight", "fier")
    )
    text = f"""folder = "{tmp_path / "alerts"}"
[cameras.gate]
run = "{naming_run}"
threshold = 0.0
address = "{make_video(n_frames=36)}"
{sinks}"""
    vad.watch(file_of(tmp_path, text))
    told = [json.loads(line) for line in (tmp_path / "told" / "fire").read_text().splitlines()]
    assert [(a["state"], a["kind"], a["kind_share"]) for a in told] == [
        ("open", "fire", 0.7311),
        ("closed", "fire", 0.7311),
    ]
    assert not (tmp_path / "told" / "fight").exists()
    line = 1 + text.splitlines().index('kinds = ["fier"]')
    said = f"line {line}: sink fier: no run of its cameras tells the kind 'fier', did you mean"
    assert said in caplog.text


@pytest.mark.parametrize(
    ("kind", "address", "module", "message"),
    [
        ("webhook", "url = 'http://127.0.0.1:9'", "httpx", "webhooks need the package httpx"),
        ("mqtt", "host = '127.0.0.1'", "paho.mqtt.client", "MQTT needs the package paho-mqtt"),
    ],
)
def test_check_and_start_tell_a_missing_package(
    make_video, naming_run, tmp_path, caplog, monkeypatch, kind, address, module, message
):
    monkeypatch.setitem(sys.modules, module, None)
    text = f"""folder = "{tmp_path / "alerts"}"
[cameras.gate]
run = "{naming_run}"
address = "{make_video(n_frames=16)}"
[sinks.other]
type = "{kind}"
{address}
"""
    path = file_of(tmp_path, text)
    with pytest.raises(UsageError, match="1 mistake$"):
        vad.watch(path, check=True)
    assert f"{path}: sink other: {message}" in caplog.text
    with pytest.raises(UsageError, match=f"^{message}"):
        vad.watch(path)


def test_check_tells_sinks_that_would_fail(make_video, naming_run, tmp_path, caplog):
    (file := tmp_path / "file").touch()
    text = f"""folder = "{file / "alerts"}"
[cameras.gate]
run = "{naming_run}"
address = "{make_video(n_frames=16)}"
[sinks.new]
type = "jsonl"
path = "{tmp_path / "new" / "alerts.jsonl"}"
kinds = ["fire", "fier"]
[sinks.lines]
type = "jsonl"
path = "{tmp_path}"
[sinks.archive]
type = "folder"
path = "{file / "archive"}"
[sinks.siren]
type = "command"
command = ["no-such-program"]
"""
    with pytest.raises(UsageError, match="5 mistakes"):
        vad.watch(path := file_of(tmp_path, text), check=True)
    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert [error.removeprefix(f"{path}: ") for error in errors] == [
        f"{file / 'alerts'} cannot be written: Not a directory; name another folder",
        f"sink lines: {tmp_path} cannot be written",
        f"sink archive: {file / 'archive'} cannot be written: Not a directory; name another folder",
        "sink siren: there is no program 'no-such-program'",
        "line 8: sink new: no run of its cameras tells the kind 'fier', did you mean 'fire'?",
    ]
    assert not (tmp_path / "new").exists()


def test_after_a_kill_events_are_told_again_with_the_same_id(
    make_video, small_run, tmp_path, receiver
):
    (tmp_path / "alerts").mkdir()
    before = Journal(tmp_path / "alerts")
    alert = Alert(
        "gate-20260101T000000.000", "open", "gate", "run", "2026-01-01T00:00:00.000+00:00"
    )
    before.add(alert, ["hook", "home"])
    before.confirm(alert, "home")
    before.close()
    seen = datetime.fromisoformat("2026-01-01T00:00:07.000+00:00")
    lock = tmp_path / "alerts" / ".lock"
    lock.touch()
    os.utime(lock, (seen.timestamp(),) * 2)
    path = cameras_toml(tmp_path, small_run / "run", make_video(n_frames=16), receiver)
    vad.watch(path)
    hooked = [json.loads(body) for _, body, _ in receiver.posts]
    told = [(p["state"], p["ended_by"], p["end"]) for p in hooked if p["id"] == alert.id]
    assert told == [("open", "", None), ("closed", "restart", seen.isoformat("T", "milliseconds"))]
    events = [json.loads(p) for topic, p, _, _ in receiver.topics if topic == "vad/gate/event"]
    assert [e["state"] for e in events if e["id"] == alert.id] == ["closed"]
    assert time.time() - lock.stat().st_mtime < 60  # new events were seen


def test_a_camera_that_fails_is_told_and_tried_again_while_others_are_watched(
    make_video, small_run, tmp_path, receiver, caplog
):
    more = '[cameras.gone]\naddress = "rtsp://127.0.0.1:1/x"\n'
    more += '[cameras.odd]\naddress = "0"\nrun = "no-such-run"\n'
    video = make_video(n_frames=200)
    path = cameras_toml(tmp_path, small_run / "run", video, receiver, more)
    path.write_text('metrics = "127.0.0.1:0"\n' + path.read_text())
    stop = threading.Event()
    caplog.set_level("INFO", "vad")
    with running(lambda: vad.watch(path, stop=stop), stop):
        wait_for(lambda: "camera gone: lost" in caplog.text and receiver.posts)
        address = caplog.text.partition("figures at ")[2].split()[0]
        figures = urllib.request.urlopen(address).read().decode()
    assert "camera odd: no-such-run is no run" in caplog.text
    number = 1 + path.read_text().splitlines().index('address = "rtsp://127.0.0.1:1/x"')
    assert f"line {number}: camera gone: rtsp://127.0.0.1:1/x: connection refused" in caplog.text
    assert 'vad_up{camera="gone"} 0' in figures
    assert 'vad_up{camera="gate"} 1' in figures
    assert 'vad_pending{sink="hook"}' in figures


def test_a_test_alert_reaches_every_sink_or_says_which_not(
    make_video, small_run, tmp_path, receiver, monkeypatch, caplog
):
    from vad.stages.pipelines.watch import loop

    path = cameras_toml(tmp_path, small_run / "run", make_video(), receiver)
    vad.watch(path, test_alert=True)
    assert [json.loads(body)["state"] for _, body, _ in receiver.posts] == ["test", "test"]
    assert "vad/gate/event" in {topic for topic, _, _, _ in receiver.topics}
    monkeypatch.setattr(loop, "TEST_S", 0.5)
    receiver.refuse = 99
    with pytest.raises(UsageError, match="not told in 0.5 s: hook"):
        vad.watch(path, test_alert=True)
    receiver.refuse, receiver.refuse_logins = 0, True
    with pytest.raises(UsageError, match="not told in 0.5 s: home"):
        vad.watch(path, test_alert=True)
    assert "refuses the connection: Not authorized" in caplog.text


def test_check_tells_mistakes_and_two_processes_do_not_share_a_folder(
    vad_command, make_video, tmp_path, small_run, receiver
):
    path = cameras_toml(tmp_path, small_run / "run", make_video(), receiver, "cool_donw = 3")
    code, _, err = vad_command("watch", path, "--check")
    assert code == 2
    assert "no key 'cool_donw', did you mean 'cool_down'" in err
    assert "1 mistake" in err
    path.write_text(path.read_text().replace("cool_donw", "cool_down"))
    code, out, err = vad_command("watch", path, "--check")
    assert (code, "no mistakes" in out) == (0, True), err
    good = path.read_text()
    path.write_text(good.replace("[cameras.gate]", '[cameras.gate]\ncamera = "never-calibrated"'))
    code, _, err = vad_command("watch", path, "--check")
    assert (code, "line 8: camera gate" in err, "never-calibrated" in err) == (2, True, True), err
    path.write_text(f'device = "gpu"\nmetrics = "nonsense"\n{good}')
    code, _, err = vad_command("watch", path, "--check")
    assert (code, "2 mistakes" in err, "'nonsense' is no address" in err) == (2, True, True), err
    path.write_text(good.replace("${KEY}", "plain"))
    code, _, err = vad_command("watch", path, "--check")
    assert (code, "write ${NAME} here" in err) == (2, True), err
    path.write_text(good)
    stop = threading.Event()
    with running(lambda: vad.watch(path, stop=stop), stop):
        wait_for(lambda: (tmp_path / "alerts" / "journal.jsonl").exists())
        code, _, err = vad_command("watch", path)
    assert code == 2
    assert "another process watches into" in err


def test_a_signature_needs_a_secret():
    assert signature(None, b"x") == {}


@pytest.fixture
def vad_command(vad):
    """Run a command; see the fixture `vad`, whose name is that of the module here."""
    return vad


@contextmanager
def running(work, stop):
    """Run something in a thread, and end it with the block."""
    raised = []

    def run():
        try:
            work()
        except BaseException as error:  # shown by the test
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not raised, raised


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)
