"""The command line: one clear line and the right exit code for every mistake."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


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


LONG = "9" * 30
# command, name of the setting, value, what is said of it: alike from a file, --set and as an option
VALUES = [
    ("train", "lr", "nan", "lr: 'nan' is no finite number"),
    ("train", "lr", "inf", "lr: 'inf' is no finite number"),
    ("train", "weight_decay", "1e300", "is too large"),
    ("train", "weight_decay", "-inf", "weight_decay: '-inf' is no finite number"),
    ("train", "segments", "1000000000", "segments: 1000000000 is above 10000"),
    ("train", "segments", LONG, f"segments: '{LONG}' is too large"),
    ("train", "epochs", "1000000000", "epochs: 1000000000 is above 1000000"),
    ("train", "seed", LONG, f"seed: '{LONG}' is too large"),
    ("train", "smoothing", "1000000", "smoothing: 1000000 is above 1000"),
    ("train", "width", "1000000000", "width is a setting of a training of one detector"),
    ("train", "detector", LONG, "no detector"),
    ("extract", "time_limit", "nan", "time_limit: 'nan' is no finite number"),
    ("extract", "time_limit", "1e30", "time_limit: 1e+30 is above 86400"),
    ("extract", "max_pixels", LONG, f"max_pixels: '{LONG}' is too large"),
    ("extract", "backbone", LONG, f"no backbone named '{LONG}'"),
    ("extract", "fps", "inf", "fps: 'inf' is no finite number"),
    ("caption", "time_limit", "nan", "time_limit: 'nan' is no finite number"),
    ("caption", "stride", "1000000000", "stride: 1000000000 is above 65536"),
    ("score", "sigma", "inf", "sigma: 'inf' is no finite number"),
    ("score", "sigma", "1e30", "sigma: 1e+30 is above 86400"),
    ("events", "min_event", "nan", "min_event: 'nan' is no finite number"),
    ("stream", "time_limit", "nan", "time_limit: 'nan' is no finite number"),
    ("stream", "queue", "1000000000", "queue: 1000000000 is above 10000"),
]
ARGUMENTS = {
    "train": ("features.zarr", "--labels", "labels.csv", "--out", "out"),
    "extract": ("videos", "--store", "new.zarr"),
    "caption": ("features.zarr",),
    "score": ("--store", "features.zarr", "--detector", "run"),
    "events": ("scores.json",),
    "stream": ("videos/v0.mp4", "--detector", "run"),
}


@pytest.mark.parametrize("way", ["file", "--set", "option"])
@pytest.mark.parametrize(("command", "name", "value", "message"), VALUES)
def test_a_value_out_of_range_is_told_before_any_work(
    vad, small_run, monkeypatch, tmp_path, way, command, name, value, message
):
    monkeypatch.chdir(small_run)
    path = tmp_path / "vad.toml"
    path.write_text(f"[{command}]\n{name} = {value}\n")
    given = {"file": ("--config", path), "--set": ("--set", f"{name}={value}")}
    flag = f"--{name.replace('_', '-')}={value}"
    is_own = name == "width"  # a detector's settings are no options of their own
    code, out, err = vad(
        command,
        *ARGUMENTS[command],
        *given.get(way, ("--set", "width=" + value) if is_own else (flag,)),
    )
    assert (code, out) == (2, "")
    assert message.replace("'", "") in err.replace("'", "")
    assert len([line for line in err.splitlines() if line.startswith("vad: ")]) == 1
    assert not (small_run / "out").exists()
    assert not (small_run / "new.zarr").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nlr = " + "[" * 9999 + "]" * 9999, "is not TOML"),
        ("[train]\nlr = " + "[" * 40 + "]" * 40, "lr: [[[[[[[["),
        ("[train]\ndetector = [1]", "detector=[1] is no detector"),
        ("[train]\npreset = 7.5", "no preset named '7.5'"),
        ("[train]\nweights = []", "weights: [] is no text"),
        ("[train]\nstore = 'x'", "vad train: no setting 'store'"),
        ("[train]\nlr = 2020-01-01", "lr: datetime.date(2020, 1, 1) is no number"),
        (f"[train]\nvisual = '{'x' * 5000}'", "visual: 'xxxx"),
        ("[tarin]\nlr = 0.1", "no command reads [tarin], did you mean 'train'?"),
        ("train = 3", "train must be a table: [train]"),
    ],
    ids=lambda text: text[:22],
)
def test_a_settings_file_that_cannot_be_meant_is_told(vad, small_run, tmp_path, text, message):
    path = tmp_path / "vad.toml"
    path.write_text(text)
    store = small_run / "features.zarr"
    code, _, err = vad("train", store, "--labels", small_run / "labels.csv", "--config", path)
    assert code == 2
    assert message in err
    assert len(err.splitlines()[-1]) < 500


def test_events_name_an_unknown_setting_of_a_file(vad, tmp_path):
    (tmp_path / "vad.toml").write_text("[events]\nmerge_gab = 2\n")
    code, _, err = vad("events", "scores", "--config", "vad.toml")
    assert code == 2
    assert "vad events: no setting 'merge_gab', did you mean 'merge_gap'?" in err


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
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert vad("--version")[:2] == (0, f"vad {project['version']}\n")


def test_python_m_vad_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "vad", "inspect", "none"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("vad: no feature store at none")
