"""Scores of a stream: a detector over a window of snippets, and the lines with its scores.

Where pictures come from is not known here; `vad.stages.pipelines.stream` adds the live source.
"""
