"""Label Studio: one task with the events as a prediction on a video timeline.

For a labelling configuration such as

    <View>
      <Video name="video" value="$video"/>
      <TimelineLabels name="anomaly" toName="video"><Label value="anomaly"/></TimelineLabels>
      <TextArea name="caption" toName="video" perRegion="true"/>
    </View>

Label Studio counts frames from 1 and a range holds its end (labelstud.io/tags/timelinelabels). It
plays what it is served: the path of the video is to be replaced by an address that it can reach.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vad.files import write_json

from ..scores import VideoScores, exact


def write(path: Path, scores: VideoScores) -> None:
    """Write a list of one task, with `data` and `predictions`."""
    task = {
        "data": {"video": scores.record.source, "fps": scores.record.fps},
        "meta": {"video": scores.video, "threshold": scores.threshold},
        "predictions": [
            {
                "model_version": scores.detector,
                "score": exact(scores.peak),
                "result": [
                    r for number in range(len(scores.events)) for r in _region(scores, number)
                ],
            }
        ],
    }
    write_json(path, [task])


def _region(scores: VideoScores, index: int) -> list[dict[str, Any]]:
    event = scores.events[index]
    ranges = [{"start": event.start_frame + 1, "end": event.end_frame}]
    shared = {"id": f"event-{index + 1}", "to_name": "video", "score": exact(event.peak)}
    region = {
        **shared,
        "from_name": "anomaly",
        "type": "timelinelabels",
        "value": {"ranges": ranges, "timelinelabels": ["anomaly"]},
    }
    if not event.caption:
        return [region]
    words = {"ranges": ranges, "text": [event.caption]}
    return [region, {**shared, "from_name": "caption", "type": "textarea", "value": words}]
