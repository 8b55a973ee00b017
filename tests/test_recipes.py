"""Every preset, to the pixel, against an implementation with PIL and NumPy, a frame at a time.

The network here is one that returns its input, so that what a `Backbone` gives is what a real
network would have seen.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torchvision.transforms import Resize, TenCrop
from transformers import CLIPImageProcessor

from vad.errors import UsageError, VideoError
from vad.stages.extract.backbones.backbone import Backbone
from vad.stages.extract.backbones.network import Network
from vad.stages.extract.crops import crop_boxes, resize, resized_size
from vad.stages.extract.recipes import RECIPES, Recipe, find_recipe

Pixels = NDArray[Any]
GREY = 1 / 255  # one grey level of input in 0..1

VIDEOS = [
    "fight/videos/s07_calm2.mp4",  # 320x240 becomes 341x256: its centre falls on half a pixel
    "ped2/videos/Test001.mp4",  # 360x240
    "decoder/corridor_139s.mp4",  # 768x432 becomes 455x256: it shrinks
]


def first_clip(path: Path) -> NDArray[np.uint8]:
    """uint8 [16, height, width, 3]"""
    frames: list[Pixels] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            frames.append(frame.to_ndarray(format="rgb24"))
            if len(frames) == 16:
                break
    return np.stack(frames)


def seen(recipe: Recipe, clip: Pixels, crops: str, n_views: int = 3) -> NDArray[np.float32]:
    """What a network would see: [crops, frames, height, width, 3]."""
    shape = (len(recipe.frames), *recipe.crop_size, 3)
    network = Network(
        nn.Flatten(),
        dim=int(np.prod(shape)),
        recipe=recipe,
        weights={},
        layout="",
        cpu_views=n_views,
        gpu_views=1,
    )
    backbone = Backbone(
        "pixels", network, crops=crops, device=torch.device("cpu"), precision="fp32"
    )
    pixels: NDArray[np.float32] = backbone(clip[None])[0].reshape(len(backbone.crops), *shape)
    return pixels


# --- the naive implementations: one frame [height, width, 3] in, its crops out


def resized_by_pil(frame: Pixels, size: tuple[int, int], how: Image.Resampling) -> Pixels:
    height, width = size
    return np.asarray(Image.fromarray(frame).resize((width, height), how), np.float64)


def rtfm(frame: Pixels) -> list[Pixels]:
    """torchvision's own transforms, as in the published snippet."""
    crops = TenCrop(224)(Resize(256)(Image.fromarray(frame)))
    return [(np.asarray(crop, np.float64) - 114.75) / 57.375 for crop in crops]


def gowtham(frame: Pixels) -> list[Pixels]:
    big = resized_by_pil(frame, (256, 340), Image.Resampling.LANCZOS) * 2 / 255 - 1
    crops = []
    for image in (big, big[:, ::-1]):
        crops += [image[:224, :224], image[:224, -224:], image[16:240, 58:282]]
        crops += [image[-224:, :224], image[-224:, -224:]]
    return crops


def center_first(frame: Pixels) -> list[Pixels]:
    """deepmil and xd: as torchvision cuts them, in the order of those features."""
    crops = [np.asarray(c, np.float64) for c in TenCrop(224)(Resize(256)(Image.fromarray(frame)))]
    return [crops[i] * 2 / 255 - 1 for i in (4, 0, 1, 2, 3, 9, 5, 6, 7, 8)]


def pytorchvideo(frame: Pixels) -> list[Pixels]:
    """Bilinear between the four nearest pixels, whatever the scale; centre 256x256."""
    height, width = frame.shape[:2]
    short = min(height, width)
    rows, columns = int(height / short * 256), int(width / short * 256)
    image = (frame / 255 - 0.45) / 0.225
    y = np.clip((np.arange(rows) + 0.5) * height / rows - 0.5, 0, None)[:, None, None]
    x = np.clip((np.arange(columns) + 0.5) * width / columns - 0.5, 0, None)[None, :, None]
    y0, x0 = y.astype(int)[:, 0, 0], x.astype(int)[0, :, 0]
    y1, x1 = np.minimum(y0 + 1, height - 1), np.minimum(x0 + 1, width - 1)
    dy, dx = y - y.astype(int), x - x.astype(int)
    upper = image[y0][:, x0] * (1 - dx) + image[y0][:, x1] * dx
    lower = image[y1][:, x0] * (1 - dx) + image[y1][:, x1] * dx
    big = upper * (1 - dy) + lower * dy
    top, left = round((rows - 256) / 2), round((columns - 256) / 2)
    return [big[top : top + 256, left : left + 256]]


