"""The command line: click commands without logic, which import Keras only after the backend is chosen."""

try:
    from fornet_keras.cli.root import main
except ImportError as error:
    if error.name == "cv2" and error.path:  # its extension was found, but not libGL, libxcb, libgthread, …
        raise SystemExit(
            f"Error: OpenCV cannot start ({error}); install that library, or without a display: "
            "pip uninstall opencv-python && pip install opencv-python-headless"
        ) from None
    if not isinstance(error, ModuleNotFoundError) or "fornet_keras" in str(error):
        raise
    raise SystemExit(
        f"Error: {error}; activate the environment that has it (. .venv/bin/activate) or make it (make .venv)"
    ) from None

__all__ = ["main"]
