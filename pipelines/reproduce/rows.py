"""Published rows: their figures in percent, how they were made, and what is known against them.

Two tables of a report that compared three detectors (github.com/marctimjen/Weakly-supervised-
anomaly-detection), and the headline figures of the papers. Rows of the report are named as there:
`pre` evaluates published weights, `cheat` chooses on the test set, `val` on validation videos.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vad.errors import UsageError
from vad.names import did_you_mean

# figure -> its place in metrics.json
FIGURES: dict[str, tuple[str, str]] = {
    "AUC": ("frame", "auc"),
    "AP": ("frame", "ap"),
    "PR-AUC": ("frame", "pr_auc"),
    "abnormal-only AUC": ("abnormal_only", "auc"),
    "F1": ("at_0.5", "f1"),
    "macro-F1": ("at_0.5", "macro_f1"),
    "accuracy": ("at_0.5", "accuracy"),
    "recall": ("at_0.5", "recall"),
    "precision": ("at_0.5", "precision"),
    "false-alarm rate": ("at_0.5", "false_alarm_rate"),
}
REPORT = ("AP", "AUC", "F1", "macro-F1", "PR-AUC", "accuracy", "recall", "precision")

TABLE_1 = "Drozdova, Jorgensen and Jensen, table I"
TABLE_2 = "Drozdova, Jorgensen and Jensen, table II"

ON_TEST = "chosen on the test set: optimistic"
BY_LOSS = "there, the lowest validation loss chose; here, the AUC of validation videos"
OTHER_PASSES = "the report trained for up to 1,000 passes"
RESIZED = "there, training segments are interpolated; here, they are means"
UNKNOWN = "one point of a grid, and not told which; nearest: vad tune --space report-grid"
OWN_FEATURES = "published features differ from what any extractor makes of the videos today"
SIX_MISSING = (
    "published as 86.98, on a truth in which six of thirteen classes are not marked (52,844 "
    "of 84,343 frames); with all of them, the same weights give 83.5"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One published row: trained anew by `train`, or measured with the published `weights`."""

    source: str
    features: str  # of `sources.FEATURES`
    figures: Mapping[str, float]
    train: str = ""  # options of vad train
    weights: str = ""  # which, and whose
    caveats: tuple[str, ...] = ()
    dictionary: bool = False  # S3R's weights need that of their training

    @property
    def can_run(self) -> bool:
        return bool(self.train or self.weights)


def _report(*values: float) -> dict[str, float]:
    return dict(zip(REPORT, values, strict=True))


MGFN_WEIGHTS = "Chen et al., linked from github.com/carolchenyx/MGFN. (README)"
S3R_WEIGHTS = "Wu et al., linked from github.com/louisYen/S3R (README; MIT)"
TEST, UCF_VAL, XD_VAL = "--select test", "--validation 0.1 --seed 42", "--validation 0.2 --seed 42"

