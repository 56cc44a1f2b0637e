"""Regions of a feature map as pure functions: gather what they see, scatter them back, paint a mask.

A map of `rows × columns` regions, each `cells × cells` feature cells, is numbered row by row. All counts are
Python ints, so that every shape is static and compiles.
"""

from keras import ops


def known_size(features):
    """Height and width, as Python ints, of `(batch, height, width)` or `(batch, height, width, channels)`.

    Raises:
        ValueError: in a graph where one is unknown.
    """
    size = tuple(features.shape[1:3])
    if not all(isinstance(n, int) for n in size):
        raise ValueError(
            f"height and width must be known where the network runs; received {size}; in tf.data name "
            "them by tf.ensure_shape(image, (H, W, 3)); in TensorFlow `predict`, `evaluate` and `fit` "
            "lose them at a second image size: call `model(images)`; to export, `fornet export --size`"
        )
    return size


def require_regions(size, regions, cells):
    """Refuse a map that does not consist of whole regions; an axis that a graph does not know may be of any.

    Args:
        size: height and width of the map in cells.
        regions: rows and columns of its regions.
        cells: edge of a region in cells.

    Raises:
        ValueError: it is larger or smaller.
    """
    if any(isinstance(n, int) and n != count * cells for n, count in zip(size, regions, strict=True)):
        (height, width), (rows, columns) = size, regions
        raise ValueError(
            f"height and width must be those of whole regions: received {height}x{width} cells for "
            f"{rows}x{columns} regions of {cells}x{cells} cells; pad the images to whole regions, for "
            "example by keras.layers.ZeroPadding2D"
        )


def pad_halo(features, halo):
    """Surround `features (batch, height, width, channels)` with `halo` cells of zeros on each side."""
    return ops.pad(features, [[0, 0], [halo, halo], [halo, halo], [0, 0]])


def gather_tiles(padded, indices, cells, halo):
    """Take some regions, each with its halo, from a map that `pad_halo` has padded.

    Args:
        padded: `(batch, rows * cells + 2 * halo, columns * cells + 2 * halo, channels)`.
        indices: int32 `(batch, kept)`, region numbers.
        cells: edge of a region in feature cells.
        halo: cells around a region.

    Returns:
        `(cells + 2 * halo, cells + 2 * halo, batch * kept, channels)`: cells first, so that what is done
        alike in all regions is done on one block of memory.
    """
    edge = cells + 2 * halo
    positions = _square(edge, padded.shape[2])[:, None] + _origins(padded, indices, cells, halo)
    return ops.reshape(_take(padded, positions), (edge, edge, -1, padded.shape[-1]))


def gather_patches(padded, indices, cells, halo):
    """Take what a convolution sees of each cell of some regions; a matrix product with the kernel is then it.

    Args: as of `gather_tiles`; the edge of the kernel is `2 * halo + 1`.

    Returns:
        `(cells, cells, batch * kept, edge * edge * channels)`, in the order of a kernel
        `(edge, edge, channels, filters)`.
    """
    edge, width, channels = 2 * halo + 1, padded.shape[2], padded.shape[-1]
    origins = ops.expand_dims(_origins(padded, indices, cells, halo), -1)
    positions = _square(cells, width)[:, None, None] + origins + _square(edge, width)
    return ops.reshape(_take(padded, positions), (cells, cells, -1, edge * edge * channels))


def _take(padded, positions):
    return ops.take(ops.reshape(padded, (-1, padded.shape[-1])), positions, axis=0)


def _origins(padded, indices, cells, halo):
    """Positions `(batch * kept,)` of the regions' first cells, in the padded maps one after another."""
    height, width = padded.shape[1:3]
    columns = (width - 2 * halo) // cells
    origins = (indices // columns) * (cells * width) + (indices % columns) * cells
    maps = ops.arange(ops.shape(padded)[0], dtype="int32") * (height * width)
    return ops.reshape(origins + ops.expand_dims(maps, 1), (-1,))


def _square(edge, width):
    """Positions of the cells of a square in a map of that width, row by row, counted from its first cell."""
    steps = ops.arange(edge, dtype="int32")
    return ops.reshape(ops.expand_dims(steps * width, 1) + steps, (-1,))


def scatter_regions(tiles, indices, rows, columns):
    """Write regions back to their places in a map that is zero elsewhere.

    Args:
        tiles: `(cells, cells, batch * kept, channels)`.
        indices: int32 `(batch, kept)`, distinct region numbers.
        rows: number of region rows of the map.
        columns: number of region columns of the map.

    Returns:
        `(batch, rows * cells, columns * cells, channels)`.
    """
    batch = ops.shape(indices)[0]
    cells, _, _, channels = tiles.shape
    count = rows * columns
    target = indices + ops.expand_dims(ops.arange(batch, dtype="int32"), 1) * count
    # Not ops.scatter: torch's goes through the regions one by one.
    regions = ops.scatter_update(
        ops.zeros((batch * count, cells * cells * channels), dtype=tiles.dtype),
        ops.reshape(target, (-1, 1)),
        ops.reshape(ops.transpose(tiles, (2, 0, 1, 3)), (-1, cells * cells * channels)),
    )
    regions = ops.reshape(regions, (-1, columns, cells, cells, channels))
    regions = ops.transpose(regions, (0, 2, 1, 3, 4))
    return ops.reshape(regions, (batch, rows * cells, columns * cells, channels))


def paint_regions(values, cells, axis=1):
    """Spread values over `cells` cells in both directions, of which the rows lie along `axis`."""
    return ops.repeat(ops.repeat(values, cells, axis=axis), cells, axis=axis + 1)


def add_painted(values, painted, cells, axis):
    """`values + paint_regions(painted, cells, axis)`, without laying what is painted out in memory."""
    rows, columns = painted.shape[axis : axis + 2]
    before, after = (-1,) * axis, (-1,) * (1 - axis) + (values.shape[-1],)
    painted = ops.expand_dims(painted, (axis + 1, axis + 3))
    values = ops.reshape(values, (*before, rows, cells, columns, cells, *after)) + painted
    return ops.reshape(values, (*before, rows * cells, columns * cells, *after))
