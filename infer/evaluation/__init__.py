"""Evaluation: runs measured against the frame truth of test videos; figures, plots, a page.

`run` measures, `result` is what comes out, `metrics` what is written of it, `files` writes it.
"""
