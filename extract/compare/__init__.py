"""Tests whether two sets of features are the same: compares recipes by field, vectors by
snippet.
"""

from .comparison import Comparison, compare, flatten

__all__ = ["Comparison", "compare", "flatten"]
