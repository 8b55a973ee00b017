"""The version of this package, in a module of its own so that it can be imported without others."""

VERSION = "0.2.0.dev0"
