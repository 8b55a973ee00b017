"""The published features that rows were made of: whose, under which licence, in which layout.

Nothing is downloaded: most of it lies behind links that ask for a person. Counts of the truth are
those of the annotations laid over these features; `vad evaluate` counts them again.
"""

from __future__ import annotations

from dataclasses import dataclass

LISTS = {
    "ucf-crime": "www.crcv.ucf.edu/projects/real-world: Anomaly_Train.txt, Anomaly_Test.txt and "
    "Temporal_Anomaly_Annotation.txt",
    "xd-violence": "roc-ng.github.io/XD-Violence: annotations.txt; xd_train.txt and xd_test.txt, "
    "a name a line (rgb.list and rgbtest.list of github.com/Roc-Ng/XDVioDet will do)",
    "shanghaitech": "SH_Train.txt and SH_Test.txt, the split of Zhong et al. (CVPR 2019); "
    "test_frame_mask of svip-lab.github.io/dataset/campus_dataset.html",
    "ped2": "",  # vad labels knows them
}

NO_LICENCE = "no licence is stated"
TEVAD = "github.com/coranholmes/TEVAD (README, visual and text features)"
ROC_NG = "Wu et al., roc-ng.github.io/XD-Violence"


@dataclass(frozen=True, slots=True)
class Features:
    """One published set of features."""

    dataset: str  # of vad labels
    layout: str  # of vad import features
    crops: int
    dim: int
    origin: str  # who hands them out
    truth: tuple[int, int] | None  # anomalous frames, frames of the test videos
    licence: str = NO_LICENCE
    interval: str = ""  # of the annotations, where it is not that of the data set
    text: bool = False  # sentence embeddings belong to them

    @property
    def about(self) -> str:
        """What its files are, for a person who has to find them."""
        files = {
            "rtfm": f"VIDEO_i3d.npy [snippets, {self.crops}, {self.dim}]",
            "crop-files": f"VIDEO__0.npy ... VIDEO__{self.crops - 1}.npy [snippets, {self.dim}]",
            "c3d-text": f"VIDEO.txt, 32 lines of {self.dim} numbers",
        }
        return files[self.layout]


FEATURES: dict[str, Features] = {
    "ucf-crime-2048": Features(
        "ucf-crime",
        "rtfm",
        10,
        2048,
        "Tian et al., github.com/tianyu0207/RTFM (README); the same files by the authors of "
        "github.com/carolchenyx/MGFN.",
        (84_343, 1_114_144),
    ),
    "ucf-crime-1024": Features(
        "ucf-crime",
        "crop-files",
        10,
        1024,
        "Wu et al., github.com/Roc-Ng/DeepMIL (README)",
        (84_128, 1_109_680),
        interval="half-open",
    ),
    "ucf-crime-c3d": Features(
        "ucf-crime",
        "c3d-text",
        1,
        4096,
        "made by the C3D script of github.com/WaqasSultani/AnomalyDetectionCVPR2018; the features "
        "themselves are not handed out",
        None,
    ),
    "ucf-crime-tevad": Features(
        "ucf-crime", "rtfm", 10, 2048, TEVAD, (84_343, 1_114_144), text=True
    ),
    "xd-violence-1024": Features(
        "xd-violence", "crop-files", 5, 1024, ROC_NG, (537_805, 2_330_384)
    ),
    "xd-violence-tevad": Features(
        "xd-violence", "rtfm", 5, 1024, TEVAD, (537_805, 2_330_384), text=True
    ),
    "shanghaitech-2048": Features(
        "shanghaitech",
        "rtfm",
        10,
        2048,
        "Tian et al., github.com/tianyu0207/RTFM (README)",
        (8_028, 142_912),
    ),
    "shanghaitech-1024": Features(
        "shanghaitech",
        "crop-files",
        10,
        1024,
        "Pu et al., github.com/yujiangpu20/PEL4VAD (README)",
        (7_874, 140_112),
    ),
    "shanghaitech-tevad": Features(
        "shanghaitech", "rtfm", 10, 2048, TEVAD, (8_028, 143_888), text=True
    ),
    "ped2-tevad": Features("ped2", "rtfm", 10, 2048, TEVAD, (904, 3_200), text=True),
}
