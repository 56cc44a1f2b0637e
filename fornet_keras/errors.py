"""Errors that a user sees: one clear line with the finding, the expectation and the fix."""


class FoRNetError(Exception):
    """Base of every error caused by a user's input; the command line prints it without a traceback.

    The message is one line that names the file or value, what was expected, and the fix.
    """


class ConfigError(FoRNetError):
    """A configuration file or a `--set` override cannot be used."""


class DataError(FoRNetError):
    """An image, a label or a data folder cannot be used."""


class ModelError(FoRNetError):
    """A model folder or file cannot be used, or does not fit the data."""


class TrainingError(FoRNetError):
    """A training run cannot go on."""
