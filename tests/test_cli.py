"""The command line: one clear line and the right exit code for every mistake."""

import json
import subprocess
import sys

import pytest


@pytest.fixture
def vad(vad, monkeypatch, tmp_path):
    """Commands, run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return vad


def test_help_names_every_command(vad):
    code, out, _ = vad("--help")
    assert code == 0
    for name in ("extract", "train", "evaluate", "score", "demo", "inspect", "models", "doctor"):
        assert name in out


def test_every_setting_is_an_option_with_its_default(vad):
    code, out, _ = vad("extract", "--help")
    assert code == 0
    for word in ("--backbone", "--crops", "--tail", "--dry-run", "--config"):
        assert word in out.replace("\n", "")


WRONG = [
    (["extract", "nothing/"], "no file, folder or glob match: nothing/"),
    (["extract", "."], "no video in .; a folder is searched for"),
    (["extract", "x.mp4", "--backbone", "i3b"], "no backbone named 'i3b'"),
    (
        ["extract", "x.mp4", "--crops", "nine"],
        "crops: 'nine' is not one of: ten, five, center, whole",
    ),
    (["extract", "x.mp4", "--batch", "0", "--set", "lr=1"], "no setting 'lr'"),
    (["extract", "x.mp4", "--weights", "none.pth", "--backbone", "i3d"], "none.pth"),
    (["extract", "x.mp4", "--device", "cuda:7"], "--device cuda:7"),
    (
        ["extract", "x.mp4", "--store", "x.mp4"],
        "x.mp4 exists and is not a feature store; choose another --store",
    ),
    (["train", "none.zarr"], "no feature store at none.zarr; make one: vad extract"),
    (["train", "none.zarr", "--config", "none.toml"], "no configuration file none.toml"),
    (["train", "--set", "lr"], "--set lr: write name=value"),
    (["evaluate", "none"], "none is no run: it has no card.json"),
    (["eval", "none"], "none is no run: it has no card.json"),
    (["score", "x.mp4", "--detector", "none"], "none is no run"),
    (["score", "x.mp4", "--detector", "r", "-f", "gif"], "no format 'gif'; there are: csv, json"),
    (["inspect", "none"], "no feature store at none"),
]


@pytest.mark.parametrize(("args", "message"), WRONG, ids=[" ".join(a) for a, _ in WRONG])
def test_a_mistake_is_one_line_and_exit_code_2(vad, tmp_path, args, message):
    if "x.mp4" in args:
        (tmp_path / "x.mp4").touch()
    code, out, err = vad(*args)
    assert (code, out) == (2, "")
    assert message in err
    (line,) = [line for line in err.splitlines() if line.startswith("vad: ")]
    assert "Traceback" not in err
    assert line == err.splitlines()[-1]


@pytest.mark.parametrize("args", [["extract"], ["score", "x.mp4"], ["fly"], ["train", "--lr", "a"]])
def test_wrong_usage_is_exit_code_2(vad, args):
    code, out, err = vad(*args)
    assert (code, out) == (2, "")
    assert "Traceback" not in err


def test_models_lists_backbones_with_licences_and_detectors(vad):
    code, out, _ = vad("models")
    assert code == 0
    for words in ("i3d", "fair-32x2", "CC BY-NC 4.0", "efficientnet-lite0", "rtfm", "ICCV 2021"):
        assert words in out
    code, out, _ = vad("models", "--json")
    listed = json.loads(out)
    assert {card["name"] for card in listed["backbones"]} >= {"i3d", "timesformer"}


def test_the_version(vad):
    assert vad("--version")[:2] == (0, "vad 0.1.0\n")


def test_python_m_vad_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "vad", "inspect", "none"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("vad: no feature store at none")
