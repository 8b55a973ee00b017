"""Score a live stream: a detector over a window of recent snippets, and the output lines.

This package does not read video; `vad.stages.pipelines.stream` connects it to a live source.
"""
