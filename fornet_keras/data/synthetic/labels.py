"""The Cityscapes label ids that the generator draws."""

from enum import IntEnum


class Label(IntEnum):
    """Cityscapes label ids (the values of `*_labelIds.png`, not train ids)."""

    EGO_VEHICLE = 1
    STATIC = 4
    ROAD = 7
    SIDEWALK = 8
    BUILDING = 11
    FENCE = 13
    POLE = 17
    TRAFFIC_LIGHT = 19
    TRAFFIC_SIGN = 20
    VEGETATION = 21
    SKY = 23
    PERSON = 24
    RIDER = 25
    CAR = 26
    BUS = 28
    BICYCLE = 33


COUNTED = frozenset({Label.PERSON, Label.RIDER, Label.CAR, Label.BUS, Label.BICYCLE})
"""Labels whose objects are told apart in `*_instanceIds.png`."""
