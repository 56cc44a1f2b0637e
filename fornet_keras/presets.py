"""The sizes of FoR-Net: constructor arguments of the network and of its backbone."""

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    # Every part, as small as it works: to try a pipeline in seconds, not for scores.
    "pico": {
        "backbone": {"widths": (8, 8, 8, 8), "depths": (0, 1, 1, 1)},
        "context_filters": 8,
        "branch_filters": 8,
        "scales": (1, 2),
    },
    # About 0.43 M parameters.
    "nano": {
        "backbone": {"widths": (24, 48, 64, 64), "depths": (0, 1, 2, 1)},
        "context_filters": 48,
        "branch_filters": 128,
    },
    # About 1.04 M parameters.
    "s": {
        "backbone": {"widths": (32, 64, 128, 128), "depths": (0, 2, 1, 1)},
        "context_filters": 64,
        "branch_filters": 208,
    },
    # About 4.8 M parameters.
    "m": {
        "backbone": {"widths": (48, 96, 208, 256), "depths": (0, 2, 2, 2)},
        "context_filters": 96,
        "branch_filters": 320,
    },
}
