"""`vad train --seeds`: a run for each seed, and mean and deviation of their figures."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import vad as package
from vad.errors import UsageError
from vad.stages.extract.records import unseen_record
from vad.stages.infer.evaluation.spread import Spread, spread_table
from vad.stages.pipelines.project import free_folder
from vad.stages.pipelines.steps import read_pipeline
from vad.stages.train.run import Run
from vad.stages.train.seeds import parse_seeds, runs_of
from vad.store import FeatureStore, Provenance

OWN = ("--detector", "topk", "--epochs", "4", "--set", "share=0.3")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project folder with features, labels and segments of 20 videos, 4 of them for testing."""
    folder = tmp_path_factory.mktemp("seeds")
    store, random = FeatureStore.create(folder / "features.zarr"), np.random.default_rng(0)
    rows, segments = ["video,label,split"], ["video,start_frame,end_frame"]
    for i in range(20):
        visual = random.normal(size=(6, 1, 4))
        visual[2:4, 0, 1] += 1.5 * (i % 2)
        draft = store.draft(f"v{i}")
        draft.append("visual/test", visual.astype(np.float16))
        record = unseen_record(Path(f"v{i}"), 96, 25.0, "repeat-last", decoder="none")
        made = Provenance.of({"backbone": "test", "weights": {"name": "none"}})
        record = replace(record, width=320, height=240)
        draft.commit(record, np.arange(96) / 25, {"visual/test": made})
        rows.append(f"v{i},{i % 2},{'test' if i > 15 else 'train'}")
        segments += [f"v{i},32,64"] * (i % 2)
    (folder / "labels.csv").write_text("\n".join(rows))
    (folder / "segments.csv").write_text("\n".join(segments))
    return folder


@pytest.fixture
def here(project, monkeypatch):
    monkeypatch.chdir(project)
    return project


def numbers(line):
    return [float(text) for text in re.findall(r"\d+\.\d+", line)]


def test_each_seed_has_a_run_and_the_table_ends_with_mean_and_deviation(vad, here):
    code, out, err = vad("train", *OWN, "--seeds", "0-1,3", "--out", "runs/own")
    assert code == 0, err
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[1:6]] == [
        *("seed-0", "seed-1", "seed-3", "mean", "deviation")
    ]
    each = np.array([numbers(line) for line in lines[1:4]])
    assert lines[0].endswith("  threshold")
    assert each[:, -1].tolist() == [
        pytest.approx(Run.open(f"runs/own/seed-{n}").threshold, abs=6e-5) for n in (0, 1, 3)
    ]
    assert numbers(lines[4]) == pytest.approx(each.mean(0).tolist(), abs=1e-4)
    assert numbers(lines[5]) == pytest.approx(each.std(0).tolist(), abs=1e-4)
    assert lines[6] == "3 runs written to runs/own"
    assert "next: vad evaluate runs/own" in err
    weights = "members/0/detector.safetensors"
    assert vad("train", *OWN, "--seed", "3", "--out", "runs/third")[0] == 0
    assert Path("runs/third", weights).read_bytes() == Path("runs/own/seed-3", weights).read_bytes()
    assert Path("runs/third", weights).read_bytes() != Path("runs/own/seed-0", weights).read_bytes()


def test_the_folder_of_seeds_is_evaluated_by_mean_and_deviation(vad, here):
    assert vad("train", *OWN, "--seeds", "0,1", "--out", "runs/measured")[0] == 0
    code, out, err = vad("evaluate", "runs/measured")
    assert code == 0, err
    assert "runs/measured, 2 runs\n" in out
    assert len(json.loads(Path("runs/measured/comparison-test/metrics.json").read_text())) == 2
    runs = [Run.open(path) for path in runs_of(Path("runs/measured"))]
    found = [package.evaluate(run.path, "segments.csv") for run in runs]
    aucs = np.array([evaluation.figures.frame.auc for evaluation in found])
    assert aucs[0] != aucs[1]
    line = next(line for line in out.splitlines() if line.startswith("  ROC-AUC"))
    assert numbers(line) == pytest.approx([aucs.mean(), aucs.std()], abs=6e-5)
    assert package.spread(found)["frame.auc"].mean == pytest.approx(aucs.mean())
    known = package.spread(runs)
    assert known["threshold"].n == 2
    assert known["validation/video_auc"].lowest == min(
        run.card.selection.figures["validation/video_auc"] for run in runs
    )
    first, second = (evaluation.metrics for evaluation in found)
    table = spread_table({"both": [first, second], "first": [first]})
    assert re.search(r"both, 2 runs +first, 1 run\n", table)
    line = next(line for line in table.splitlines() if line.startswith("  ROC-AUC"))
    shown = [aucs.mean(), aucs.std(), aucs[0], 0]
    assert numbers(line) == pytest.approx(shown, abs=6e-5)


