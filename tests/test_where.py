"""Where in the picture scores come from: shares of cells, and the boxes of events."""

import dataclasses
from pathlib import Path

import av
import numpy as np
import pytest
import torch

import vad
from vad.errors import InternalError, UsageError
from vad.stages.extract.crops import crop_boxes, resized_size
from vad.stages.extract.recipes import RECIPES
from vad.stages.infer.scores import event_dict
from vad.stages.infer.scores_file import read_scores
from vad.stages.infer.where import Where, box_dict, view_of
from vad.stages.pipelines.stream import stream
from vad.stages.train.card import Card, Member, Selection, Stream
from vad.stages.train.detectors import create_detector
from vad.stages.train.run import Run, TrainedMember
from vad.stages.train.streams import Inputs, Scaling
from vad.stages.train.where import find_where
from vad.store import Provenance

RANDOM = np.random.default_rng(0)
N = 5  # snippets
GRID = (2, 3)
CELLS = {
    "grid": list(GRID),
    "pooled": [
        {"columns": [0, 4], "by": "peaks"},
        {"columns": [4, 6], "by": "mean", "of": [0, 2]},
        {"columns": [6, 9], "by": "maximum", "of": [2, 5]},
    ],
}
MADE = Provenance.of({"backbone": "test", "crop_set": "whole", "cells": CELLS})
ARRAYS = {
    "visual/x": RANDOM.uniform(0, 3, (N, 1, 9)).astype(np.float16),
    "places/x": RANDOM.uniform(0, 3, (N, 6, 5)).astype(np.float16),
    "peaks/x": RANDOM.integers(0, 6, (N, 4)).astype(np.uint8),
}


def member_of(detector, stream, inputs=None, *, weight=1.0, centre=0.0, name="topk", **settings):
    dim = detector.visual_dim
    card = Member(name, settings, dim, None, (stream,), weight=weight, centre=centre)
    return TrainedMember(card, detector.eval(), inputs or Inputs({stream.input: Scaling()}))


def run_of(*members):
    card = Card(tuple(m.card for m in members), Selection(on="test"), 0.5, None, {})
    return Run(Path("run"), card, members)


def linear(stream, weights, inputs=None, **settings):
    detector = create_detector("topk", visual_dim=len(weights))
    with torch.no_grad():
        detector.score.weight.copy_(torch.tensor([weights]))
        detector.score.bias.fill_(-2)
    return member_of(detector, stream, inputs, **settings)


def shares_of(heat):
    positive = np.maximum(heat, 0)
    return (positive / positive.sum(1, keepdims=True)).reshape(-1, *GRID)


def by_hand(weights, columns=range(9)):
    """What weight times value of every column adds to the cells it was pooled from, [N, 6]."""
    heat = np.zeros((N, 6))
    for snippet in range(N):
        places = ARRAYS["places/x"][snippet].astype(float)
        for weight, column in zip(weights, columns, strict=True):
            adds = weight * float(ARRAYS["visual/x"][snippet, 0, column])
            if column < 4:
                heat[snippet, ARRAYS["peaks/x"][snippet, column]] += adds
            elif column < 6:
                of = places[:, column - 4]
                heat[snippet] += adds * of / of.sum()
            else:
                heat[snippet, places[:, column - 4].argmax()] += adds
    return heat


def test_a_linear_detector_points_to_the_cells_that_its_features_were_pooled_from():
    weights = RANDOM.normal(size=9).tolist()
    found = find_where(run_of(linear(Stream("visual/x", 9, 1, MADE), weights)), ARRAYS)
    assert found == pytest.approx(shares_of(by_hand(weights)), abs=1e-5)
    assert found.sum((1, 2)) == pytest.approx(1)


def test_a_scaling_and_its_components_are_heeded_and_outliers_are_not_cut_off():
    torch.manual_seed(0)
    shift, scale, basis = torch.full((9,), 1.5), torch.full((9,), 0.01), torch.randn(9, 3)
    inputs = Inputs({"visual": Scaling(shift, scale, basis)})  # all lie beyond 5 deviations
    run = run_of(linear(Stream("visual/x", 9, 1, MADE), [1.0, -2.0, 0.5], inputs))
    weights = (basis @ torch.tensor([1.0, -2.0, 0.5])).tolist()
    assert run.score(ARRAYS["visual/x"]).max() > 1 - 1e-6
    assert find_where(run, ARRAYS) == pytest.approx(shares_of(by_hand(weights)), abs=1e-4)


def test_members_weigh_as_in_the_score_and_read_their_own_columns():
    one, other = RANDOM.uniform(size=4).tolist(), RANDOM.uniform(size=5).tolist()
    stream = Stream("visual/x", 9, 1, MADE)
    members = (
        linear(dataclasses.replace(stream, columns=(0, 4)), one, weight=3.0),
        linear(dataclasses.replace(stream, columns=(4, 9)), other, weight=1.0),
    )
    expected = 0.75 * shares_of(by_hand(one, range(4))) + 0.25 * shares_of(
        by_hand(other, range(4, 9))
    )
    assert find_where(run_of(*members), ARRAYS) == pytest.approx(expected, abs=1e-5)


