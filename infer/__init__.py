"""Score videos or a feature store: snippet and frame scores, events, evaluation, files and
plots.
"""
