"""The command line: click commands without logic, which import Keras only after the backend is chosen."""

try:
    from fornet_keras.cli.root import main
except ImportError as error:
    if error.name != "cv2" or not error.path:  # its extension was found, but not libGL, libxcb, libgthread, …
        raise
    raise SystemExit(
        f"Error: OpenCV cannot start ({error}); install that library, or without a display: "
        "pip uninstall opencv-python && pip install opencv-python-headless"
    ) from None

__all__ = ["main"]
