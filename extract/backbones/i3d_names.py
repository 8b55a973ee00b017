"""The published names of I3D-ResNet50's tensors, and their conversion to the names used here.

    ours, pytorchvideo      Tushar-N                   Caffe2 (video-nonlocal-net)
    blocks.0.conv.weight    conv1.weight               conv1_w
    blocks.0.norm.bias      bn1.bias                   res_conv1_bn_b
    blocks.3.res_blocks.1   layer2.1                   res3_1
      .branch2.conv_a         .conv1                     _branch2a
      .branch1_norm           .downsample.1              _branch1_bn
    nonlocals.3_1.conv_phi  layer2.1.nl.phi            nonlocal_conv3_1_phi
    (blocks.6)              (fc)                       (pred)              the classifier

`blocks` 1, 3, 4, 5 are the stages 1-4, res2-res5. pytorchvideo has no names for non-local blocks.
"""

from __future__ import annotations

import re

from vad.errors import UsageError

from ..weights.checkpoint import State

_TUSHAR_STAGE = {"1": "1", "2": "3", "3": "4", "4": "5"}  # layer2 corresponds to blocks.3
_CAFFE_STAGE = {"2": "1", "3": "3", "4": "4", "5": "5"}  # res3 corresponds to blocks.3
_LETTER = {"1": "a", "2": "b", "3": "c"}
_CAFFE_PARAMETER = {
    "w": "weight",
    "s": "weight",
    "b": "bias",
    "rm": "running_mean",
    "riv": "running_var",
}


def to_our_names(state: State, source: str) -> tuple[str, State]:
    """Return the layout that a file's tensor names imply, and its trunk under the names of
    `I3D`.

    Raises UsageError if the names are of no known I3D-ResNet50.
    """
    if "conv1_w" in state:
        ours = {_from_caffe2(name): value for name, value in state.items()}
    elif "conv1.weight" in state and "layer1.0.conv1.weight" in state:
        ours = {_from_tushar(name): value for name, value in state.items()}
    elif "blocks.0.conv.weight" in state:
        ours = dict(state)
    else:
        raise UsageError(
            f"{source} is no I3D-ResNet50 in a known naming: it has {', '.join(list(state)[:5])}",
            hint="known are those of pytorchvideo, Tushar-N and the Caffe2 files",
        )
    fair = "blocks.0.conv.weight" not in state
    layout = "fair-32x2" if fair else "pytorchvideo-8x8"
    if any(name.startswith("nonlocals.") for name in ours):
        layout = "fair-32x2-nonlocal"
    classifier = ("fc.", "pred_", "blocks.6.")
    return layout, {name: v for name, v in ours.items() if not name.startswith(classifier)}


def _from_tushar(name: str) -> str:
    if stem := re.fullmatch(r"(conv|bn)1\.(\w+)", name):
        return f"blocks.0.{'conv' if stem[1] == 'conv' else 'norm'}.{stem[2]}"
    part = re.fullmatch(r"layer([1-4])\.(\d+)\.(conv|bn|downsample\.|nl\.)(\w+)\.(\w+)", name)
    if part is None:
        return name
    stage, block, kind, which, parameter = part.groups()
    if kind == "nl.":
        layer = "norm" if which == "bn" else f"conv_{which}"
        return f"nonlocals.{_TUSHAR_STAGE[stage]}_{block}.{layer}.{parameter}"
    if kind == "downsample.":
        layer = "branch1_conv" if which == "0" else "branch1_norm"
    else:
        letter = _LETTER.get(which, which)
        layer = f"branch2.{'conv' if kind == 'conv' else 'norm'}_{letter}"
    return f"blocks.{_TUSHAR_STAGE[stage]}.res_blocks.{block}.{layer}.{parameter}"


def _from_caffe2(name: str) -> str:
    if stem := re.fullmatch(r"(conv1|res_conv1_bn)_(\w+)", name):
        layer = "conv" if stem[1] == "conv1" else "norm"
        return f"blocks.0.{layer}.{_CAFFE_PARAMETER.get(stem[2], stem[2])}"
    block = re.fullmatch(r"res([2-5])_(\d+)_branch(1|2[abc])(_bn)?_(s|b|rm|riv|w)", name)
    if block:
        stage, number, branch, norm, parameter = block.groups()
        kind = "norm" if norm else "conv"
        layer = f"branch1_{kind}" if branch == "1" else f"branch2.{kind}_{branch[1]}"
        place = f"blocks.{_CAFFE_STAGE[stage]}.res_blocks.{number}"
        return f"{place}.{layer}.{_CAFFE_PARAMETER[parameter]}"
    nonlocal_ = re.fullmatch(r"nonlocal_conv([34]_\d+)_(\w+?)_(s|b|rm|riv|w)", name)
    if nonlocal_:
        place, which, parameter = nonlocal_.groups()
        layer = "norm" if which == "bn" else f"conv_{which}"
        return f"nonlocals.{place}.{layer}.{_CAFFE_PARAMETER[parameter]}"
    return name
