"""The package's version, written once: the build and saved models read it here; and those of others."""

from importlib.metadata import PackageNotFoundError, version

__version__ = "0.1.0"


def installed(package: str) -> str | None:
    """The version of a package of that name, or None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
