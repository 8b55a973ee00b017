"""Pretrained weights: read safely, downloaded and checked, listed by name.

checkpoint   a file of weights to tensors, never unpickled; strict loading
downloads    one address to one whole, checked file in the cache
catalogue    everything that has a name: `vad models`, `vad download`
pretrained   models of the transformers family, by name or folder
"""
