"""Plug-ins: the template package, built, installed and used; and detectors of a script."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import vad as front
from vad.config import option
from vad.errors import UsageError
from vad.stages.extract.records import unseen_record
from vad.stages.train.detectors.table import DETECTORS
from vad.stages.train.detectors.topk import TopK
from vad.stages.train.run import Run
from vad.store import FeatureStore, Provenance

TEMPLATE = Path(__file__).resolve().parent.parent / "examples" / "plugin"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A store of ten videos, five of them with an anomaly, and their labels."""
    folder, random = tmp_path_factory.mktemp("project"), np.random.default_rng(0)
    store = FeatureStore.create(folder / "features.zarr")
    for i in range(10):
        visual = random.normal(size=(12, 1, 8))
        visual[4:8, 0, 1] += 4 * (i % 2)
        draft = store.draft(f"v{i}")
        draft.append("visual/test", visual.astype(np.float16))
        record = unseen_record(Path(f"v{i}"), 12 * 16, 25.0, "repeat-last", decoder="none")
        made = Provenance.of({"backbone": "test", "weights": {"name": "none"}})
        record = replace(record, width=320, height=240)
        draft.commit(record, np.arange(12 * 16) / 25, {"visual/test": made})
    labels = [f"v{i},{i % 2}" for i in range(10)]
    (folder / "labels.csv").write_text("\n".join(["video,label", *labels]))
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Build a wheel of the template, install it into a folder, and return the folder."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(TEMPLATE, folder / "source")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    plain = ["--no-deps", "--no-index", "--no-build-isolation"]
    for what in (
        ["wheel", *plain, "--wheel-dir", folder, folder / "source"],
        ["install", *plain, "--target", folder / "site", "--find-links", folder, "wsvad-example"],
    ):
        subprocess.run([*pip, *map(str, what)], check=True, timeout=120)
    return folder / "site"


COMMANDS = """
import json, sys
from vad.stages.pipelines.cli import run_command
sys.exit(max(run_command(words) for words in json.loads(sys.argv[1])))
"""


def run(installed, folder, *commands):
    """Run commands in a new process that finds the installed plug-in."""
    path = os.pathsep.join(filter(None, [str(installed), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps(commands)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def used(installed, project, write_video):
    """The project, in which a new process has run commands with both parts of the template: on its
    store, and on four videos; and what the process printed.
    """
    (project / "videos").mkdir()
    for i in range(4):
        write_video(project / "videos" / f"v{i}.mp4", 40)
    rows = [f"v{i},{i % 2}" for i in range(4)]
    (project / "four.csv").write_text("\n".join(["video,label", *rows]))
    train = "train --detector soft-max --set sharpness=8 --validation 0 --epochs 30 --out runs/own"
    score = "score --store features.zarr --detector runs/own --format lines,npy --out scores"
    extract = "extract videos --backbone changes --device cpu --workers 1 --store videos.zarr"
    train_on_them = (
        "train videos.zarr --labels four.csv --detector soft-max --validation 0 --epochs 2"
        " --out runs/new"
    )
    score_new = "score videos/v1.mp4 --detector runs/new --format json --out new"
    commands = ("models", train, score, extract, train_on_them, score_new)
    return project, run(installed, project, *(command.split() for command in commands)).stdout


def test_the_template_trains_and_scores_without_a_change_to_the_package(used):
    project, out = used
    assert "soft-max  one linear layer" in out
    scores = np.load(project / "scores" / "v1.npy")
    assert scores[64:128].mean() > scores[:64].mean()
    assert (project / "scores" / "v1.lines.txt").read_text()


def test_the_template_s_backbone_extracts_trains_and_scores_a_new_video(used):
    project, out = used
    assert "changes" in out
    store = FeatureStore.open(project / "videos.zarr")
    assert store.read("v0", "visual/changes").shape == (3, 1, 128)
    assert store.provenance("visual/changes").weights.name == "none"
    assert len(json.loads((project / "new" / "v1.json").read_text())["snippets"]) == 3


def test_a_plugin_that_does_not_import_costs_one_warning(installed, project, tmp_path):
    broken = tmp_path / "site"
    shutil.copytree(installed, broken)
    (broken / "wsvad_example" / "__init__.py").write_text("import something_missing")
    done = run(broken, project, ["models"])
    assert "soft-max" not in done.stdout
    assert "topk" in done.stdout
    (line,) = [line for line in done.stderr.splitlines() if "plug-in" in line]
    assert "the plug-ins in wsvad_example of wsvad-example are left out" in line
    assert "something_missing" in line


@dataclass(frozen=True, kw_only=True)
class OwnSettings:
    share: float = option(0.5, "of the snippets", minimum=0, maximum=1)
    k: int = option(1, "snippets", minimum=1)


class Own(TopK):
    """A detector of a script: top-k under settings of its own."""


@pytest.fixture
def table():
    """Take detectors that a test adds out of the table again."""
    before = dict(DETECTORS)
    yield
    DETECTORS.clear()
    DETECTORS.update(before)


def test_a_detector_of_a_script_is_trained_by_its_settings(project, tmp_path, monkeypatch, table):
    monkeypatch.setitem(sys.modules, "a_script", sys.modules[__name__])
    row = front.detectors.DetectorRow("a_script:Own", OwnSettings, "of a script", "nobody")
    front.detectors.add_detector("own", row)
    run = front.train(
        project / "features.zarr",
        project / "labels.csv",
        tmp_path / "run",
        detector=OwnSettings(share=0.25),
        epochs=2,
        validation=0,
        quiet=True,
    )
    assert type(run.only.detector) is Own
    assert run.card.members[0].settings == {"share": 0.25, "k": 1}
    del DETECTORS["own"]  # as in a process that does not run the script
    with pytest.raises(UsageError, match="no detector named 'own'.*import or install that first"):
        Run.open(run.path)
    with pytest.raises(UsageError, match="there is a detector named 'topk'"):
        front.detectors.add_detector("topk", row)
