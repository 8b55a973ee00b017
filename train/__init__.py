"""Train detectors on stored features and labels: bags, networks, losses, the training loop and
metrics.
"""
