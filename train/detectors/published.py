"""Published weights: remove wrappers, recognise the detector, and read its sizes from the
shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from vad.checkpoints import state_of
from vad.errors import UsageError

from .interface import Detector
from .settings import UCF_CRIME, XD_VIOLENCE, PEL4VADSettings

OURS = "detector."  # prefix of the names of a detector's weights in our runs


@dataclass(frozen=True, slots=True)
class Sizes:
    """Arguments of `create_detector` that were read from the shapes of weights."""

    visual_dim: int
    text_dim: int | None = None
    settings: dict[str, object] = field(default_factory=dict)
    asked: tuple[str, ...] = ()  # settings that no shape tells, so the caller must give them


Weights = Mapping[str, Tensor]


def by_shape(name: str, *, width: bool = False) -> Callable[[Weights], Sizes]:
    """Return a function that reads the feature width from the weight `name` [width, features, ...].

    With `width`, it also reads the setting `width`.
    """

    def read(weights: Weights) -> Sizes:
        shape = weights[name].shape
        return Sizes(shape[1], settings={"width": shape[0]} if width else {})

    return read


def rtfm_sizes(weights: Weights) -> Sizes:
    """Read the feature width, the channels of a branch, and the number of layers of the
    classifier.
    """
    width, dim = weights["Aggregate.conv_1.0.weight"].shape[:2]
    layers = sum(f"fc{n}.weight" in weights for n in (1, 2, 3))
    return Sizes(dim, settings={"width": width, "layers": layers})


def s3r_sizes(weights: Weights) -> Sizes:
    """Read the feature width, the channels of a branch, and the first width of the classifiers."""
    width, dim = weights["video_embedding.0.conv_1.0.weight"].shape[:2]
    hidden = weights["video_classifier.0.weight"].shape[0]
    own = {} if hidden == dim // 4 else {"hidden": hidden}  # a quarter is the published rule
    return Sizes(dim, settings={"width": width, **own})


def tevad_sizes(weights: Weights) -> Sizes:
    """Read both feature widths, and the fusion from which layers are present."""
    visual_dim = weights["Aggregate.conv_4.0.weight"].shape[1]
    text_dim = weights["Aggregate_text.conv_4.0.weight"].shape[1]
    fused_dim = weights["fc1.weight"].shape[1]
    if "fc_vis.weight" in weights:
        fusion = "add_up"
    elif "fc0.weight" in weights:  # add and product have the same layers
        return Sizes(visual_dim, text_dim, asked=("fusion",))
    elif fused_dim == visual_dim + text_dim:
        fusion = "concat"
    else:
        fusion = "visual" if fused_dim == visual_dim else "text"
    return Sizes(visual_dim, text_dim, {"fusion": fusion})


def urdmu_sizes(weights: Weights) -> Sizes:
    """Read the feature width and the sizes of the memories."""
    slots, width = weights["Amemory.memory_block"].shape
    dim = weights["embedding.conv_1.0.weight"].shape[1]
    return Sizes(dim, settings={"width": width, "slots": slots})


def pel4vad_sizes(weights: Weights) -> Sizes:
    """Read the feature width and the reach of the classifier.

    No shape tells the window of the attention; it is asked for unless the reach is the default.
    """
    dim = weights["self_attention.linear1.weight"].shape[1]
    t_step = weights["classifier.weight"].shape[2]
    asked = () if t_step == PEL4VADSettings.t_step else ("window", "norm")
    return Sizes(dim, settings={"t_step": t_step}, asked=asked)


def class_sizes(weights: Weights) -> tuple[int, dict[str, object]]:
    """Read the feature width and the settings that VadCLIP and DSANet share.

    No shape tells classes and window; a transformer of one layer is that of XD-Violence, of two
    that of UCF-Crime. Learnt class vectors of another number are not of either.
    """
    dim = weights["classifier.weight"].shape[1]
    layers = sum(name.endswith("ln_1.weight") and name.startswith("temporal.") for name in weights)
    of_xd = layers == 1
    settings: dict[str, object] = {
        "layers": layers,
        "window": 64 if of_xd else 8,
        "length": weights["frame_position_embeddings.weight"].shape[0],
        "classes": XD_VIOLENCE if of_xd else UCF_CRIME,
        "text_width": 0,
    }
    if "class_vectors" in weights and len(weights["class_vectors"]) == 2:
        settings["classes"] = None
    return dim, settings


def vadclip_sizes(weights: Weights) -> Sizes:
    """Read the sizes of VadCLIP, and by its layers the settings of its data set."""
    dim, settings = class_sizes(weights)
    if (words := weights.get("text_prompt_embeddings.weight")) is not None:
        settings["text_width"] = words.shape[1]
    own = {"score": "words", "distance": 1e-4} if settings["layers"] == 1 else {}
    return Sizes(dim, settings=settings | own)


def dsanet_sizes(weights: Weights) -> Sizes:
    """Read the sizes of DSANet, and by its layers the settings of its data set."""
    dim, settings = class_sizes(weights)
    adapters = [n for n in weights if n.startswith("clip_adapter.text_adapter.")]
    if adapters:
        settings["text_width"] = weights[adapters[0]].shape[1]
        settings["adapted"] = len(adapters) - 1
    own = {"share": 0.6, "temperature": 1.0, "contrast": 5.0} if settings["layers"] == 1 else {}
    return Sizes(dim, settings=settings | own)


@dataclass(frozen=True, slots=True)
class Mark:
    """A rule that recognises the weights of one detector, by the name of one weight."""

    name: str
    key: str  # name of a weight that the detector has
    read: Callable[[Weights], Sizes]
    # first size of that weight, if other detectors have a weight of this name
    rows: int | None = None


# The first match counts, so a detector that has the weights of another comes before it.
MARKS = (
    Mark("mgfn", "stages.0.0.layers.0.0.weight", by_shape("to_tokens.weight", width=True)),
    Mark("s3r", "en_normal.en_normal_module.query_embedding.weight", s3r_sizes),
    Mark("etevad", "Aggregate_text.pdc_block.fuse.weight", tevad_sizes),
    Mark("tevad", "Aggregate_text.conv_1.0.weight", tevad_sizes),
    Mark("rtfm", "Aggregate.conv_1.0.weight", rtfm_sizes),
    Mark("saa", "attn.attention.0.weight", by_shape("aggregate.conv_1.0.weight", width=True)),
    Mark("urdmu", "Amemory.memory_block", urdmu_sizes),
    Mark("bnwvad", "normal_head.bn1.weight", by_shape("embedding.conv_1.0.weight", width=True)),
    Mark("pel4vad", "self_attention.loc_adj.w", pel4vad_sizes),
    Mark("dsanet", "video_anomaly_refiner.video_prototypes", dsanet_sizes),
    Mark("vadclip", "gc1.residual.weight", vadclip_sizes),
    Mark("topk", "score.weight", by_shape("score.weight")),
    Mark("mil", "fc2.weight", by_shape("fc1.weight"), rows=128),
    Mark("sultani", "fc2.weight", by_shape("fc1.weight"), rows=32),
)

# Other names of the same weights in later code bases.
ALIASES = {
    "to_logits.weight": "to_logits.0.weight",  # MGFN, as its comparative study saves it
    "to_logits.bias": "to_logits.0.bias",
}


def check_asked(name: str, sizes: Sizes, settings: Mapping[str, object]) -> None:
    """Raise UsageError if `settings` lacks one that the shapes of the weights do not show."""
    if missing := [asked for asked in sizes.asked if asked not in settings]:
        raise UsageError(
            f"these weights of {name} do not tell the setting {' nor '.join(missing)}",
            hint=f"give them, as they were trained with: --set {missing[0]}=...",
        )


def fill(detector: Detector, name: str, weights: Weights) -> None:
    """Load weights into a detector. Raises UsageError unless all names and shapes fit."""
    try:
        detector.load_state_dict(dict(weights))
    except RuntimeError as error:  # the message lists missing, left-over and misshapen keys
        reason = " ".join(str(error).split())
        raise UsageError(f"these look like weights of {name}, but: {reason}") from None


def sizes_of(weights: Weights) -> tuple[str, Sizes]:
    """Return the name of the detector that bare weights belong to, and its sizes.

    Raises UsageError if the detector is not known or a weight is missing.
    """
    mark = recognise(weights)
    try:
        return mark.name, mark.read(weights)
    except (KeyError, IndexError) as error:
        raise UsageError(f"these look like weights of {mark.name}, but lack {error}") from None


def recognise(weights: Weights) -> Mark:
    """Return the mark of the detector that weights belong to; UsageError if no detector is
    known.
    """
    for mark in MARKS:
        if mark.key in weights and mark.rows in (None, *weights[mark.key].shape[:1]):
            return mark
    raise UsageError(
        f"weights of no known detector: they start with {', '.join(sorted(weights)[:3])}",
        hint=f"known are {', '.join(sorted(mark.name for mark in MARKS))}",
    )


def unwrap(state_dict: Mapping[str, object]) -> dict[str, Tensor]:
    """Return the bare weights of a training checkpoint, of a state_dict, or of one of our runs.

    The prefixes `module.` and `model.` are removed from the names, and so are tensors of a run that
    do not belong to the detector. Raises UsageError if there are no tensors.
    """
    try:
        weights = state_of(state_dict)
    except ValueError as error:
        raise UsageError(
            f"a state_dict maps names to tensors, this one {error}",
            hint="give the mapping that torch.load(path, weights_only=True) returns",
        ) from None
    own = {n.removeprefix(OURS): w for n, w in weights.items() if n.startswith(OURS)}
    return {ALIASES.get(name, name): weight for name, weight in (own or weights).items()}
