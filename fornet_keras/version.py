"""The package's version, written once: the build and saved models read it here."""

__version__ = "0.1.0"