def inception(frame: Pixels) -> list[Pixels]:
    return [resized_by_pil(frame, (224, 288), Image.Resampling.BILINEAR) * 2 / 255 - 1]


def timesformer(frame: Pixels) -> list[Pixels]:
    height, width = frame.shape[:2]
    short = min(height, width)
    size = int(224 * height / short), int(224 * width / short)
    big = resized_by_pil(frame, size, Image.Resampling.BILINEAR)
    top, left = (size[0] - 224) // 2, (size[1] - 224) // 2
    return [(big[top : top + 224, left : left + 224] / 255 - 0.45) / 0.225]


def lite0(frame: Pixels) -> list[Pixels]:
    squashed = Image.fromarray(frame).resize((224, 224), Image.Resampling.BILINEAR)
    return [(np.asarray(squashed, np.float64) - 127) / 128]


def clip(frame: Pixels) -> list[Pixels]:
    """transformers' own processor, with the defaults of CLIP ViT-B/16."""
    made = CLIPImageProcessor()(torch.from_numpy(frame).permute(2, 0, 1), return_tensors="pt")
    return [made["pixel_values"][0].permute(1, 2, 0).double().numpy()]


ALL, SECOND = list(range(16)), [0, 2, 4, 6, 8, 10, 12, 14]
# preset, crop set, naive implementation, frames of the clip, most that a pixel may differ by:
# nothing where PIL itself resizes, one grey level where torch does
TABLE = [
    ("rtfm", "ten", rtfm, ALL, GREY / 0.225),
    ("gowtham", "ten", gowtham, ALL, 1e-6),
    ("coranholmes-v2", "ten", gowtham, ALL, 1e-6),
    ("deepmil", "ten", center_first, ALL, GREY / 0.5),
    ("xd", "five", lambda frame: center_first(frame)[:5], ALL, GREY / 0.5),
    ("i3d-inception", "whole", inception, ALL, GREY / 0.5),
    ("pytorchvideo", "center", pytorchvideo, [0, 2, 4, 6, 8, 10, 12, 15], 1e-4),
    ("timesformer", "center", timesformer, SECOND, GREY / 0.225),
    ("efficientnet-lite0", "whole", lite0, ALL, 1 / 128),
    ("efficientnet-lite0-parts", "whole", lite0, SECOND, 1 / 128),
    ("mean16", "center", clip, ALL, 1e-6),
    ("middle", "center", clip, [8], 1e-6),
    ("every-second", "center", clip, SECOND, 1e-6),
]


def test_every_preset_is_in_the_table() -> None:
    assert [row[0] for row in TABLE] == list(RECIPES)


@pytest.mark.parametrize(("name", "crops", "naive", "frames", "most"), TABLE)
@pytest.mark.parametrize("video", VIDEOS)
def test_a_network_sees_the_published_pixels(
    data: Path,
    video: str,
    name: str,
    crops: str,
    naive: Callable[[Pixels], list[Pixels]],
    frames: list[int],
    most: float,
) -> None:
    recipe, clip = RECIPES[name].taking(crops), first_clip(data / video)
    assert (recipe.crops, list(recipe.frames)) == (crops, frames)
    few = replace(recipe, frames=recipe.frames[-1::-7])  # of the frames, to save time
    expected = np.stack([np.stack(naive(clip[i])) for i in frames[-1::-7]], axis=1)
    got = seen(few, clip, crops)
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= most * 1.0001
    differing = 0.02 if name == "i3d-inception" else 0.01  # share of the pixels, at most
    assert np.abs(got - expected).mean() <= most * differing + 1e-7


@pytest.mark.parametrize("crops", ["ten", "five", "center"])
def test_crops_of_i3d_inception_are_those_of_the_published_features(data: Path, crops: str) -> None:
    clip = first_clip(data / VIDEOS[0])
    few = replace(RECIPES["i3d-inception"], frames=(0,))
    published = replace(RECIPES["deepmil"], frames=(0,))
    np.testing.assert_array_equal(seen(few, clip, crops), seen(published, clip, crops))


def test_portrait_video_has_its_short_side_across(data: Path) -> None:
    clip = np.ascontiguousarray(first_clip(data / VIDEOS[0]).swapaxes(1, 2))
    got = seen(replace(RECIPES["rtfm"], frames=(0,)), clip, "ten")[:, 0]
    assert np.abs(got - np.stack(rtfm(clip[0]))).max() <= GREY / 0.225 * 1.0001


@pytest.mark.parametrize("n_views", [1, 3, 10, 25])
def test_the_size_of_the_buffer_changes_nothing(n_views: int) -> None:
    clip = np.random.default_rng(0).integers(0, 256, (16, 224, 260, 3), np.uint8)
    recipe = Recipe("small", frames=(0, 5), resize_px=32, crop_px=20)
    expected = seen(recipe, clip, "ten", n_views=2)
    np.testing.assert_array_equal(seen(recipe, clip, "ten", n_views), expected)


