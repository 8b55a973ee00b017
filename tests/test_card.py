"""The card of a run: what is read from it is checked, and old cards are read as they were meant."""

import copy
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from vad.errors import UsageError
from vad.stages.extract.records import unseen_record
from vad.stages.infer.model_card import card_page
from vad.stages.pipelines.features_for_run import caption_settings_of, extracted, settings_of
from vad.stages.train.card import read_card
from vad.stages.train.run import Run
from vad.stages.train.training import train
from vad.store import FeatureStore, Provenance

OLD = Path(__file__).parent / "reliability" / "runs" / "schema-1"  # written by vad 0.1.0
EDITS = {
    "wrong type": {},
    "null": None,
    "negative": -3,
    "huge": 10**30,
    "not a number": float("nan"),
    "text": "a",
    "list": [1],
    "nested": {"a": {"b": 1}},
    "true": True,
    "missing": ...,
}


SELECTED = ("selection", "figures")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project folder: features.zarr (visual and text), labels.csv, segments.csv, runs/both."""
    folder = tmp_path_factory.mktemp("project")
    store, random = FeatureStore.create(folder / "features.zarr"), np.random.default_rng(0)
    rows, segments = ["video,label,split"], ["video,start_frame,end_frame"]
    for i in range(12):
        draft = store.draft(f"v{i}")
        draft.append("visual/test", random.normal(size=(4, 2, 6)).astype(np.float16))
        draft.append("text/said", random.normal(size=(4, 3)).astype(np.float16))
        made = {"backbone": "test", "weights": {"name": "none"}, "crops": ["a", "b"]}
        made, said = Provenance.of(made), Provenance.of({"x": "y"})
        record = unseen_record(Path(f"v{i}"), 60, 25.0, "repeat-last", decoder="none")
        draft.commit(record, np.arange(60) / 25, {"visual/test": made, "text/said": said})
        rows.append(f"v{i},{i % 2},{'test' if i >= 8 else 'train'}")
        segments += [f"v{i},16,48"] if i % 2 else []
    (folder / "labels.csv").write_text("\n".join(rows))
    (folder / "segments.csv").write_text("\n".join(segments))
    settings = {
        "detector": "rtfm",
        "width": 4,
        "epochs": 2,
        "validation": 0.25,
        "visual": "test",
        "text": "said",
    }
    train(store.path, folder / "labels.csv", folder / "runs" / "both", quiet=True, **settings)
    return folder


def paths_of(value, path=()):
    """The paths of all values in a document, objects and lists too; of a list the first two."""
    if path:
        yield path
    if isinstance(value, dict | list):
        items = list(value.items() if isinstance(value, dict) else enumerate(value[:2]))
        for name, item in items:
            yield from paths_of(item, (*path, name))


def edited(document, path, value):
    document = copy.deepcopy(document)
    *above, last = path
    place = document
    for name in above:
        place = place[name]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return document


def refusal(folder):
    """What reading the card in a folder says against it; empty if it is taken."""
    try:
        read_card(folder)
    except UsageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("name", ["new", "both", "rtfm", "imported"])
def test_an_edited_card_is_taken_or_refused_in_a_line_that_names_the_field(
    project, tmp_path, name, edit
):
    path = (project / "runs" / "both" if name == "new" else OLD / name) / "card.json"
    card, n_refused = json.loads(path.read_text()), 0
    for where in paths_of(card):
        (tmp_path / "card.json").write_text(json.dumps(edited(card, where, EDITS[edit])))
        said = refusal(tmp_path)
        n_refused += bool(said)
        assert "\n" not in said
        fields = [name for name in where if isinstance(name, str)][-2:]
        assert not said or re.search(rf"\b({'|'.join(fields)})\b", said), (where, said)
    assert n_refused > (8 if edit == "missing" else 15)


def uses(project, run, vad):
    """The commands that use a run: each its exit code and what it says on stderr."""
    code, _, said = vad("inspect", run)
    yield code, said
    if not refusal(run):
        out = project / "out"
        segments = project / "segments.csv"
        code, _, said = vad("evaluate", run, "--segments", segments, "--out", out)
        yield code, said
        store = project / "features.zarr"
        where = ("--store", store, "--detector", run, "--out", out, "--format", "csv", "--quiet")
        code, _, said = vad("score", *where)
        yield code, said


@pytest.mark.parametrize(
    "edit", [pytest.param(e, marks=[] if e == "huge" else pytest.mark.slow) for e in EDITS]
)
def test_no_edited_card_ends_in_an_internal_error(project, vad, edit):
    path = project / "runs" / "both" / "card.json"
    written = path.read_text()
    card = json.loads(written)
    try:
        for where in paths_of(card):
            path.write_text(json.dumps(edited(card, where, EDITS[edit])))
            for code, said in uses(project, path.parent, vad):
                assert code in (0, 2), (where, said)
                assert code == 0 or said.strip().count("vad: ") == 1
    finally:
        path.write_text(written)


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        ({"validation/video_auc": 0.8}, "only on the validation videos that chose its epoch"),
        ({"train/video_auc": 0.8}, "Nothing is known of how it does"),
    ],
)
def test_the_page_of_a_run_without_held_out_videos_promises_no_chance(
    project, tmp_path, figures, says
):
    shutil.copytree(project / "runs" / "both", tmp_path / "run")
    path = tmp_path / "run" / "card.json"
    path.write_text(json.dumps(edited(json.loads(path.read_text()), SELECTED, figures)))
    page = card_page(Run.open(path.parent))
    assert says in page
    assert "it is no chance" in page
    assert "how likely" not in page


@pytest.mark.parametrize("name", ["rtfm", "both", "imported"])
def test_a_run_of_vad_0_1_0_opens_as_a_run_of_one_member_and_scores_as_it_did(name):
    run = Run.open(OLD / name)
    assert len(run.members) == 1
    streams, expected = np.load(OLD / "features.npz"), json.loads((OLD / "scores.json").read_text())
    for video, scores in expected[name].items():
        given = {kind: streams[f"{kind}_{video}"] for kind in run.names}
        np.testing.assert_allclose(run.score(**given), scores, rtol=0, atol=2e-7)
    card = json.loads((OLD / name / "card.json").read_text())
    assert run.threshold == card["threshold"]
    assert run.card.selection.epoch == card["selection"].get("epoch")
    assert {part: len(videos) for part, videos in run.card.videos.items()} == {
        part: len(card["data"][part]) for part in ("train", "validation", "test")
    }


def test_a_run_of_a_newer_schema_is_refused_with_a_way_out(project, tmp_path, vad):
    path = Path(shutil.copytree(project / "runs" / "both", tmp_path / "run")) / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": "vad.run/3"}))
    code, _, err = vad("score", "--store", project / "features.zarr", "--detector", path.parent)
    assert code == 2
    assert "schema is 'vad.run/3', this vad reads vad.run/2 and vad.run/1; use the version" in err


def test_an_old_run_that_is_saved_again_scores_the_same(tmp_path):
    shutil.copytree(OLD / "both", tmp_path / "run")
    before = Run.open(tmp_path / "run")
    before.save()
    after = Run.open(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "card.json").read_text())["schema"] == "vad.run/2"
    assert (tmp_path / "run" / "members" / "0" / "detector.safetensors").is_file()
    streams = np.load(OLD / "features.npz")
    given = {kind: streams[f"{kind}_v8"] for kind in before.names}
    assert np.array_equal(before.score(**given), after.score(**given))


def test_a_run_of_two_members_scores_by_their_weights(tmp_path):
    """Twice the same detector, once with all scores at 0.5: weights 1 and 3."""
    shutil.copytree(OLD / "rtfm", tmp_path / "run")
    Run.open(tmp_path / "run").save()
    shutil.copytree(tmp_path / "run" / "members" / "0", tmp_path / "run" / "members" / "1")
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    card["members"].append({**card["members"][0], "weight": 3.0})
    (tmp_path / "run" / "card.json").write_text(json.dumps(card))
    run = Run.open(tmp_path / "run")
    for weight in ("fc3.weight", "fc3.bias"):
        run.members[1].detector.get_parameter(weight).data.zero_()
    visual = np.load(OLD / "features.npz")["visual_v8"]
    alone = Run.open(OLD / "rtfm").score(visual)
    np.testing.assert_allclose(run.score(visual), (alone + 3 * 0.5) / 4, atol=1e-6)


def test_a_run_opens_the_store_of_its_own_project_alone(project, tmp_path):
    run = Run.open(project / "runs" / "both")
    assert run.card.store == "features.zarr"
    assert run.find_store() == (project / "features.zarr").resolve()
    moved = Path(shutil.copytree(project, tmp_path / "moved"))
    assert Run.open(moved / "runs" / "both").find_store() == (moved / "features.zarr").resolve()
    shutil.copytree(project / "runs", tmp_path / "alone" / "runs")
    for hint in ("features.zarr", str(project / "features.zarr"), "../moved/features.zarr", None):
        path = tmp_path / "alone" / "runs" / "both" / "card.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "store": hint}))
        with pytest.raises(UsageError, match="not in its project folder .*/alone; name .*--store"):
            Run.open(path.parent).find_store()


@pytest.mark.parametrize("name", ["/etc/passwd", "somebody/network", "../outside.pth"])
def test_weights_that_only_a_card_names_are_not_opened(small_run, tmp_path, name):
    path = Path(shutil.copytree(small_run / "run", tmp_path / "project" / "run"))
    card = json.loads((path / "card.json").read_text())
    made = card["members"][0]["streams"][0]["provenance"]
    made["weights"]["name"] = name
    (path / "card.json").write_text(json.dumps(card))
    run = Run.open(path)
    (stream,) = extracted(run)
    with pytest.raises(UsageError, match="which are not known here; name them, if you trust them"):
        settings_of(stream, run, {})
    assert settings_of(stream, run, {"weights": "imagenet"}).weights == "imagenet"
    made["backbone"] = 3
    (path / "card.json").write_text(json.dumps(card))
    with pytest.raises(UsageError, match="card.json: .*provenance.backbone is 3, expected text"):
        Run.open(path)


def test_an_encoder_that_only_a_card_names_is_not_opened(project, tmp_path):
    path = Path(shutil.copytree(project / "runs" / "both", tmp_path / "run"))
    card = json.loads((path / "card.json").read_text())
    card["members"][0]["streams"][1]["provenance"] = {
        "encoder": "somebody/sentences",
        "captions": {"captioner": "labels", "window": 16},
    }
    (path / "card.json").write_text(json.dumps(card))
    run = Run.open(path)
    with pytest.raises(UsageError, match="'somebody/sentences', which is not known here; name it"):
        caption_settings_of(run, {})
    assert caption_settings_of(run, {"encoder": "minilm"}).encoder == "minilm"
