"""A seeded generator of street scenes, written in Cityscapes' own layout."""

from fornet_keras.data.synthetic.city import MIN_SIDE, write_city
from fornet_keras.data.synthetic.scene import render_scene

__all__ = ["MIN_SIDE", "render_scene", "write_city"]