def test_normality_points_to_the_cells_that_are_far_from_normal_footage():
    bank = ARRAYS["places/x"].astype(np.float32).reshape(-1, 5)
    unusual = ARRAYS["places/x"].astype(np.float32)
    unusual[2, 4] += 10
    settings = {"neighbours": 1, "places": 1}
    cells = np.zeros((len(bank), 1), np.float32)
    detector = create_detector(
        "normality", visual_dim=5, settings=settings, arrays={"bank": bank, "cells": cells}
    )
    stream = Stream("places/x", 5, 6, MADE)
    run = run_of(member_of(detector, stream, name="normality", **settings))
    found = find_where(run, {"places/x": unusual})
    assert found[2].argmax() == 4
    assert found[2].max() == 1
    assert not found[[0, 1, 3, 4]].any()  # nothing there is farther than usual


@pytest.mark.parametrize("name", ["rtfm", "pel4vad", "urdmu"])
def test_other_detectors_of_cells_point_by_their_gradient(name):
    torch.manual_seed(0)
    settings = {} if name == "pel4vad" else {"width": 32}
    detector = create_detector(name, visual_dim=5, settings=settings)
    run = run_of(member_of(detector, Stream("places/x", 5, 6, MADE), name=name, **settings))
    found = find_where(run, ARRAYS)
    assert found.shape == (N, *GRID)
    raised = found.any((1, 2))
    assert raised.any()
    assert found.sum((1, 2))[raised] == pytest.approx(1)


def test_features_without_cells_point_nowhere():
    plain = Provenance.of({"backbone": "i3d"})
    assert find_where(run_of(linear(Stream("visual/x", 9, 1, plain), [1.0] * 9)), ARRAYS) is None
    assert find_where(run_of(linear(Stream("visual/x", 9, 1), [1.0] * 9)), ARRAYS) is None
    bare = {"visual/x": ARRAYS["visual/x"]}  # the store holds nothing beside it
    assert find_where(run_of(linear(Stream("visual/x", 9, 1, MADE), [1.0] * 9)), bare) is None


def test_cells_of_another_number_are_refused_in_one_line():
    run = run_of(linear(Stream("visual/x", 9, 1, MADE), [1.0] * 9))
    with pytest.raises(UsageError, match=r"grid of cells is \[2, 3\], but places/x has 5 cells"):
        find_where(run, ARRAYS | {"places/x": ARRAYS["places/x"][:, :5]})


MOVES = (104, 60, 144, 84)  # left, top, right, bottom of what moves in a video


