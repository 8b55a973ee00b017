"""Every format, read by a reader of its own kind; names and captions that try to break out."""

import csv
import dataclasses
import html
import json
import re

import numpy as np
import pytest
from PIL import Image

from vad.errors import UsageError
from vad.stages.infer.settings import FORMATS, check_formats
from vad.stages.infer.writers import ScoreFiles, save
from vad.stages.pipelines.results import Results, events_table, in_words
from vad.tables import cell
from vad.terminal import plain

# 64 frames, ten a second: events at 1.6 to 3.2 s (frames 16 to 31) and 4.8 to 6.4 s (48 to 63)
SNIPPETS = [0.1, 0.75, 0.2, 0.9]
CAPTIONS = ["a street", "two men are fighting", "a street", "a car --> <b>burns</b>\nbrightly"]


@pytest.fixture
def written(make_scores, tmp_path):
    """Write a format of the scores above; its text."""

    def write(name, **settings):
        scores = make_scores(SNIPPETS, captions=CAPTIONS, **settings)
        (path,) = save(scores, tmp_path / "out", [name])
        return path.read_text(encoding="utf-8")

    return write


def test_csv_has_a_row_a_frame(written):
    rows = list(csv.DictReader(written("csv").splitlines()))
    assert list(rows[0]) == ["frame", "seconds", "timecode", "score"]
    assert [int(row["frame"]) for row in rows] == list(range(64))
    assert rows[31] == {
        "frame": "31",
        "seconds": "3.100000",
        "timecode": "00:00:03.100",
        "score": "0.75",
    }
    assert rows[32]["score"] == "0.2"


def test_npy_is_float32(make_scores, tmp_path):
    (path,) = save(make_scores(SNIPPETS), tmp_path, ["npy"])
    frames = np.load(path)
    assert (frames.dtype, frames.shape) == (np.float32, (64,))
    assert frames[48] == np.float32(0.9)


def test_png_is_a_picture(make_scores, tmp_path):
    scores = make_scores(SNIPPETS)
    with Image.open(scores.plot(tmp_path / "curve.png")) as image:
        assert image.size == (1200, 450)


def test_json_holds_the_events_in_frames_seconds_and_timecodes(written):
    values = json.loads(written("json"))
    assert (values["schema"], values["fps"], values["threshold"]) == ("vad.scores/1", 10.0, 0.5)
    assert [e["peak"] for e in values["events"]] == [0.75, 0.9]
    assert values["events"][0] == {
        "start_frame": 16,
        "end_frame": 32,
        "start_s": 1.6,
        "end_s": 3.2,
        "start_timecode": "00:00:01.600",
        "end_timecode": "00:00:03.200",
        "peak": 0.75,
        "peak_frame": 16,
        "peak_s": 1.6,
        "mean": 0.75,
        "reading": "",
        "kind": "",
        "kind_share": None,
        "caption": "two men are fighting",
        **dict.fromkeys(("left_px", "top_px", "right_px", "bottom_px")),
    }


def test_srt_parses(written):
    block = re.compile(
        r"(\d+)\n(\d\d):(\d\d):(\d\d),(\d{3}) --> (\d\d):(\d\d):(\d\d),(\d{3})\n(.+)\n"
    )
    found = block.findall(written("srt"))
    assert [number for number, *_ in found] == ["1", "2"]
    assert found[0][1:9] == ("00", "00", "01", "600", "00", "00", "03", "200")
    assert found[0][9] == "anomaly 0.75: two men are fighting"
    assert found[1][9] == "anomaly 0.90: a car --] [b]burns[/b] brightly"  # one line, no tag


def test_vtt_parses_and_its_text_is_the_caption(written):
    header, *cues = written("vtt").split("\n\n")
    assert header == "WEBVTT"
    number, times, words = cues[1].strip().split("\n")
    assert (number, times) == ("2", "00:00:04.800 --> 00:00:06.400")
    assert "<" not in words
    assert "-->" not in words
    assert html.unescape(words) == "anomaly 0.90: a car --> <b>burns</b> brightly"


@pytest.mark.parametrize(
    ("fps", "cuts"),
    [
        # frames 16 to 32 and 48 to 64, counted by the frame; record in and out close the gap
        (25.0, ["00:16 01:07 00:00 00:16", "01:23 02:14 00:16 01:07"]),
        (29.97, ["00:16 01:02 00:00 00:16", "01:18 02:04 00:16 01:02"]),
        # no rate of editing programs: 1.6 s to 3.2 s and 4.8 s to 6.4 s at 25 frames a second
        (10.0, ["01:15 03:05 00:00 01:15", "04:20 06:10 01:15 03:05"]),
    ],
)
def test_edl_cuts_the_events_one_after_the_other(make_scores, tmp_path, fps, cuts):
    scores = make_scores(SNIPPETS, captions=CAPTIONS)
    record = dataclasses.replace(scores.record, fps=fps)
    scores = dataclasses.replace(scores, record=record)
    lines = save(scores, tmp_path, ["edl"])[0].read_text().splitlines()
    assert lines[:2] == ["TITLE: video", "FCM: NON-DROP FRAME"]
    found = [line.split() for line in lines if re.match(r"\d{3} ", line)]
    for number, (words, times) in enumerate(zip(found, cuts, strict=True), start=1):
        assert words[:4] == [f"{number:03d}", "AX", "V", "C"]
        assert words[4:] == [f"00:00:{time}" for time in times.split()]
    assert lines[4] == "* FROM CLIP NAME: video.mp4"
    assert lines[5] == "* COMMENT: anomaly 0.75: two men are fighting"


