"""`vad watch`: several cameras in one process, from live video to alerts.

    feeds ─> one batch of clips ─> backbone ─> run of each camera ─> events ─> journal ─> sinks

reading.py   reads cameras.toml; its mistakes are told together, with their lines
settings.py  what the file holds
loop.py      reads the cameras, computes features of all in one batch, scores them
events.py    when an event begins and ends, its snapshot and clip, and the journal
sinks.py     where alerts are sent, each with its own thread and retries
camera.py    one camera: its feed, zones and scores
health.py    lost, dark, frozen, moved and unfamiliar cameras; figures for Prometheus
"""
