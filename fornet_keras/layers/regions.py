"""Regions of a feature map as pure functions: gather them with a halo, scatter them back, paint a mask.

A map of `rows × columns` regions, each `cells × cells` feature cells, is numbered row by row. All counts are
Python ints, so that every shape is static and compiles.
"""

from keras import ops


def pad_halo(features, halo):
    """Surround `features (batch, height, width, channels)` with `halo` cells of zeros on each side."""
    return ops.pad(features, [[0, 0], [halo, halo], [halo, halo], [0, 0]])


def gather_regions(padded, indices, cells, halo):
    """Take regions, each with its halo, from a map that `pad_halo` has padded.

    Args:
        padded: `(batch, rows * cells + 2 * halo, columns * cells + 2 * halo, channels)`.
        indices: int32 `(batch, kept)`, region numbers.
        cells: edge of a region in feature cells.
        halo: width of the border taken around each region, in feature cells.

    Returns:
        `(batch * kept, cells + 2 * halo, cells + 2 * halo, channels)`.
    """
    batch = ops.shape(padded)[0]
    height, width, channels = padded.shape[1:]
    kept = indices.shape[1]
    columns = (width - 2 * halo) // cells
    edge = cells + 2 * halo

    origin = (indices // columns) * (cells * width) + (indices % columns) * cells
    origin = origin + ops.expand_dims(ops.arange(batch, dtype="int32"), 1) * (height * width)
    within = ops.expand_dims(ops.arange(edge, dtype="int32") * width, 1) + ops.arange(edge, dtype="int32")
    positions = ops.reshape(origin, (-1, 1)) + ops.reshape(within, (1, -1))
    tiles = ops.take(ops.reshape(padded, (-1, channels)), positions, axis=0)
    return ops.reshape(tiles, (batch * kept, edge, edge, channels))


def scatter_regions(tiles, indices, rows, columns):
    """Write regions back to their places in a map that is zero elsewhere; the inverse of `gather_regions`.

    Args:
        tiles: `(batch * kept, cells, cells, channels)`, without halo.
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
    regions = ops.scatter(
        ops.reshape(target, (-1, 1)),
        ops.reshape(tiles, (-1, cells * cells * channels)),
        (batch * count, cells * cells * channels),
    )
    regions = ops.reshape(regions, (-1, columns, cells, cells, channels))
    regions = ops.transpose(regions, (0, 2, 1, 3, 4))
    return ops.reshape(regions, (batch, rows * cells, columns * cells, channels))


def paint_regions(values, cells):
    """Spread one value a region, `(batch, rows, columns)`, to `(batch, rows * cells, columns * cells)`."""
    return ops.repeat(ops.repeat(values, cells, axis=1), cells, axis=2)
