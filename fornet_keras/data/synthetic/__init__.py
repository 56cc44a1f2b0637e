"""A seeded generator of street scenes, written in Cityscapes' own layout."""

from fornet_keras.data.synthetic.city import MIN_SIDE, write_city
from fornet_keras.data.synthetic.scene import Scene, render_scene

__all__ = ["MIN_SIDE", "Scene", "render_scene", "write_city"]
