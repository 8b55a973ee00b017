"""Are these the same features? Recipes field by field, vectors snippet by snippet."""

from .comparison import Comparison, compare, flatten

__all__ = ["Comparison", "compare", "flatten"]
