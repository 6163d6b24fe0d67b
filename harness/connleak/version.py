"""The version of connleak; a module of its own, so that rooms need not import the package's public names."""

__version__ = "0.1.0"
