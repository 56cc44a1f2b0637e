"""Regions of a feature map as pure functions: gather what they see, scatter them back, paint a mask.

A map of `rows × columns` regions, each `cells × cells` feature cells, is numbered row by row. All counts are
Python ints, so that every shape is static and compiles.
"""

from keras import ops


def pad_halo(features, halo):
    """Surround `features (batch, height, width, channels)` with `halo` cells of zeros on each side."""
    return ops.pad(features, [[0, 0], [halo, halo], [halo, halo], [0, 0]])


def gather_patches(padded, indices, cells, halo):
    """Take what a convolution sees of each cell of some regions, from a map that `pad_halo` has padded.

    A matrix product with the kernel is then that convolution. On a CPU this is no slower than to convolve
    small tiles, and with XLA twice as fast.

    Args:
        padded: `(batch, rows * cells + 2 * halo, columns * cells + 2 * halo, channels)`.
        indices: int32 `(batch, kept)`, region numbers.
        cells: edge of a region in feature cells.
        halo: cells that the kernel reaches from its middle; its edge is `2 * halo + 1`.

    Returns:
        `(batch * kept, cells, cells, edge * edge * channels)`, in the order of a kernel
        `(edge, edge, channels, filters)`.
    """
    batch = ops.shape(padded)[0]
    height, width, channels = padded.shape[1:]
    kept = indices.shape[1]
    columns = (width - 2 * halo) // cells

    origin = (indices // columns) * (cells * width) + (indices % columns) * cells
    origin = origin + ops.expand_dims(ops.arange(batch, dtype="int32"), 1) * (height * width)
    edge = 2 * halo + 1
    positions = (
        ops.reshape(origin, (-1, 1, 1)) + ops.expand_dims(_square(cells, width), 1) + _square(edge, width)
    )
    patches = ops.take(ops.reshape(padded, (-1, channels)), positions, axis=0)
    return ops.reshape(patches, (batch * kept, cells, cells, edge * edge * channels))


def _square(edge, width):
    """Positions of the cells of a square in a map of that width, row by row, counted from its first cell."""
    steps = ops.arange(edge, dtype="int32")
    return ops.reshape(ops.expand_dims(steps * width, 1) + steps, (-1,))


def scatter_regions(tiles, indices, rows, columns):
    """Write regions back to their places in a map that is zero elsewhere.

    Args:
        tiles: `(batch * kept, cells, cells, channels)`.
        indices: int32 `(batch, kept)`, distinct region numbers.
        rows: number of region rows of the map.
        columns: number of region columns of the map.

    Returns:
        `(batch, rows * cells, columns * cells, channels)`.
    """
    batch = ops.shape(indices)[0]
    _, cells, _, channels = tiles.shape
    count = rows * columns
    target = indices + ops.expand_dims(ops.arange(batch, dtype="int32"), 1) * count
    # Not ops.scatter: torch's goes through the regions one by one.
    regions = ops.scatter_update(
        ops.zeros((batch * count, cells * cells * channels), dtype=tiles.dtype),
        ops.reshape(target, (-1, 1)),
        ops.reshape(tiles, (-1, cells * cells * channels)),
    )
    regions = ops.reshape(regions, (-1, columns, cells, cells, channels))
    regions = ops.transpose(regions, (0, 2, 1, 3, 4))
    return ops.reshape(regions, (batch, rows * cells, columns * cells, channels))


def paint_regions(values, cells):
    """Spread values `(batch, rows, columns, …)` of regions to `(batch, rows * cells, columns * cells, …)`."""
    return ops.repeat(ops.repeat(values, cells, axis=1), cells, axis=2)
