"""Features of parts of the picture: optical flow of cells, blocks, and where maxima lie."""

import numpy as np
import pytest

from vad.errors import UsageError
from vad.stages.extract.backbones import create_backbone
from vad.stages.extract.backbones.flow import CELLS, DIRECTIONS, WIDTH, flow_of_cells, grey_frames

MEAN_SPEED, FASTEST = 2 * DIRECTIONS, 2 * DIRECTIONS + 3  # columns of a cell


def moving(n_frames, pixels_a_frame, size=224, side=32):
    """Frames of a textured square, `side` pixels wide, that moves to the right in the top row."""
    random = np.random.default_rng(0)
    ground = random.integers(90, 110, (size, size, 3), np.uint8)
    grain = side // 4
    square = random.integers(0, 256, (grain, grain, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    frames = np.stack([ground] * n_frames)
    for i, frame in enumerate(frames):
        left = round(40 + i * pixels_a_frame)
        frame[0:side, left : left + side] = square
    return frames


@pytest.fixture(scope="module")
def backbone():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAD_ENGINE", "openvino")
        return create_backbone("efficientnet-lite0-parts", weights="random:0")


def test_what_stands_still_has_no_flow():
    assert np.abs(flow_of_cells(grey_frames(moving(4, 0)))).max() < 1e-3


def test_flow_tells_speed_direction_and_place():
    flow = flow_of_cells(grey_frames(moving(8, 4)))
    assert flow.shape == (CELLS, WIDTH)
    cell = int(flow[:, FASTEST].argmax())
    assert cell in (1, 2, 3)  # the top row, where the square moves
    assert flow[cell, FASTEST] == pytest.approx(2, rel=0.5)  # 4 pixels of 224 are 2 of 112
    directed = flow[cell, :DIRECTIONS]
    assert directed[[0, DIRECTIONS - 1]].sum() > 0.8 * directed.sum()  # to the right
    assert flow[35:, MEAN_SPEED].max() < 0.1 * flow[cell, MEAN_SPEED]  # nothing below


def test_what_is_a_few_pixels_high_is_seen_to_move():
    flow = flow_of_cells(grey_frames(moving(8, 4, side=16)))  # 8 pixels of 112
    cell = int(flow[:, FASTEST].argmax())
    assert cell in (1, 2)
    assert flow[cell, FASTEST] == pytest.approx(2, rel=0.5)


def test_motion_is_stored_a_second_so_that_frame_rates_agree(backbone):
    slow, fast = (
        backbone.arrays_of(backbone(moving(16, px)[None]), fps, "float32")
        for fps, px in ((10.0, 3.0), (30.0, 1.0))  # 30 pixels a second at both rates
    )
    name = "places/efficientnet-lite0-parts"
    speeds = [arrays[name][0, :, -WIDTH + FASTEST].max() for arrays in (slow, fast)]
    assert speeds[0] == pytest.approx(speeds[1], rel=0.3)
    assert speeds[0] == pytest.approx(15, rel=0.5)  # of 112 pixels


def test_a_clip_becomes_three_arrays_whose_blocks_are_named(backbone):
    random = np.random.default_rng(1)
    clips = random.integers(0, 256, (2, 16, 120, 160, 3), np.uint8)
    arrays = backbone.arrays_of(backbone(clips), 25.0, "float16")
    assert [(a.shape, str(a.dtype)) for a in arrays.values()] == [
        ((2, 1, 1774), "float16"),
        ((2, 49, 247), "float16"),
        ((2, 1280), "uint8"),
    ]
    assert tuple(arrays) == backbone.arrays
    assert backbone.provenance["blocks"] == {"A": [0, 1280], "C": [1280, 1774]}
    peaks = arrays["peaks/efficientnet-lite0-parts"]
    assert peaks.max() < CELLS
    np.testing.assert_array_equal(backbone(clips)[1], backbone(clips[1:])[0])


@pytest.mark.parametrize(
    ("places", "shapes", "pooled", "directions"),
    [
        (
            "flow",
            [(1, 1, 1774), (1, 49, 23), (1, 1280)],
            ["peaks", "mean", "maximum"],
            [[0, 8], [8, 16]],
        ),
        ("none", [(1, 1, 1774), (1, 1280)], ["peaks"], []),
    ],
)
def test_less_of_each_cell_can_be_stored(backbone, monkeypatch, places, shapes, pooled, directions):
    monkeypatch.setenv("VAD_ENGINE", "openvino")
    less = create_backbone("efficientnet-lite0-parts", weights="random:0", places=places)
    clip = moving(16, 4)[None]
    whole = backbone.arrays_of(backbone(clip), 25.0, "float32")
    arrays = less.arrays_of(less(clip), 25.0, "float32")
    assert [array.shape for array in arrays.values()] == shapes
    assert less.bytes_of_snippet("float32") == sum(array.nbytes for array in arrays.values())
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, whole[name][..., -array.shape[-1] :])
    cells = less.provenance["cells"]["pooled"]
    assert [part["by"] for part in cells] == pooled
    assert less.provenance["cells"]["directions"] == directions
    assert backbone.provenance["cells"]["directions"] == [[224, 232], [232, 240]]
    assert all(part["of"] == [0, 23] for part in cells[1:])
    assert (less.provenance["places"], "places" in backbone.provenance) == (places, False)


def test_a_backbone_without_cells_stores_none_of_them():
    with pytest.raises(UsageError, match="--places flow: this backbone stores no cells"):
        create_backbone("efficientnet-lite0", weights="random:0", places="flow")


def test_what_moves_is_where_its_features_peak(backbone):
    frames = moving(16, 4)
    arrays = backbone.arrays_of(backbone(frames[None]), 25.0, "float32")
    changed = arrays["visual/efficientnet-lite0-parts"][0, 0, :1280]
    peaks = arrays["peaks/efficientnet-lite0-parts"][0][changed > np.quantile(changed, 0.9)]
    assert (peaks < 14).mean() > 0.8  # in the upper two of seven rows
