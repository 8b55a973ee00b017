"""Pretrained weights: reading them safely, downloading and checking them, listing them by name.

checkpoint   read the tensors of a weights file without unpickling; strict loading
downloads    the file of known weights: in the cache, or fetched and checked
packages     weights inside a source package on the package index
receiving    resumable downloads
catalogue    all named weights: `vad models`, `vad download`
pretrained   models of the transformers family, by name or folder
"""
