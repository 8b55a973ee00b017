"""`vad reproduce`: published rows as commands that run, measured beside published."""

import json
import shlex
import shutil

import numpy as np
import pytest
import torch

from vad.datasets import DATASETS
from vad.errors import UsageError
from vad.stages.pipelines.reproduce.plan import make_plan
from vad.stages.pipelines.reproduce.rows import FEATURES, FIGURES, ROWS, find_published
from vad.stages.pipelines.reproduce.run import reproduce
from vad.stages.train.detectors import create_detector
from vad.stages.train.detectors.table import find_row
from vad.stages.train.presets import split_settings

N_EACH = 2  # videos of each list and label


@pytest.fixture(scope="module")
def ucf_crime(data, tmp_path_factory):
    """A folder with the lists of a few videos of UCF-Crime, and their frames."""
    folder = tmp_path_factory.mktemp("lists")
    official = data / "ucf-crime"
    for part in ("Train", "Test"):
        lines = (official / f"Anomaly_{part}.txt").read_text().split()
        normal = [line for line in lines if "Normal" in line]
        abnormal = [line for line in lines if "Normal" not in line]
        few = abnormal[:N_EACH] + normal[:N_EACH]
        (folder / f"Anomaly_{part}.txt").write_text("\n".join(few) + "\n")
    kept = {line.split("/")[-1].removesuffix(".mp4") for line in few}
    annotations = (official / "Temporal_Anomaly_Annotation.txt").read_text().splitlines()
    kept_lines = [line for line in annotations if line.split()[0] in kept]
    (folder / "Temporal_Anomaly_Annotation.txt").write_text("\n".join(kept_lines))
    return folder


def names(folder):
    for part in ("Train", "Test"):
        for line in (folder / f"Anomaly_{part}.txt").read_text().split():
            yield line.split("/")[-1].removesuffix(".mp4")


def test_every_row_says_figures_features_and_how_or_why_not():
    assert len(ROWS) >= 40
    for name, row in ROWS.items():
        assert row.features in FEATURES, name
        assert FEATURES[row.features].dataset in DATASETS, name
        assert set(row.figures) <= set(FIGURES), name
        assert all(0 <= value <= 100 for value in row.figures.values()), name
        assert not (row.train and row.weights), name
        assert row.can_run or row.caveats, name


def test_the_trained_rows_name_settings_that_exist():
    for row in ROWS.values():
        words = shlex.split(row.train)
        given = {n.removeprefix("--"): v for n, v in zip(words[::2], words[1::2], strict=True)}
        settings, _ = split_settings(given)
        assert settings.form in ("published", "paper")


def test_tables_of_the_report_are_here():
    tables = [row.source.rpartition(" ")[2] for row in ROWS.values()]
    assert (tables.count("I"), tables.count("II")) == (8, 10)
    assert ROWS["report-rtfm-ucf-crime-val"].figures["AUC"] == 80.3
    assert ROWS["report-mgfn-xd-violence-cheat-a"].figures["recall"] == 0
    assert "six of thirteen classes" in ROWS["mgfn-ucf-crime"].caveats[0]


def test_commands_of_a_row(tmp_path):
    plan = make_plan(find_published("tevad-ucf-crime"), tmp_path, root=tmp_path)
    said = [str(step).replace(str(tmp_path), "OUT") for step in plan.steps]
    assert [line.split(" --origin")[0] for line in said] == [
        "vad labels ucf-crime OUT --out OUT",
        "vad import features FEATURES --layout rtfm --store OUT/features.zarr",
        "vad import features TEXT --layout tevad-text --store OUT/features.zarr",
        "vad train OUT/features.zarr --labels OUT/labels.csv --preset tevad-ucf-crime "
        "--select test --resume --out OUT/run",
        "vad evaluate OUT/run --segments OUT/segments.csv",
    ]
    assert [need.option for need in plan.missing] == ["--features DIR", "--text DIR", "--root DIR"]


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(UsageError, match="needs --features DIR, --root DIR, --weights FILE"):
        reproduce("urdmu-ucf-crime-weights", tmp_path / "out", root=tmp_path)
    with pytest.raises(UsageError, match="cannot be reproduced: .*not told which"):
        reproduce("report-mgfn-xd-violence-cheat-a", tmp_path / "out")
    with pytest.raises(UsageError, match="did you mean 'rtfm-ucf-crime'"):
        reproduce("rtfm-ucf-crim", tmp_path / "out")


def test_a_trained_row_from_published_files_to_figures(ucf_crime, tmp_path):
    """Ten-crop files of random numbers stand for the features: nothing can be learnt."""
    random = np.random.default_rng(0)
    (tmp_path / "features").mkdir()
    for name in names(ucf_crime):
        features = random.normal(size=(100, 10, 8)).astype(np.float32)
        np.save(tmp_path / "features" / f"{name}_i3d.npy", features)
    given = {"root": ucf_crime, "features": tmp_path / "features"}
    settings = ["epochs=1", "batch=2", "width=4"]
    result = reproduce("rtfm-ucf-crime", tmp_path / "out", **given, settings=settings)
    run = tmp_path / "out" / "run"
    metrics = json.loads((run / "evaluation-test" / "metrics.json").read_text())
    assert result.measured == {"AUC": pytest.approx(100 * metrics["frame"]["auc"], abs=1e-3)}
    assert metrics["stamp"] == "selected on test"
    assert result.counts[1] == 2 * N_EACH * 100 * 16
    assert result.departures == [
        "features have 8 dim, those published 2048",
        "trained with epochs=1",
        "trained with batch=2",
        "trained with width=4",
    ]
    assert "AUC                       84.30" in result.table()
    trained = (run / "members" / "0" / "detector.safetensors").stat().st_mtime_ns
    reproduce("rtfm-ucf-crime", tmp_path / "out", **given, settings=settings)  # nothing anew
    assert (run / "members" / "0" / "detector.safetensors").stat().st_mtime_ns == trained


def test_a_row_of_published_weights(ucf_crime, tmp_path):
    """Random weights in the file that UR-DMU's would come in, and one file a crop."""
    random = np.random.default_rng(0)
    (tmp_path / "features").mkdir()
    for name in names(ucf_crime):
        for crop in range(10):
            path = tmp_path / "features" / f"{name}__{crop}.npy"
            np.save(path, random.normal(size=(100, 1024)).astype(np.float32))
    settings = find_row("urdmu").settings().__dict__
    made = create_detector("urdmu", visual_dim=1024, text_dim=None, settings=settings)
    torch.save(made.state_dict(), tmp_path / "weights.pkl")
    result = reproduce(
        "urdmu-ucf-crime-weights",
        tmp_path / "out",
        root=ucf_crime,
        features=tmp_path / "features",
        weights=tmp_path / "weights.pkl",
    )
    assert set(result.measured) == {"AUC", "PR-AUC"}
    assert result.departures == []
    assert json.loads((tmp_path / "out" / "reproduction.json").read_text()) == result.to_dict()


def test_lists_may_lie_in_a_folder_of_the_data_sets_name(ucf_crime, tmp_path):
    shutil.copytree(ucf_crime, tmp_path / "ucf-crime")
    plan = make_plan(find_published("rtfm-ucf-crime"), tmp_path / "out", root=tmp_path)
    assert str(tmp_path / "ucf-crime") in plan.steps[0].argv
    assert [need.option for need in plan.missing] == ["--features DIR"]
