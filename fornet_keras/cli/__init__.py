"""The command line: click commands without logic, which import Keras only after the backend is chosen."""

from fornet_keras.cli.root import main

__all__ = ["main"]