def test_clips_and_crops_keep_their_places() -> None:
    """Three clips of one colour each: every crop of a clip shows that colour."""
    recipe = Recipe("small", frames=(0,), resize_px=8, crop_px=4)
    values = np.array([0, 114, 255], np.uint8)
    clips = np.broadcast_to(values[:, None, None, None, None], (3, 16, 8, 9, 3))
    network = Network(nn.Flatten(), 48, recipe, {}, "", cpu_views=20, gpu_views=1)
    backbone = Backbone(
        "pixels", network, crops="ten", device=torch.device("cpu"), precision="fp32"
    )
    features = backbone(clips)
    assert features.shape == (3, 10, 48)
    for i, value in enumerate(values):
        np.testing.assert_allclose(features[i], (value - 114.75) / 57.375, rtol=1e-5)


@pytest.mark.parametrize(
    ("height", "width", "recipe", "size"),
    [
        (240, 320, "rtfm", (256, 341)),  # 341.33 is cut, not rounded
        (320, 240, "rtfm", (341, 256)),
        (1080, 1920, "rtfm", (256, 455)),
        (256, 300, "rtfm", (256, 300)),  # already right
        (1080, 1920, "gowtham", (256, 340)),  # squashed
        (240, 320, "timesformer", (224, 298)),
    ],
)
def test_resized_size(height: int, width: int, recipe: str, size: tuple[int, int]) -> None:
    assert resized_size(height, width, RECIPES[recipe]) == size


def test_a_strip_is_refused_before_it_fills_the_memory() -> None:
    assert resized_size(10, 160, RECIPES["rtfm"]) == (256, 4096)
    with pytest.raises(VideoError, match="4000x2 px, longer than 16 times") as caught:
        resized_size(2, 4000, RECIPES["rtfm"])
    assert caught.value.reason == "too-large"


@pytest.mark.parametrize(
    ("width", "recipe", "left"),
    [
        (341, "rtfm", 58),  # 58.5 goes to the even neighbour, as Python and torchvision round
        (455, "rtfm", 116),  # and so does 115.5
        (455, "timesformer", 115),  # transformers cuts the half off
    ],
)
def test_where_the_centre_is(width: int, recipe: str, left: int) -> None:
    (box,) = crop_boxes(RECIPES[recipe], "center", 256, width)
    assert (box.top_px, box.left_px) == (16, left)


@pytest.mark.parametrize("size", [(240, 320), (480, 360), (1080, 1920), (100, 130)])
def test_bilinear_is_within_one_grey_level_of_pil(size: tuple[int, int]) -> None:
    frame = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    got = resize(torch.from_numpy(frame[None]), RECIPES["rtfm"]).numpy()[0]
    expected = np.asarray(Resize(256)(Image.fromarray(frame)))
    assert got.dtype == np.uint8
    assert np.abs(got.astype(int) - expected.astype(int)).max() <= 1


def test_names_of_crops_stand_in_the_order_of_the_features() -> None:
    recipe = RECIPES["gowtham"]
    five = ("top-left", "top-right", "center", "bottom-left", "bottom-right")
    assert recipe.crop_names("five") == five
    assert recipe.crop_names("ten") == (*five, *(f"{name}-mirrored" for name in five))
    assert recipe.crop_names("center") == ("center",)
    assert recipe.crop_names("whole") == ("whole",)
    with pytest.raises(
        UsageError, match="no crop set named 'tne'; there are: ten, five, center, whole"
    ):
        recipe.crop_names("tne")


@pytest.mark.parametrize(
    ("name", "tail"),
    [("rtfm", "loop"), ("gowtham", "drop"), ("coranholmes-v2", "repeat-last"), ("xd", "drop")],
)
def test_tail_rules_of_the_authors(name: str, tail: str) -> None:
    assert RECIPES[name].tail == tail


def test_a_recipe_is_recorded_whole() -> None:
    record = RECIPES["gowtham"].record()
    assert record == json.loads(json.dumps(record))
    assert record["resize_px"] == [256, 340]
    assert (record["scale"], record["mean"], record["std"]) == (1 / 255, 0.5, 0.5)
    assert set(record) == set(Recipe.__dataclass_fields__) - {"whole_px"}
    whole = RECIPES["i3d-inception"].taking("whole").record()
    assert whole["resize_px"] == whole["crop_px"] == [224, 288]  # what whole_px says


def test_an_unknown_recipe_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="no recipe named 'rtmf'.*did you mean 'rtfm'"):
        find_recipe("rtmf")
