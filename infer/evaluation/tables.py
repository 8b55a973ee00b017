"""Figures as tables that a person can read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

RANKING = (("ROC-AUC", "auc"), ("AP", "ap"), ("PR-AUC", "pr_auc"))
DECISION = (
    ("F1", "f1"),
    ("macro-F1", "macro_f1"),
    ("accuracy", "accuracy"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("false alarms, normal videos", "false_alarm_rate"),
)
EVENTS = (
    *((f"{name}, IoU {iou}", f"iou_{iou}/{name}") for iou in (0.1, 0.3, 0.5) for name in
      ("precision", "recall")),
    ("detected", "detected"),
    ("delay, mean (s)", "delay_mean_s"),
    ("delay, median (s)", "delay_median_s"),
    ("false alarms an hour of normal video", "false_alarms_per_hour"),
)  # fmt: skip
YOUDEN = (
    ("threshold", "threshold"),
    ("recall", "recall"),
    ("false alarms, normal videos", "false_alarm_rate"),
    ("Youden's J", "youden"),
)
SECTIONS: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    ("frames, all videos", "frame", RANKING),
    ("frames, abnormal videos only", "abnormal_only", RANKING),
    ("oracle that knows the video's label only", "oracle", RANKING),
    ("frames at the threshold of the run", "at_threshold", DECISION),
    ("frames at threshold 0.5", "at_0.5", DECISION),
    ("frames at the best threshold in hindsight", "youden", YOUDEN),
    ("events at the threshold of the run", "events", EVENTS),
    ("videos", "video", RANKING),
    ("videos at the threshold of the run", "video/at_threshold", DECISION),
    ("videos at threshold 0.5", "video/at_0.5", DECISION),
)


class Line(NamedTuple):
    """A line of the table: a heading has no values."""

    name: str
    values: list[str]
    heading: bool = False


def lines(evaluations: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    """Every line of evaluations side by side, as `Evaluation.to_dict` gives them.

    Values are `-` where undefined, and have their 95 % interval where there is one.
    """
    for title, section, rows in SECTIONS:
        yield Line(title, [], heading=True)
        for name, key in rows:
            yield Line(name, [_value(e, section, key) for e in evaluations])
    kinds = dict.fromkeys(kind for e in evaluations for kind in e.get("categories", {}))
    if kinds:
        title = "kinds of anomaly: AUC, AUC of own frames, recall, videos found"
        yield Line(title, [], heading=True)
        for kind in kinds:
            yield Line(kind, [_kind(e["categories"].get(kind)) for e in evaluations])
    yield Line("measured on", [], heading=True)
    yield Line("threshold", [_threshold(e["threshold"]) for e in evaluations])
    yield Line("epoch and threshold selected on", [e["selected_on"] for e in evaluations])
    yield Line("videos, abnormal", [_videos(e) for e in evaluations])
    yield Line("frames, anomalous", [_frames(e) for e in evaluations])
    yield Line("confusion of frames (tn fp fn tp)", [_confusion(e) for e in evaluations])
    yield Line("loss of these videos", [_number(e.get("loss")) for e in evaluations])
    yield Line("loss in training, at the epoch", [_train_loss(e) for e in evaluations])


def metrics_table(evaluations: Sequence[Mapping[str, Any]]) -> str:
    """Evaluations side by side for a terminal; what must be said of one stands in its head."""
    table = Table(box=None, pad_edge=False, show_edge=False)
    table.add_column("")
    stamped = any(evaluation["stamp"] for evaluation in evaluations)
    for evaluation in evaluations:
        stamp = f"\n{evaluation['stamp'].upper()}" if stamped else ""
        table.add_column(Text(evaluation["name"] + stamp), justify="right", overflow="fold")
    for line in lines(evaluations):
        if line.heading:
            table.add_row(Text(line.name, style="bold"))
        else:
            table.add_row(f"  {line.name}", *map(Text, line.values))
    text = StringIO()
    Console(file=text, width=70 + 30 * len(evaluations), highlight=False).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def worst_table(evaluation: Mapping[str, Any], n: int = 3) -> str:
    """The worst false alarms and misses of one evaluation, with their times."""
    shown = []
    for title, key in (("worst false alarms", "false_alarms"), ("longest misses", "misses")):
        for moment in evaluation["worst"][key][:n]:
            when = f"{moment['start_timecode']} to {moment['end_timecode']}"
            shown.append(f"  {when}  highest {moment['peak']:.3f}  {moment['video']}")
        if evaluation["worst"][key]:
            shown.insert(len(shown) - len(evaluation["worst"][key][:n]), title)
    return "\n".join(shown)


def _value(evaluation: Mapping[str, Any], section: str, key: str) -> str:
    found: Any = evaluation
    for part in f"{section}/{key}".split("/"):
        found = None if found is None else found.get(part)
    if found is None:
        return "-"
    text = f"{found:.2f}" if key.endswith("_s") or key.endswith("hour") else f"{found:.4f}"
    ends = evaluation.get("intervals", {}).get(f"{section}.{key}")
    return f"{text} [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else text


def _kind(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "-"
    keys = ("auc", "abnormal_only_auc", "recall", "video_recall")
    return " ".join("-" if found.get(k) is None else f"{found[k]:.3f}" for k in keys)


def _threshold(value: float | list[float]) -> str:
    if isinstance(value, list):
        return f"{min(value):.4f} to {max(value):.4f}, by fold"
    return f"{value:.4f}"


def _confusion(evaluation: Mapping[str, Any]) -> str:
    counts = evaluation["at_threshold"]["confusion"]
    return " ".join(str(counts[n]) for n in ("tn", "fp", "fn", "tp"))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _train_loss(evaluation: Mapping[str, Any]) -> str:
    """Of the run; of several, the mean."""
    runs = evaluation.get("training", {}).values()
    losses = [run["train/loss/total"] for run in runs if "train/loss/total" in run]
    return _number(sum(losses) / len(losses) if losses else None)


def _videos(evaluation: Mapping[str, Any]) -> str:
    counts = evaluation["counts"]
    return f"{counts['n_videos']}, {counts['n_abnormal_videos']}"


def _frames(evaluation: Mapping[str, Any]) -> str:
    counts = evaluation["counts"]
    return f"{counts['n_frames']:,}, {counts['n_anomalous_frames']:,}"