ROWS: dict[str, Row] = {
    # --- the report, table I
    "report-mgfn-ucf-crime-pre": Row(
        TABLE_1,
        "ucf-crime-2048",
        _report(23.5, 83.5, 28.1, 52.3, 23.5, 64.0, 91.4, 16.6),
        weights=MGFN_WEIGHTS,
        caveats=(ON_TEST,),
    ),
    "report-mgfn-ucf-crime-cheat": Row(
        TABLE_1,
        "ucf-crime-2048",
        _report(25.1, 81.6, 28.5, 55.0, 25.1, 70.6, 77.4, 17.4),
        train=f"--preset mgfn-ucf-crime-compared {TEST}",
        caveats=(ON_TEST, OTHER_PASSES),
    ),
    "report-mgfn-ucf-crime-val": Row(
        TABLE_1,
        "ucf-crime-2048",
        _report(20.2, 80.7, 29.1, 55.8, 20.2, 72.0, 75.8, 18.0),
        train=f"--preset mgfn-ucf-crime-compared {UCF_VAL}",
        caveats=(BY_LOSS, OTHER_PASSES),
    ),
    "report-rtfm-ucf-crime-cheat": Row(
        TABLE_1,
        "ucf-crime-2048",
        _report(21.2, 82.0, 30.9, 56.9, 31.6, 72.5, 81.1, 19.1),
        train=f"--preset rtfm-ucf-crime-paper {TEST}",
        caveats=(ON_TEST, OTHER_PASSES),
    ),
    "report-rtfm-ucf-crime-val": Row(
        TABLE_1,
        "ucf-crime-2048",
        _report(21.6, 80.3, 29.8, 57.1, 29.3, 74.6, 71.3, 18.9),
        train=f"--preset rtfm-ucf-crime-paper {UCF_VAL}",
        caveats=(BY_LOSS, OTHER_PASSES),
    ),
    "report-s3r-ucf-crime-pre": Row(
        TABLE_1,
        "ucf-crime-2048",
        _report(31.5, 85.9, 31.3, 56.2, 31.5, 70.4, 89.2, 18.9),
        weights=S3R_WEIGHTS,
        caveats=(ON_TEST,),
        dictionary=True,
    ),
    "report-s3r-ucf-crime-cheat": Row(
        TABLE_1,
        "ucf-crime-2048",
        _report(27.4, 83.7, 29.7, 54.9, 27.4, 69.2, 85.7, 17.9),
        train=f"--preset s3r-ucf-crime {TEST}",
        caveats=(ON_TEST, RESIZED),
    ),
    "report-s3r-ucf-crime-val": Row(
        TABLE_1,
        "ucf-crime-2048",
        _report(20.3, 80.5, 29.7, 56.3, 32.8, 72.6, 76.4, 18.4),
        train=f"--preset s3r-ucf-crime {UCF_VAL}",
        caveats=(BY_LOSS, RESIZED),
    ),
    # --- the report, table II
    "report-mgfn-xd-violence-pre": Row(
        TABLE_2,
        "xd-violence-1024",
        _report(80.1, 92.9, 71.9, 81.3, 80.1, 86.1, 77.0, 67.4),
        weights=MGFN_WEIGHTS,
        caveats=(ON_TEST,),
    ),
    "report-mgfn-xd-violence-cheat": Row(
        TABLE_2,
        "xd-violence-1024",
        _report(71.5, 90.2, 65.9, 74.7, 71.5, 77.7, 93.5, 50.9),
        train=f"--preset mgfn-ucf-crime-compared {TEST}",
        caveats=(ON_TEST, OTHER_PASSES),
    ),
    "report-mgfn-xd-violence-cheat-a": Row(
        TABLE_2,
        "xd-violence-1024",
        _report(80.6, 92.9, 0.0, 43.4, 80.6, 76.9, 0.0, 0.0),
        caveats=(ON_TEST, UNKNOWN, "no score reaches 0.14: at 0.5 nothing is ever flagged"),
    ),
    "report-mgfn-xd-violence-cheat-b": Row(
        TABLE_2,
        "xd-violence-1024",
        _report(78.9, 92.3, 25.4, 56.9, 78.9, 80.1, 14.7, 94.5),
        caveats=(ON_TEST, UNKNOWN),
    ),
    "report-mgfn-xd-violence-cheat-c": Row(
        TABLE_2,
        "xd-violence-1024",
        _report(79.0, 92.4, 22.0, 55.2, 79.0, 79.6, 12.4, 96.5),
        caveats=(ON_TEST, UNKNOWN),
    ),
    "report-mgfn-xd-violence-val": Row(
        TABLE_2,
        "xd-violence-1024",
        _report(72.5, 89.0, 27.7, 58.2, 72.5, 80.3, 16.4, 91.2),
        train=f"--preset mgfn-ucf-crime-compared {XD_VAL}",
        caveats=(BY_LOSS, OTHER_PASSES),
    ),
    "report-rtfm-xd-violence-cheat": Row(
        TABLE_2,
        "xd-violence-1024",
        _report(77.4, 90.8, 70.7, 80.2, 77.5, 84.6, 80.3, 63.2),
        train=f"--preset rtfm-xd-violence {TEST}",
        caveats=(ON_TEST, OTHER_PASSES),
    ),
    "report-rtfm-xd-violence-val": Row(
        TABLE_2,
        "xd-violence-1024",
        _report(65.4, 88.9, 66.6, 75.8, 67.4, 79.3, 88.9, 53.2),
        train=f"--preset rtfm-xd-violence {XD_VAL}",
        caveats=(BY_LOSS, OTHER_PASSES),
    ),
    "report-s3r-xd-violence-cheat": Row(
        TABLE_2,
        "xd-violence-1024",
        _report(77.7, 91.2, 72.1, 81.4, 77.7, 86.0, 77.9, 66.9),
        train=f"--preset s3r-ucf-crime {TEST}",
        caveats=(ON_TEST, RESIZED),
    ),
    "report-s3r-xd-violence-val": Row(
        TABLE_2,
        "xd-violence-1024",
        _report(74.5, 92.4, 71.9, 80.2, 74.5, 83.7, 89.8, 59.9),
        train=f"--preset s3r-ucf-crime {XD_VAL}",
        caveats=(BY_LOSS, RESIZED),
    ),
    # --- headline figures of the papers
    "sultani-ucf-crime": Row(
        "Sultani et al., CVPR 2018",
        "ucf-crime-c3d",
        {"AUC": 75.41},
        train=f"--preset sultani-ucf-crime {TEST}",
        caveats=(OWN_FEATURES, "there, 32 segments of a video are scored, not its snippets"),
    ),
    "rtfm-ucf-crime": Row(
        "Tian et al., ICCV 2021",
        "ucf-crime-2048",
        {"AUC": 84.30},
        train=f"--preset rtfm-ucf-crime {TEST}",
        caveats=(ON_TEST, "no seed is set there; others reached 0.75 to 0.82 with its code"),
    ),
    "rtfm-shanghaitech": Row(
        "Tian et al., ICCV 2021",
        "shanghaitech-2048",
        {"AUC": 97.21},
        train=f"--preset rtfm-shanghaitech {TEST}",
        caveats=(ON_TEST,),
    ),
    "rtfm-xd-violence": Row(
        "Tian et al., ICCV 2021",
        "xd-violence-1024",
        {"PR-AUC": 77.81},
        train=f"--preset rtfm-xd-violence {TEST}",
        caveats=(ON_TEST, "its lists and settings for XD-Violence are not published"),
    ),
    "mgfn-ucf-crime": Row(
        "Chen et al., AAAI 2023",
        "ucf-crime-2048",
        {"AUC": 83.5},
        train=f"--preset mgfn-ucf-crime {TEST}",
        caveats=(SIX_MISSING, ON_TEST),
    ),
    "mgfn-ucf-crime-weights": Row(
        "Chen et al., AAAI 2023; on a right truth, issue 27 of its repository",
        "ucf-crime-2048",
        {"AUC": 83.46, "PR-AUC": 23.54},
        weights=MGFN_WEIGHTS,
        caveats=(SIX_MISSING, ON_TEST),
    ),
    "mgfn-xd-violence": Row(
        "Chen et al., AAAI 2023",
        "xd-violence-1024",
        {"PR-AUC": 79.19},
        train=f"--preset mgfn-ucf-crime {TEST}",
        caveats=(ON_TEST, "its code cannot read XD-Violence as it is released"),
    ),
    "s3r-ucf-crime": Row(
        "Wu et al., ECCV 2022",
        "ucf-crime-2048",
        {"AUC": 85.99},
        train=f"--preset s3r-ucf-crime {TEST}",
        caveats=(ON_TEST, RESIZED),
    ),
    "s3r-shanghaitech": Row(
        "Wu et al., ECCV 2022",
        "shanghaitech-2048",
        {"AUC": 97.40},
        train=f"--preset s3r-shanghaitech {TEST}",
        caveats=(ON_TEST, RESIZED, "97.48 in the paper"),
    ),
    "s3r-xd-violence": Row(
        "Wu et al., ECCV 2022",
        "xd-violence-1024",
        {"AP": 80.26},
        train=f"--preset s3r-ucf-crime {TEST}",
        caveats=(ON_TEST, RESIZED, "its settings for XD-Violence are not published"),
    ),
    "tevad-ucf-crime": Row(
        "Chen et al., CVPR Workshops 2023",
        "ucf-crime-tevad",
        {"AUC": 84.9},
        train=f"--preset tevad-ucf-crime {TEST}",
        caveats=(ON_TEST,),
    ),
    "tevad-shanghaitech": Row(
        "Chen et al., CVPR Workshops 2023",
        "shanghaitech-tevad",
        {"AUC": 98.1},
        train=f"--preset tevad-shanghaitech {TEST}",
        caveats=(ON_TEST,),
    ),
    "tevad-xd-violence": Row(
        "Chen et al., CVPR Workshops 2023",
        "xd-violence-tevad",
        {"AP": 79.8},
        train=f"--preset tevad-xd-violence {TEST}",
        caveats=(ON_TEST, "three of 3,954 training videos are missing in its list"),
    ),
    "tevad-ped2": Row(
        "Chen et al., CVPR Workshops 2023",
        "ped2-tevad",
        {"AUC": 98.7},
        train=f"--preset tevad-ped2 {TEST}",
        caveats=(ON_TEST, "18 test videos; a score that knows only their labels has 96.3"),
    ),
    "saa-ucf-crime": Row(
        "Fan et al., TCSVT 2024",
        "ucf-crime-1024",
        {"AUC": 86.19, "abnormal-only AUC": 68.77},
        train=f"--preset saa-ucf-crime {TEST}",
        caveats=(ON_TEST, "its losses were never released: the paper's are trained"),
    ),
    "saa-xd-violence": Row(
        "Fan et al., TCSVT 2024",
        "xd-violence-1024",
        {"PR-AUC": 83.59},
        train=f"--preset saa-ucf-crime {TEST}",
        caveats=(ON_TEST, "its losses were never released: the paper's are trained"),
    ),
    "urdmu-ucf-crime": Row(
        "Zhou et al., AAAI 2023",
        "ucf-crime-1024",
        {"AUC": 86.97, "PR-AUC": 35.59},
        train=f"--preset urdmu-ucf-crime {TEST}",
        caveats=(ON_TEST, "others reached 85.7 to 86.3 with its code"),
    ),
    "urdmu-ucf-crime-weights": Row(
        "Zhou et al., AAAI 2023",
        "ucf-crime-1024",
        {"AUC": 86.97, "PR-AUC": 35.59},
        weights="Zhou et al., models/ucf_trans_2022.pkl of github.com/henrryzh1/UR-DMU (MIT)",
        caveats=(ON_TEST,),
    ),
    "urdmu-xd-violence": Row(
        "Zhou et al., AAAI 2023",
        "xd-violence-1024",
        {"PR-AUC": 81.66, "AUC": 94.02},
        train=f"--preset urdmu-xd-violence {TEST}",
        caveats=(ON_TEST,),
    ),
    "urdmu-xd-violence-weights": Row(
        "Zhou et al., AAAI 2023",
        "xd-violence-1024",
        {"PR-AUC": 81.66, "AUC": 94.02},
        weights="Zhou et al., models/xd_trans_2022.pkl of github.com/henrryzh1/UR-DMU (MIT)",
        caveats=(ON_TEST,),
    ),
    "bnwvad-ucf-crime": Row(
        "Zhou et al., 2023",
        "ucf-crime-1024",
        {"AUC": 87.24},
        caveats=(ON_TEST, "no code was released for UCF-Crime; others reached 82 to 84.8"),
    ),
    "bnwvad-xd-violence": Row(
        "Zhou et al., 2023",
        "xd-violence-1024",
        {"PR-AUC": 84.93, "AUC": 94.71},
        train=f"--preset bnwvad-xd-violence {TEST}",
        caveats=(ON_TEST,),
    ),
    "pel4vad-ucf-crime": Row(
        "Pu et al., TIP 2024",
        "ucf-crime-1024",
        {"AUC": 86.76, "PR-AUC": 33.99, "false-alarm rate": 0.47},
        train=f"--preset pel4vad-ucf-crime {TEST}",
        caveats=(ON_TEST, "there, prompts from CLIP and a learning rate that falls"),
    ),
    "pel4vad-xd-violence": Row(
        "Pu et al., TIP 2024",
        "xd-violence-1024",
        {"PR-AUC": 85.59, "AUC": 94.94, "false-alarm rate": 0.57},
        train=f"--preset pel4vad-xd-violence {TEST}",
        caveats=(ON_TEST, "there, prompts from CLIP and a learning rate that falls"),
    ),
    "pel4vad-shanghaitech": Row(
        "Pu et al., TIP 2024",
        "shanghaitech-1024",
        {"AUC": 98.14, "PR-AUC": 72.56, "false-alarm rate": 0.0},
        train=f"--preset pel4vad-shanghaitech {TEST}",
        caveats=(ON_TEST, "there, prompts from CLIP and a learning rate that falls"),
    ),
}


def find_published(name: str) -> Row:
    """The row of a name. Raises UsageError, naming the nearest, for an unknown one."""
    if name in ROWS:
        return ROWS[name]
    raise UsageError(
        f"no published row named {name!r}; vad reproduce lists them",
        hint=did_you_mean(name, ROWS),
    )
