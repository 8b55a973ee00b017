"""What members cost in a stream, and which of them `vad train --for streams` admits."""

import logging
from dataclasses import asdict

import pytest

import vad as library
from vad.errors import UsageError
from vad.stages.train import costs
from vad.stages.train.candidates import Candidate
from vad.stages.train.card import Stream
from vad.stages.train.detectors import DETECTORS
from vad.stages.train.detectors.settings import NormalitySettings, TopKSettings
from vad.store.metadata import Provenance

PARTS = {"backbone": "efficientnet-lite0-parts", "crops": ["whole"]}
I3D = {"backbone": "i3d", "crops": ["center"] * 10}


def member(name, detector="topk", array="visual/parts", made=PARTS, **own):
    settings = NormalitySettings(**own) if detector == "normality" else TopKSettings()
    stream = Stream(array, 1000, 1, Provenance.of(made) if made else None)
    return Candidate(name, detector, stream, asdict(settings))


A, C = member("topk:A"), member("topk:C")
ANYWHERE = member("normality:places", "normality", "places/parts")
NEAR = member("normality:places near", "normality", "places/parts", reach=1)
TEN_CROPS = member("topk:i3d", array="visual/i3d", made=I3D)


def test_features_of_one_backbone_count_once(caplog):
    caplog.set_level(logging.INFO, "vad")
    costs.tell([A, C, ANYWHERE])
    assert caplog.messages == [
        "what each member of the run costs on a live camera of 30 frames a second:",
        "topk:A: 0.142 CPU seconds a clip, 3.8 cameras a core",
        "topk:C: 0.142 CPU seconds a clip, 3.8 cameras a core",
        "normality:places: 0.152 CPU seconds a clip, 3.5 cameras a core",
        "all members: 0.152 CPU seconds a clip, 3.5 cameras a core",
    ]


def test_members_are_admitted_until_a_core_carries_three_cameras(caplog):
    caplog.set_level(logging.INFO, "vad")
    text = member("topk:minilm", array="text/minilm", made={"encoder": "minilm"})
    unknown = member("topk:x", array="visual/x", made={"imported": "rtfm"})
    urdmu, bnwvad = member("urdmu:A", "urdmu"), member("bnwvad:A", "bnwvad")
    given = [TEN_CROPS, bnwvad, urdmu, A, text, C, NEAR, unknown]
    assert costs.admit(given, are_named=False) == [urdmu, A, C, NEAR]
    said = "\n".join(caplog.messages)
    assert "topk:i3d (2.862 CPU seconds a clip, 0.178 are allowed)" in said
    assert "bnwvad:A (0.184 CPU seconds a clip with the other members, 0.178 are allowed)" in said
    assert "topk:minilm (a stream has no captions)" in said
    assert "topk:x (what visual/x costs is not known)" in said


def test_streams_have_all_members_of_the_default():
    every = [A, C, ANYWHERE, NEAR]
    assert costs.admit(every, are_named=True) == every


def test_clips_that_come_less_often_may_cost_more():
    inception = {"backbone": "i3d-inception", "crops": ["whole"]}
    sparse = inception | {"sampling": {"stride": 64}}
    kept = member("topk:s", array="visual/i3d-inception", made=sparse)
    assert costs.admit([kept], are_named=True) == [kept]
    with pytest.raises(UsageError, match=r"topk:d \(0.562 CPU seconds a clip, 0.178 are allowed"):
        costs.admit([member("topk:d", made=inception)], are_named=True)


def test_the_table_names_detectors_that_there_are():
    known = {name.split()[0] for name in costs.DETECTOR_S}
    assert known <= {*DETECTORS}


def test_a_training_for_streams_is_refused_by_name_where_nothing_remains(small_run, tmp_path):
    place, labels = small_run / "features.zarr", small_run / "labels.csv"
    run = library.train(
        place, labels, tmp_path / "run", purpose="streams", epochs=1, quiet=True, allow_random=True
    )
    assert [m.card.detector for m in run.members] == ["topk"]
    assert run.reach == 1  # a stream computes the newest snippet and its neighbour
    with pytest.raises(UsageError, match="not for streams of 3 cameras a core: rtfm:eff"):
        library.train(
            place, labels, tmp_path / "two", purpose="streams", quiet=True,
            member=["rtfm:efficientnet-lite0"],
        )  # fmt: skip
    with pytest.raises(UsageError, match="--for streams chooses among members"):
        library.train(
            place, labels, tmp_path / "three", purpose="streams", quiet=True, detector="rtfm"
        )
