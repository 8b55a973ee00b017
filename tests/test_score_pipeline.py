"""Videos and a run to scores: one video, many, from a store, with text; what is refused."""

import json
import shutil

import numpy as np
import pytest

import vad as library
from vad import caption, extract
from vad.errors import UsageError
from vad.stages.extract.decoders.pool import Decoded, DecoderPool
from vad.stages.infer.scores_file import read_scores
from vad.stages.pipelines.score import score_files, score_store


@pytest.fixture(scope="module")
def folder(tmp_path_factory, small_run):
    """`small_run` with two of its videos, its store with captions of all four, and beside `run` a
    run `tevad` that reads them.
    """
    folder = tmp_path_factory.mktemp("score") / "small"
    shutil.copytree(small_run, folder, ignore=shutil.ignore_patterns("v1.mp4", "v2.mp4"))
    store = folder / "features.zarr"
    caption(store, captioner="labels", encoder="minilm", quiet=True)
    library.train(
        store, folder / "labels.csv", folder / "tevad",
        detector="tevad", visual="efficientnet-lite0", text="minilm", epochs=1, quiet=True,
    )  # fmt: skip
    return folder


def all_scores(folder, run, **settings):
    found = []
    outcome = score_files(
        [folder / "videos"], folder / run, on_scores=found.append, quiet=True, **settings
    )
    assert not outcome.failed
    assert sorted(outcome.done) == sorted(s.video for s in found)
    return {s.video: s for s in found}


@pytest.fixture(scope="module")
def scored(folder):
    """The scores of all videos by both runs, straight from their files."""
    return {run: all_scores(folder, run, threshold=0.0) for run in ("run", "tevad")}


@pytest.mark.parametrize("run", ["run", "tevad"])
def test_direct_and_staged_scores_are_equal_to_the_last_bit(folder, scored, run):
    direct = scored[run]
    staged = {s.video: s for s in score_store(folder / "features.zarr", folder / run)}
    assert direct.keys() == {"v0", "v3"}
    for video in direct:
        assert np.array_equal(direct[video].snippets, staged[video].snippets)
        assert direct[video].to_dict()["frames"] == staged[video].to_dict()["frames"]


