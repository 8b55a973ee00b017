"""The whole way on a data set that is rendered here.

run.py      render, extract, train, evaluate, score
videos.py   the data set: which videos, what happens in them, labels and segments
scenes.py   four places, seen by fixed cameras
people.py   how people are built, how they move, what they do
actors.py   what moves besides people: cars, a cyclist, a fire
drawing.py  a camera, and the brushes
"""
