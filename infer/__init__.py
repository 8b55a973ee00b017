"""Videos or a store to scores: scoring, propagation to frames, evaluation, files and plots."""
