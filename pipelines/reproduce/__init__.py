"""`vad reproduce`: published rows as commands, and what these measure beside what was published.

`rows.py` holds the rows, `sources.py` the features they were made of, `plan.py` the commands,
`run.py` runs them and compares.
"""
