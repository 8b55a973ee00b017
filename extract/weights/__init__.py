"""Pretrained weights: reading them safely, downloading and checking them, listing them by name.

checkpoint   read the tensors of a weights file without unpickling; strict loading downloads
download a file once into the cache and check it catalogue    all named weights: `vad models`, `vad
download` pretrained   models of the transformers family, by name or folder
"""
