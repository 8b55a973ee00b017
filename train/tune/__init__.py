"""`vad tune`: search the settings of a training, judged on validation videos alone.

`space.py` defines which values are searched, `measure.py` scores a set of values, `run.py` runs the
trials, `results.py` and `picture.py` write the results.
"""