def test_elan_rows_have_begin_end_and_duration(written):
    rows = list(csv.reader(written("elan").splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert {len(row) for row in rows} == {5}
    assert rows[0][0] == "Tier"
    assert rows[0][4] == "Annotation"
    assert rows[1] == ["anomaly", "1.600", "3.200", "1.600", "anomaly 0.75: two men are fighting"]


def test_label_studio_counts_frames_from_one_and_includes_the_last(written):
    (task,) = json.loads(written("labelstudio"))
    assert set(task) == {"data", "meta", "predictions"}
    (prediction,) = task["predictions"]
    region, words = prediction["result"][:2]
    assert (region["type"], region["from_name"], region["to_name"]) == (
        *("timelinelabels", "anomaly", "video"),
    )
    # frames 16 to 31 counted from 0 are 17 to 32 counted from 1
    assert region["value"] == {"ranges": [{"start": 17, "end": 32}], "timelinelabels": ["anomaly"]}
    assert region["id"] == words["id"]
    assert words["value"]["text"] == ["two men are fighting"]
    assert prediction["score"] == 0.9


def test_events_csv_and_one_table_for_several_videos(make_scores, written, tmp_path):
    rows = list(csv.DictReader(written("events").splitlines()))
    assert [(r["video"], r["event"], r["start_s"], r["fps"]) for r in rows] == [
        ("video", "1", "1.6", "10.0"),
        ("video", "2", "4.8", "10.0"),
    ]
    videos = [make_scores(SNIPPETS, video="a"), make_scores([0.6], video="b/c")]
    files = ScoreFiles(tmp_path, ["events"])
    assert [files.add(scores) for scores in videos] == [[], []]
    (path,) = files.finish()
    assert path == tmp_path / "events.csv"
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [(r["video"], r["event"]) for r in rows] == [("a", "1"), ("a", "2"), ("b/c", "1")]


@pytest.mark.parametrize("name", [f for f in FORMATS if f != "mp4"])
def test_a_video_without_events_has_files_all_the_same(make_scores, tmp_path, name):
    (path,) = save(make_scores([0.1, 0.2]), tmp_path, [name])
    assert path.is_file()


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1+1", "\r\n=HYPERLINK(0)", " =1"]
)
def test_no_text_in_a_table_is_a_formula(make_scores, tmp_path, text):
    assert cell(text)[0] == "'"
    scores = make_scores([0.9], video=text, captions=[text])
    (path,) = save(scores, tmp_path, ["events"])
    with path.open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["video"][0] == row["caption"][0] == "'"


HOSTILE = [
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "a\x1b[31mred\x07",
    "line\nbreak",
    "evil\N{RIGHT-TO-LEFT OVERRIDE}4pm.exe",
    "\"quoted\" 'name' $(rm) `x`",
]


@pytest.mark.parametrize("video", HOSTILE)
def test_no_name_leaves_the_folder_or_breaks_a_line(make_scores, tmp_path, video):
    out = tmp_path / "out"
    scores = make_scores(SNIPPETS, video=video, captions=[video] * 4)
    paths = save(scores, out, [f for f in FORMATS if f != "mp4"])
    assert {path.parent for path in paths} == {out}
    assert all(re.fullmatch(r"[\w.%~-]+", path.name, re.ASCII) for path in paths)
    for name, n_lines in (("elan", 3), ("events", 3), ("edl", 9), ("srt", 7), ("vtt", 9)):
        text = next(p for p in paths if p.name.endswith(FORMATS[name].suffix)).read_text()
        assert len(text.strip().split("\n")) == n_lines, name
        assert text.replace("\n", "").replace("\t", "").isprintable(), name


@pytest.mark.parametrize("video", HOSTILE)
def test_no_name_commands_the_terminal(make_scores, tmp_path, capsys, video):
    with Results(tmp_path, ["csv"], tell=in_words) as results:
        results.add(make_scores([0.9], video=video))
    for text in capsys.readouterr():  # stdout, what was found; stderr, what was written
        assert text[-1] == "\n"
        assert text[:-1].isprintable()
    scores = make_scores([0.9], video=video, captions=[video])
    assert events_table([scores]).replace("\n", "", 1).isprintable()  # a heading and a row


def test_plain_text_stays_as_it_is():
    assert plain("Straße 監視 камера.mp4") == "Straße 監視 камера.mp4"
    assert plain("a\x1b[2J\u202eb\n") == r"a\x1b[2J\u202eb\n"


def test_unknown_formats_and_videos_that_are_gone_are_refused(make_scores, tmp_path):
    with pytest.raises(UsageError, match=r"no format 'gif'; there are: csv, json, npy"):
        check_formats(["csv", "gif"])
    with pytest.raises(UsageError, match=r"mp4 needs the video, and .*video.mp4 is not there"):
        save(make_scores(SNIPPETS), tmp_path, ["mp4"])
