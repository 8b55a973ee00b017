"""`vad tune`: where it searches, on which videos, that it resumes, and when a gain is one."""

import csv
import json
import logging
import re
import shutil
import tomllib
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from vad.errors import UsageError
from vad.stages.extract.records import unseen_record
from vad.stages.train.presets import split_settings
from vad.stages.train.training import train
from vad.stages.train.tune.measure import Problem, measure
from vad.stages.train.tune.results import SearchResult, Trial, mean_error
from vad.stages.train.tune.run import JOURNAL, SEARCH, tune
from vad.stages.train.tune.space import Choice, Range, choose_space, grid_of
from vad.store import FeatureStore, Provenance

MADE_BY = {"backbone": "test", "weights": {"name": "none"}, "crops": ["center"], "vad": "0"}
QUICK = {
    "detector": "rtfm",
    "epochs": 4,
    "width": 4,
    "batch": 4,
    "scale": "standardise",
    "quiet": True,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store and labels: 20 training videos, the anomaly plain in half of them; 4 for testing."""
    folder = tmp_path_factory.mktemp("tune")
    store = FeatureStore.create(folder / "features.zarr")
    random = np.random.default_rng(0)
    rows = ["video,label,split"]
    for index in range(24):
        abnormal, n_frames = index % 2, 160
        features = random.normal(size=(10, 1, 6)).astype(np.float16)
        features[3:5] += 0.8 * abnormal
        record = unseen_record(Path("none"), n_frames, 25.0, "repeat-last", decoder="none")
        draft = store.draft(f"v{index}")
        draft.append("visual/test", features)
        draft.commit(record, np.arange(n_frames) / 25, {"visual/test": Provenance.of(MADE_BY)})
        rows.append(f"v{index},{abnormal},{'train' if index < 20 else 'test'}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder


def search(folder, out, **settings):
    return tune(
        folder / "features.zarr",
        folder / "labels.csv",
        out,
        **{"splits": 2, "trials": 3, "space": "lr,dropout", **QUICK, **settings},
    )


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """The folder of a search of three trials, and what it found."""
    out = tmp_path_factory.mktemp("whole")
    return out, search(folder, out)


@pytest.fixture(scope="module")
def first_trial(folder, tmp_path_factory):
    """The folder of the same search after one trial; `begun` is a copy of it."""
    out = tmp_path_factory.mktemp("first")
    search(folder, out, trials=1)
    return out


@pytest.fixture
def begun(first_trial, tmp_path):
    return shutil.copytree(first_trial, tmp_path / "begun")


# --- the space


def space(wanted, **given):
    return choose_space(wanted, *split_settings(given))


def test_ranges_follow_from_the_settings_and_their_values():
    found = space("lr,dropout,layers,width,alpha", detector="rtfm", lr=0.002, width=30)
    assert found["lr"] == Range(pytest.approx(0.0002), pytest.approx(0.02), log=True)
    assert found["dropout"] == Range(0, 0.99)  # its bounds
    assert found["width"] == Range(10, 90, log=True, whole=True)
    assert found["layers"] == Range(1, 3, log=True, whole=True)  # at most 3
    assert found["alpha"] == Range(pytest.approx(1e-5), pytest.approx(1e-3), log=True)


def test_by_default_what_is_switched_off_stays_off():
    small = space(None, detector="rtfm")  # a share speaks for a video, no sparsity, no gain
    assert {"lr", "weight_decay", "dropout", "share"} <= small.keys()
    assert not {"k", "sparse", "gain"} & small.keys()
    published = space(None, detector="rtfm", form="published")  # k snippets do, no share
    assert {"k", "sparse"} <= published.keys()
    assert "share" not in published


def test_blocks_are_choices():
    assert space("fusion", detector="tevad")["fusion"].values[:2] == ("concat", "add")
    assert space("attended", detector="saa")["attended"] == Choice((True, False))


def test_a_file_says_ranges_values_or_true(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text(
        "[space]\nlr = {low = 1e-4, high = 1e-2, log = true}\ndropout = [0.0, 0.7]\nk = true\n"
    )
    assert space(path, detector="rtfm") == {
        "lr": Range(1e-4, 1e-2, log=True),
        "dropout": Choice((0.0, 0.7)),
        "k": Range(1, 9, log=True, whole=True),
    }


def test_every_mistake_of_a_space_is_told_at_once(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text(
        "[space]\ndropuot = true\ndropout = [0.5, 1.5]\nlr = {low = 1, high = 0.1}\nk = 3\n"
        "seed = [0, 1]\n"
    )
    with pytest.raises(UsageError) as told:
        space(path, detector="rtfm")
    for part in (
        "no setting 'dropuot', did you mean 'dropout'",
        "dropout: 1.5 is above 0.99",
        "lr: 1 to 0.1 is no range",
        "k: write true, a list of values, or {low",
        "no setting 'seed'",
    ):
        assert part in str(told.value)


def test_the_reports_grid():
    grid = grid_of(space("report-grid", detector="rtfm"))
    assert len(grid) == 27
    assert {"lr": 1e-3, "weight_decay": 2.5e-3, "dropout": 0.35} in grid
    with pytest.raises(UsageError, match="report-grid has no values for saa; it has: rtfm, mgfn"):
        space("report-grid", detector="saa")


def test_a_range_makes_no_grid():
    assert grid_of({"lr": Range(1, 2), "k": Choice((1, 2))}) is None


# --- what a point is worth


def test_a_point_is_measured_on_training_videos_alone(folder):
    settings, own = split_settings({n: v for n, v in QUICK.items() if n != "quiet"})
    problem = Problem(folder / "features.zarr", folder / "labels.csv", settings, own)
    aucs = measure(problem, {"lr": 0.01}, (0, 1))
    assert len(aucs) == 2
    seen = [data.split for data in problem._loaded.values()]
    testing = {"v20", "v21", "v22", "v23"}
    for split in seen:
        assert not testing & {label.video for label in split.train + split.selection_videos}
    first, second = ([label.video for label in split.validation] for split in seen)
    assert first != second  # drawn by other seeds


def test_its_worth_is_the_mean_over_the_epochs_that_may_be_chosen(folder, tmp_path):
    out = tmp_path / "run"
    train(folder / "features.zarr", folder / "labels.csv", out, seed=1, lr=0.01, **QUICK)
    with (out / "history.csv").open() as file:
        aucs = [float(row["validation/video_auc"]) for row in csv.DictReader(file)]
    settings, own = split_settings({n: v for n, v in QUICK.items() if n != "quiet"})
    problem = Problem(folder / "features.zarr", folder / "labels.csv", settings, own)
    assert measure(problem, {"lr": 0.01}, (1,)) == pytest.approx([np.mean(aucs[2:])])


def test_test_videos_cannot_choose(folder, tmp_path):
    with pytest.raises(UsageError, match="never looks at test videos"):
        search(folder, tmp_path / "out", select="test")


def test_without_validation_videos_there_is_nothing_to_measure(folder, tmp_path):
    with pytest.raises(UsageError, match="no video validates"):
        search(folder, tmp_path / "out", validation=0)


# --- searches


def points(found):
    return [(trial.point, trial.value) for trial in found.trials]


def test_the_same_seed_gives_the_same_trials_resumed_or_not(folder, whole, begun, tmp_path):
    _, found = whole
    resumed = search(folder, begun, resume=True)
    assert points(resumed) == points(found)
    assert points(search(folder, tmp_path / "other", seed=7)) != points(found)


def test_a_search_is_not_mixed_with_another(folder, begun):
    with pytest.raises(UsageError, match="holds a search"):
        search(folder, begun)
    with pytest.raises(UsageError, match="begun with other space"):
        search(folder, begun, space="lr", resume=True)


def test_a_killed_search_goes_on_though_its_last_line_is_cut(folder, whole, begun):
    _, found = whole
    with (begun / JOURNAL).open("a") as file:
        file.write('{"op_code":4,"worker_id":"a-b')
    assert points(search(folder, begun, resume=True)) == points(found)


@pytest.mark.parametrize(
    ("name", "damaged", "message"),
    [
        (SEARCH, None, f"no file .*/{SEARCH}; choose another --out"),
        (SEARCH, "{", f"{SEARCH} cannot be read: .*; choose another --out"),
        (SEARCH, "[]", f"{SEARCH} holds no settings of a search; choose another --out"),
        (JOURNAL, "{}\n", f"{JOURNAL} is damaged: .*; choose another --out"),
        (JOURNAL, "nonsense\n{}\n", f"{JOURNAL} is damaged: .*; choose another --out"),
    ],
    ids=["missing", "cut", "a list", "no log", "no JSON"],
)
def test_a_search_with_a_damaged_file_is_not_gone_on_with(folder, begun, name, damaged, message):
    (begun / name).unlink()
    if damaged is not None:
        (begun / name).write_text(damaged)
    with pytest.raises(UsageError, match=message):
        search(folder, begun, resume=True)


def test_a_value_that_was_changed_in_the_journal_is_told(folder, begun):
    lines = (begun / JOURNAL).read_text().splitlines(keepends=True)
    changed = [re.sub(r'"values":\[[^]]*\]', '"values":[0.99]', line) for line in lines]
    assert changed != lines
    (begun / JOURNAL).write_text("".join(changed))
    with pytest.raises(UsageError, match="trial 0 is not what was written"):
        search(folder, begun, resume=True)


def test_a_search_with_nothing_to_go_on_with_says_that_it_begins(folder, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "vad"):
        search(folder, tmp_path, trials=1, resume=True)
    assert f"{tmp_path} holds no search to go on with: a new one begins" in caplog.messages


def test_every_point_of_a_grid_comes_once_and_the_files_say_so(folder, tmp_path):
    path, out = tmp_path / "space.toml", tmp_path / "out"
    path.write_text("[space]\nlr = [0.001, 0.01]\ndropout = [0.0, 0.5]\n")
    found = search(folder, out, space=path, trials=10)
    tried = sorted((t.point["lr"], t.point["dropout"]) for t in found.trials)
    assert tried == [(0.001, 0.0), (0.001, 0.5), (0.01, 0.0), (0.01, 0.5)]
    with (out / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted((float(r["lr"]), float(r["dropout"])) for r in rows) == tried
    assert (out / "tuning.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((out / "tune.json").read_text())["n_trials"] == 4
    for line in (out / JOURNAL).read_text().splitlines():
        json.loads(line)  # no pickles


def test_the_best_settings_train(folder, whole, tmp_path):
    out, found = whole
    written = tomllib.loads((out / "best.toml").read_text())["train"]
    run = train(
        folder / "features.zarr", folder / "labels.csv", tmp_path / "run", quiet=True, **written
    )
    used = asdict(run.card.training) | run.card.members[0].settings
    assert {name: used[name] for name in found.settings} == found.settings
    if found.best:
        assert {name: used[name] for name in found.best.point} == found.best.point


def test_a_learning_rate_at_which_training_diverges_loses(folder, tmp_path):
    path = tmp_path / "space.toml"
    path.write_text("[space]\nlr = [0.001, 1e30]\n")
    found = search(folder, tmp_path / "out", space=path)
    lost = [trial.point["lr"] for trial in found.trials if trial.aucs is None]
    assert lost == [1e30]
    with pytest.raises(UsageError, match="training diverged: at learning rate 1e.30"):
        train(folder / "features.zarr", folder / "labels.csv", tmp_path / "run", lr=1e30, **QUICK)


@pytest.mark.slow
def test_processes_share_a_search(folder, tmp_path):
    found = search(folder, tmp_path / "out", trials=4, jobs=2)
    assert [trial.number for trial in found.trials] == [0, 1, 2, 3]
    assert len({trial.point["lr"] for trial in found.trials}) == 4


# --- the verdict


@pytest.mark.parametrize(
    ("given", "best", "verdict"),
    [
        ([0.80, 0.70, 0.90], [0.90, 0.81, 0.99], "better"),  # +0.10, +0.11, +0.09
        ([0.80, 0.70, 0.90], [0.90, 0.60, 0.95], "no clear difference"),  # +0.10, -0.10, +0.05
        ([0.90, 0.81, 0.99], [0.80, 0.70, 0.90], "worse: keep the settings given"),
        ([0.80, 0.80], [0.80, 0.80], "no clear difference"),
    ],
)
def test_a_gain_is_told_from_chance_on_splits_that_no_trial_saw(given, best, verdict):
    trial = Trial(0, {}, [0.9], 0.9, 1)
    assert SearchResult(None, {}, [trial], trial, [0.8], given, best).verdict == verdict


def test_mean_and_its_standard_error():
    assert mean_error([1, 2, 3, 6]) == pytest.approx((3, np.sqrt(14 / 3) / 2))
    assert mean_error([0.5]) == (0.5, 0.0)


def test_where_no_trial_is_better_the_settings_given_are_kept():
    settings, own = split_settings({"lr": 0.005})
    problem = Problem("s.zarr", "l.csv", settings, own)
    found = SearchResult(problem, {}, [Trial(0, {"lr": 0.1}, [0.7], 0.7, 1)], None, [1.0])
    assert found.verdict == "no trial beats the settings given, which rank every video right"
    assert found.settings["lr"] == 0.005