def write_video(path, rotation_deg, *, moves):
    """Write 32 noisy frames that are shown as 160 x 96 pixels; in some, a block swings."""
    random = np.random.default_rng(0)
    still = random.integers(0, 256, (12, 20, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    turns = rotation_deg // 90
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height = (160, 96) if turns % 2 == 0 else (96, 160)
        stream.pix_fmt = "yuv420p"
        stream.set_display_rotation(rotation_deg)
        for number in range(32):
            noise = random.normal(0, 40, still.shape)
            shown = (still + noise).clip(0, 255).astype(np.uint8)
            if moves:
                left = MOVES[0] + 2 * abs(number % 16 - 8)
                shown[MOVES[1] : MOVES[3], left : left + 24] = still[:24, :24] // 2 + 127
            image = np.ascontiguousarray(np.rot90(shown, -turns))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def run_of_videos(folder, rotation_deg, places):
    """Write two normal videos and odd.mp4; return the run that is trained on the former."""
    (folder / "normal").mkdir()
    for i in range(2):
        write_video(folder / "normal" / f"v{i}.mp4", rotation_deg, moves=False)
    write_video(folder / "odd.mp4", rotation_deg, moves=True)
    (folder / "labels.csv").write_text("video,label\nv0,0\nv1,0\n")
    store, run = folder / "f.zarr", folder / "run"
    vad.extract(folder / "normal", store, places=places, quiet=True)
    vad.train(store, folder / "labels.csv", run, member=("normality:places",), quiet=True)
    return run


def test_a_run_of_motion_alone_scores_other_videos_by_motion_alone(tmp_path):
    run = run_of_videos(tmp_path, 0, places="flow")
    assert Run.open(run).card.streams["places/efficientnet-lite0-parts"].dim == 23
    scores = vad.score(tmp_path / "odd.mp4", run)
    assert all(scores.where.hottest(snippet)[0] > 80 for snippet in range(2))


@pytest.mark.parametrize("rotation_deg", [0, 90])
def test_a_video_points_to_what_moves_in_the_picture_as_shown(tmp_path, rotation_deg):
    run = run_of_videos(tmp_path, rotation_deg, places="full")
    scores = vad.score(tmp_path / "odd.mp4", run)
    assert scores.where.shares.shape == (2, 7, 7)
    assert scores.where.view == (0, 0, 160, 96)
    for snippet in range(2):
        x, y = scores.where.hottest(snippet)
        assert MOVES[0] < x < MOVES[2]
        assert MOVES[1] < y < MOVES[3]
    left, top, right, bottom = scores.box_at(0)
    assert left < 124 < right
    assert top < 72 < bottom
    assert (right - left) * (bottom - top) < 160 * 96 / 3
    lines = [line for line in stream(str(tmp_path / "odd.mp4"), run) if line["type"] == "score"]
    assert [box_dict(scores.where.box(i)).items() <= lines[i].items() for i in range(2)] == [
        True
    ] * 2


# --- boxes


def test_the_hottest_place_and_its_box_lie_around_the_hot_cells():
    shares = np.zeros((2, 5, 5))
    shares[0, 1, 1:3] = 0.4
    shares[0, 4, 4] = 0.2
    where = Where(shares, (10.0, 20.0, 60.0, 70.0))
    x, y = where.hottest(0)
    assert x == pytest.approx(30, abs=2)  # between the two cells, to half a step of the finer grid
    assert y == 35
    left, top, right, bottom = where.box(0)
    assert left <= 23 < 37 <= right <= 43
    assert 27 <= top <= 33 < 37 <= bottom <= 43
    assert (where.hottest(1), where.box(1)) == (None, None)
    with pytest.raises(InternalError):
        Where(np.zeros((3, 0, 2)), (0.0, 0.0, 1.0, 1.0))


def test_a_lone_cell_has_its_middle_and_its_box():
    shares = np.zeros((1, 5, 5))
    shares[0, 1, 2] = 1
    where = Where(shares, (10.0, 20.0, 60.0, 70.0))
    assert where.hottest(0) == (35.0, 35.0)
    assert where.box(0) == (27, 27, 43, 43)


def test_a_cell_with_hot_neighbours_is_hotter_than_a_lone_one_with_a_little_more():
    shares = np.zeros((1, 4, 4))
    shares[0, 0, 0] = 0.3
    shares[0, 2:, 2:] = [[0.28, 0.14], [0.14, 0.14]]
    where = Where(shares, (0.0, 0.0, 40.0, 40.0))
    assert where.hottest(0) == pytest.approx((27, 27), abs=2)
    left, top, right, bottom = where.box(0)
    assert 17 <= min(left, top) <= max(left, top) <= 23
    assert min(right, bottom) >= 33
    tints = where.tints()[0]
    assert tints.argmax() == 10
    assert 0 < tints[0, 0] < 1


@pytest.mark.parametrize(("width", "height"), [(320, 240), (240, 320), (1920, 1080), (224, 224)])
@pytest.mark.parametrize("name", ["efficientnet-lite0-parts", "gowtham"])
@pytest.mark.parametrize("crops", ["whole", "center"])
def test_the_view_is_what_the_recipe_cuts_out(width, height, name, crops):
    recipe = RECIPES[name].taking(crops)
    made = Provenance.of({"recipe": recipe.record(), "crop_set": crops})
    rows, columns = resized_size(height, width, recipe)
    (crop,) = crop_boxes(recipe, crops, rows, columns)
    left, top = crop.left_px / columns * width, crop.top_px / rows * height
    right = (crop.left_px + recipe.crop_px) / columns * width
    bottom = (crop.top_px + recipe.crop_px) / rows * height
    pixel = max(width / columns, height / rows)
    assert view_of(made, width, height) == pytest.approx((left, top, right, bottom), abs=pixel)


def test_events_have_the_box_at_their_peak(make_scores, tmp_path):
    shares = np.zeros((3, 2, 2))
    shares[1, 0, 1] = 1
    scores = make_scores([0.1, 0.7, 0.6], where=Where(shares, (0.0, 0.0, 160.0, 96.0)))
    (event,) = scores.events
    assert event.box == (53, 0, 160, 64)
    assert list(event_dict(event).items())[-4:] == [
        ("left_px", 53),
        ("top_px", 0),
        ("right_px", 160),
        ("bottom_px", 64),
    ]
    assert scores.box_at(0) is None
    scores.save(tmp_path, ["json", "events"])
    assert read_scores(tmp_path / "video.json").events == [event]
    assert (tmp_path / "video.events.csv").read_text().splitlines()[1].endswith(",53,0,160,64")
    with pytest.raises(InternalError, match="2 places, 3 snippets"):
        make_scores([0.1, 0.7, 0.6], where=Where(shares[:2], (0.0, 0.0, 1.0, 1.0)))
