"""The version of this package, apart from it: a module that needs the version imports only this."""

VERSION = "0.1.0"
