"""`vad reproduce`: published rows as commands, and what these measure beside what was published.

`rows.py` reads the rows (`rows.toml`) and the features they were made of (`features.toml`),
`plan.py` makes commands of them, `run.py` runs these and compares.
"""
