"""`vad demo`: run all stages on a data set that is rendered on this machine.

run.py      render, extract, train, evaluate, score
videos.py   the data set: its videos, their events, labels and segments
scenes.py   four places, seen by fixed cameras
people.py   people: their looks, movements and actions
actors.py   moving things other than people: cars, a cyclist, a fire
drawing.py  a camera, and functions that draw
"""
