"""`vad reproduce`: run the commands of a published result ("row"), and compare the measured
figures.

`rows.py` reads the rows from `rows.toml` and their features from `features.toml`, `plan.py` makes
the commands, `run.py` runs these and compares.
"""
