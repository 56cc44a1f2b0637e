"""Where the features of a backbone lie, and an image that tells it."""

STRIDES = (4, 8, 16, 32)
"""Pixels of the image a cell of the features, in each direction."""

PROBE = (1, 128, 192, 3)
"""Shape of an image whose features show by their size at which stride they are."""


def probe_size(stride):
    """Height and width of the probe's features at a stride."""
    return PROBE[1] // stride, PROBE[2] // stride
