"""`vad tune`: settings of a training, searched on validation videos alone.

`space.py` says where is searched, `measure.py` what a trial is worth, `run.py` runs the trials,
`results.py` and `picture.py` write what they found.
"""
