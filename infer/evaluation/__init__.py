"""Evaluation: measure runs against the frame truth of test videos; metrics, plots and a page.

`run` measures; `result` is the result, `metrics` the part of it that is saved, `files` saves it.
"""
