"""Figures as a table that a person can read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from rich.console import Console
from rich.table import Table

RANKING = (("ROC-AUC", "auc"), ("AP", "ap"), ("PR-AUC", "pr_auc"))
DECISION = (
    ("F1", "f1"),
    ("macro-F1", "macro_f1"),
    ("accuracy", "accuracy"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("false alarms, normal videos", "false_alarm_rate"),
)
SECTIONS: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    ("frames, all videos", "frame", RANKING),
    ("frames, abnormal videos only", "abnormal_only", RANKING),
    ("oracle that knows the video's label only", "oracle", RANKING),
    ("frames at threshold 0.5", "at_0.5", DECISION),
    ("frames at the threshold of the run", "at_threshold", DECISION),
    ("videos", "video", RANKING),
    ("videos at threshold 0.5", "video.at_0.5", DECISION),
    ("videos at the threshold of the run", "video.at_threshold", DECISION),
)


def metrics_table(evaluations: Sequence[Mapping[str, Any]]) -> str:
    """Evaluations side by side, as `Evaluation.to_dict` gives them; `-` where undefined."""
    table = Table(box=None, pad_edge=False, show_edge=False)
    table.add_column("")
    for evaluation in evaluations:
        table.add_column(evaluation["run"], justify="right", overflow="fold")
    for title, path, rows in SECTIONS:
        table.add_row(f"[bold]{title}[/]")
        for name, key in rows:
            values = [_number(_at(e, f"{path}/{key}")) for e in evaluations]
            table.add_row(f"  {name}", *values)
    table.add_row("[bold]confusion of frames (tn fp fn tp)[/]", *map(_confusion, evaluations))
    table.add_row("[bold]threshold[/]", *(_number(e["threshold"]) for e in evaluations))
    table.add_row("[bold]selected on[/]", *(e["selected_on"] for e in evaluations))
    table.add_row("[bold]videos, abnormal[/]", *map(_videos, evaluations))
    table.add_row("[bold]frames, anomalous[/]", *map(_frames, evaluations))
    text = StringIO()
    Console(file=text, width=44 + 36 * len(evaluations), highlight=False).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _at(evaluation: Mapping[str, Any], path: str) -> Any:
    section, key = path.rsplit("/", 1)
    found: Any = evaluation
    for part in section.split(".", 1) if section.startswith("video.") else [section]:
        found = found[part]
    return None if found is None else found[key]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _confusion(evaluation: Mapping[str, Any]) -> str:
    counts = evaluation["at_threshold"]["confusion"]
    return " ".join(str(counts[n]) for n in ("tn", "fp", "fn", "tp"))


def _videos(evaluation: Mapping[str, Any]) -> str:
    counts = evaluation["counts"]
    return f"{counts['n_videos']}, {counts['n_abnormal_videos']}"


def _frames(evaluation: Mapping[str, Any]) -> str:
    counts = evaluation["counts"]
    return f"{counts['n_frames']:,}, {counts['n_anomalous_frames']:,}"