def test_a_run_that_reads_text_tells_what_is_seen(scored):
    for found in scored["tevad"].values():
        assert len(found.captions) == len(found.snippets)
        assert found.events[0].caption == found.captions[found.events[0].peak_frame // 16]
        assert found.events[0].caption


def test_one_call_one_video(folder, tmp_path):
    video = next((folder / "videos").iterdir())
    scores = library.score(video, detector=folder / "run", threshold=0.0, merge_gap=2.0)
    assert len(scores.frames) == scores.record.n_frames
    assert (scores.threshold, scores.threshold_from, scores.rule.merge_gap) == (0.0, "given", 2.0)
    (event,) = scores.events  # every frame reaches 0
    assert (event.start_frame, event.end_frame) == (0, scores.record.n_frames)
    paths = scores.save(tmp_path, ["csv", "mp4", "html"])
    assert all(path.stat().st_size > 500 for path in paths)
    assert scores.plot(tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_scores_are_handed_on_one_by_one_and_nothing_is_left(
    folder, make_video, tmp_path, monkeypatch
):
    videos = [make_video(f"videos/v{i}.mp4", 16) for i in range(4)]
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    stored = []

    def look(scores):
        stored.append([p for p in tmp_path.glob("vad-*/features.zarr/*/visual")])

    score_files(videos, folder / "run", on_scores=look, quiet=True, workers=1)
    assert len(stored) == 4
    assert max(map(len, stored)) <= 2  # the one at hand, and one that may be ready
    assert [path.name for path in tmp_path.iterdir()] == ["videos"]


def test_the_command_writes_a_report_of_the_folder_and_events_redoes_it(vad, folder, tmp_path):
    out = tmp_path / "out"
    code, text, err = vad(
        *("score", "--store", folder / "features.zarr", "--detector", folder / "run"),
        *("--out", out, "--format", "json,html,events,srt", "--threshold", "0.99", "--quiet"),
    )
    assert (code, len(text.splitlines())) == (0, 4), err
    assert {p.name for p in out.iterdir() if p.suffix in (".html", ".csv")} == {
        *("report.html", "events.csv"),
    }
    before = {p.stem: read_scores(p) for p in out.glob("*.json")}
    assert len(before) == 4
    code, text, _ = vad("events", out, "--threshold", "0", "--min-event", "0", "--json")
    found = json.loads(text)
    assert code == 0
    for video, scores in before.items():
        assert [(e["start_frame"], e["end_frame"]) for e in found[video]] == [
            (0, scores.record.n_frames)
        ]
    code, text, err = vad("events", out, "--threshold", "1")
    assert (text, "--min-event" in err) == ("no events\n", False)
    code, text, err = vad("events", out, "--threshold", "0", "--min-event", "60")
    assert text == "no events\n"
    assert "4 of 4 videos reach the threshold, but never for as long as --min-event: 'v0'," in err


@pytest.mark.parametrize("formats", ["html,mp4", "html", "csv,mp4"])
def test_a_video_is_decoded_twice_at_most_whatever_is_made_of_it(
    vad, folder, make_video, tmp_path, monkeypatch, formats
):
    decoded = []
    decode = DecoderPool.decode

    def counting(pool, paths):
        for event in decode(pool, paths):
            decoded.extend([event] * isinstance(event, Decoded))
            yield event

    monkeypatch.setattr(DecoderPool, "decode", counting)
    code, _, err = vad(
        *("score", make_video("v3.mp4", 16), "--detector", folder / "run", "--threshold", "0"),
        *("--out", tmp_path, "--format", formats, "--save-clips", "--json", "--quiet"),
    )
    assert code == 0, err
    assert len(decoded) == 2  # for the features, and for all files
    assert (tmp_path / "v3.event-01.mp4").stat().st_size > 500
    assert (tmp_path / "v3.overlay.mp4").exists() == ("mp4" in formats)
    page = (tmp_path / "v3.html").read_text() if "html" in formats else ""
    assert page.count('class="preview"') == page.count('data-frame="') == ("html" in formats)


def test_a_bad_video_is_listed_with_its_reason_and_the_others_are_scored(
    vad, small_run, make_video, tmp_path
):
    videos, out = tmp_path / "videos", tmp_path / "out"
    for i in range(2):
        make_video(f"videos/v{i}.mp4", 16)
    (videos / "broken.mp4").write_bytes(b"no video" * 99)
    command = ("score", videos, "--detector", small_run / "run", "--out", out)
    code, text, err = vad(*command, "--json")
    assert code == 3
    lines = sorted((json.loads(line) for line in text.splitlines()), key=lambda d: d["video"])
    assert [(d["video"], d["n_frames"]) for d in lines] == [(f"v{i}", 16) for i in range(2)]
    assert [d["files"] for d in lines] == [
        [str(out / f"v{i}.csv"), str(out / f"v{i}.json")] for i in range(2)
    ]
    (failure,) = map(json.loads, (out / "failures.jsonl").read_text().splitlines())
    assert (failure["video"], failure["reason"]) == ("broken", "not-a-video")
    assert f"1 video failed; reasons in {out}/failures.jsonl" in err
    assert err.count("device cpu") <= 1

    code, text, err = vad("score", videos / "broken.mp4", *command[2:])
    assert (code, text, "next: " in err) == (3, "", False)

    (videos / "broken.mp4").unlink()
    code, text, err = vad(*command)
    assert (code, len(text.splitlines())) == (0, 2)
    assert err.splitlines()[-2] == f"written: {out}/*.csv, {out}/*.json, {out}/report.html"
    assert err.splitlines()[-1].startswith(f"next: vad events {out} --threshold T")
    assert not (out / "failures.jsonl").exists()


def test_one_call_takes_one_video(small_run):
    with pytest.raises(UsageError, match=r"videos stands for 4 videos; vad.score_videos"):
        library.score(small_run / "videos", detector=small_run / "run")


def test_settings_that_are_not_given_stay_as_they_were(vad, make_scores, tmp_path):
    from vad.stages.infer.settings import EventRule

    # at 1.6 s a pause of one snippet, 1.6 s
    scores = make_scores([0.9, 0.1, 0.9], rule=EventRule(merge_gap=2.0))
    (path,) = scores.save(tmp_path, ["json"])

    def n_events(*options):
        return len(json.loads(vad("events", path, "--json", *options)[1])["video"])

    assert n_events() == 1
    assert n_events("--merge-gap", "1") == 2
    assert n_events("--merge-gap", "1", "--low", "0.1") == 1
    assert n_events("--propagation", "gaussian", "--sigma", "100", "--threshold", "0.7") == 0


WRONG = [
    (["score", "--detector", "r"], "nothing to score; name videos, or a --store"),
    (["score", "x", "--detector", "r", "--threshold", "2"], "--threshold 2: give auto, or a"),
    (["score", "x", "--detector", "r", "--min-event", "-1"], "min_event: -1.0 is below 0"),
    (["events", "none.json"], "no file none.json"),
    (["events", "."], ". holds no JSON file; vad score --format json makes them"),
    (["events", ".", "--format", "gif"], "no format 'gif'; there are: csv, json"),
]


@pytest.mark.parametrize(("args", "message"), WRONG, ids=[" ".join(a) for a, _ in WRONG])
def test_a_mistake_is_one_line(vad, tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = vad(*args)
    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.parametrize(
    "out", ["file/out", "x" * 300, "/proc/vad/out"], ids=["file", "long", "proc"]
)
@pytest.mark.parametrize(
    "command",
    [
        ["score", "none.mp4", "--detector", "none"],
        ["events", "video.json", "--format", "csv"],
        ["evaluate", "none"],
    ],
    ids=lambda command: command[0],
)
def test_an_output_folder_is_tried_before_the_work(
    vad, make_scores, tmp_path, monkeypatch, command, out
):
    monkeypatch.chdir(tmp_path)
    make_scores([0.9]).save(tmp_path, ["json"])
    (tmp_path / "file").write_text("no folder")
    code, _, err = vad(*command, "--out", out)
    assert code == 2
    assert "cannot be written" in err.splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "video.json"]


def test_features_made_another_way_are_refused_with_the_difference(folder, make_video, tmp_path):
    other, video = tmp_path / "five.zarr", make_video("v0.mp4", 16)
    extract(video, other, quiet=True, crops="five", backbone="efficientnet-lite0")
    with pytest.raises(UsageError, match=r"run was trained on .* with crop"):
        list(score_store(other, folder / "run"))


def test_a_run_of_captions_from_a_file_says_what_to_do(folder, tmp_path):
    run = tmp_path / "tevad"
    shutil.copytree(folder / "tevad", run)
    card = json.loads((run / "card.json").read_text())
    text = card["members"][0]["streams"][1]["provenance"]
    text["captions"] = {"captioner": "file", "files": {"a": "0"}}
    (run / "card.json").write_text(json.dumps(card))
    with pytest.raises(UsageError, match=r"reads captions of a file.*vad caption STORE"):
        library.score(next((folder / "videos").iterdir()), detector=run)
