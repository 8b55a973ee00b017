"""Runs against the frame truth of test videos: figures, plots, a page."""
