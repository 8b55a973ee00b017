"""Scores of a stream: a detector over a window of snippets, and the lines that tell them.

Neither knows where pictures come from; `vad.stages.pipelines.stream` joins them to a live source.
"""