def test_finished_seeds_are_kept_replaced_or_refused(vad, here):
    args = ("train", *OWN, "--out", "runs/kept", "--seeds")
    assert vad(*args, "0-1")[0] == 0
    card = Path("runs/kept/seed-0/card.json")
    before = card.stat().st_mtime_ns
    code, _, err = vad(*args, "0-2")
    assert code == 2
    assert "runs/kept/seed-0 holds a finished run; keep it by --resume" in err
    code, out, _ = vad(*args, "0-2", "--resume")
    assert (code, card.stat().st_mtime_ns) == (0, before)
    assert "seed-2" in out
    code, _, err = vad(*args, "0-3", "--resume", "--epochs", "5")
    assert code == 2
    assert "runs/kept was begun with another epochs" in err
    assert vad(*args, "0-1", "--overwrite", "--epochs", "5")[0] == 0
    assert json.loads(card.read_text())["training"]["epochs"] == 5


def test_a_folder_of_seeds_is_told_from_a_run(vad, here):
    assert vad("train", *OWN, "--seeds", "0,1")[0] == 0
    assert [path.name for path in runs_of(Path("runs/topk"))] == ["seed-0", "seed-1"]
    assert free_folder(Path("runs/topk")) == Path("runs/topk-2")
    assert free_folder(Path("runs/topk"), [0, 1, 2]) == Path("runs/topk")
    assert free_folder(Path("runs/topk"), [0, 1]) == Path("runs/topk-2")
    for args, said in (
        (("card", "runs/topk"), "it holds runs of several seeds: name one, such as runs/topk/seed"),
        (("train", *OWN, "--out", "runs/topk"), "runs/topk holds runs of several seeds"),
        (("train", *OWN, "--out", "runs/topk/seed-0", "--seeds", "0,1"), "holds a run of one seed"),
        (("train", "--seeds", "0-1", "--seed", "3"), "both a seed and several seeds"),
    ):
        code, _, err = vad(*args)
        assert code == 2
        assert said in err
    code, out, err = vad("card")  # of the newest run
    assert (code, out) == (0, "written to runs/topk/seed-1/model-card.html\n"), err


def test_runs_outside_of_the_folder_runs_find_the_store_of_their_project(vad, here):
    assert vad("train", *OWN, "--seeds", "0-1", "--out", "elsewhere")[0] == 0
    assert Run.open("elsewhere/seed-0").find_store() == (here / "features.zarr").resolve()


def test_the_default_run_tells_the_spread_of_its_held_out_figures(vad, here):
    code, out, err = vad("train", "--epochs", "3", "--seeds", "0-1", "--out", "runs/default")
    assert code == 0, err
    heads, first, second, mean, deviation, *_ = out.splitlines()
    assert re.split(r" {2,}", heads)[-4:] == ["video auc", "found", "false alarms", "threshold"]
    each = np.array([numbers(first), numbers(second)])
    assert numbers(mean) == pytest.approx(each.mean(0).tolist(), abs=1e-4)
    assert numbers(deviation) == pytest.approx(each.std(0).tolist(), abs=1e-4)


@pytest.mark.parametrize(
    ("text", "seeds"), [("0-2", [0, 1, 2]), ("7", [7]), ("3,1", [3, 1]), (" 0, 4-5", [0, 4, 5])]
)
def test_seeds_are_numbers_and_ranges(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    "text", ["", "a", "2-1", "1,,2", "-1", "1-", "4294967296", "0-1,1", "0-1000"]
)
def test_what_names_no_seeds_is_refused(text):
    with pytest.raises(UsageError, match=r"seed"):
        parse_seeds(text)


def test_a_spread_is_mean_deviation_and_range():
    found = Spread.of([0.2, 0.4, 0.9])
    assert str(found) == "0.5000 (0.2944)"  # the root of (0.09 + 0.01 + 0.16) / 3
    assert (found.lowest, found.highest, found.n) == (0.2, 0.9, 3)
    with pytest.raises(UsageError, match="no runs"):
        package.spread([])


def test_a_pipeline_of_several_seeds_scores_by_one_that_it_names(tmp_path):
    file = tmp_path / "p.toml"
    file.write_text('[train]\nseeds = [0, "2-3"]\n[evaluate]\n')
    train, evaluate = read_pipeline(file)
    assert train.command.endswith("--seeds 0 --seeds 2-3 --out runs/default --overwrite")
    assert evaluate.command == "vad evaluate runs/default --store features.zarr"
    file.write_text('[train]\nseeds = "0-1"\n[score]\nvideos = "a.mp4"\n')
    with pytest.raises(UsageError, match='write detector = "runs/default/seed-0"'):
        read_pipeline(file)
