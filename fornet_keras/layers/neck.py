"""From the backbone's features to what the coarse path and the branch see."""

import keras

from fornet_keras.layers.conv_block import ConvBlock


def drop_channels(x, rate, name):
    """Nothing at a rate of 0: one layer more would change the order of the weights."""
    return named_seed(keras.layers.SpatialDropout2D(rate, name=name))(x) if rate else x


def named_seed(dropout):
    """The layer, its seed named by it as a `TopKGate`'s is: Keras counts those that a process has made."""
    dropout.seed_generator.state._path = f"{dropout.name}/seed_generator_state"
    return dropout


def upsample(x, name, dtype=None):
    """Twice the size, bilinearly."""
    return keras.layers.UpSampling2D(2, interpolation="bilinear", dtype=dtype, name=name)(x)


def fuse_top_down(pyramid, filters, image_pool_dropout):
    """Bring the deeper features, with the mean of the whole image, up to stride 8."""
    deepest = pyramid["stride_32"]
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True, name="image_pool")(deepest)
    pooled = keras.layers.Conv2D(filters, 1, activation="relu", name="image_pool_conv")(pooled)
    if image_pool_dropout:
        drop = keras.layers.Dropout(image_pool_dropout, noise_shape=(None, 1, 1, 1), name="image_pool_drop")
        pooled = named_seed(drop)(pooled)
    x = keras.layers.Add(name="fuse_32")([ConvBlock(filters, 1, name="lateral_32")(deepest), pooled])
    for stride in (16, 8):
        lateral = ConvBlock(filters, 1, name=f"lateral_{stride}")(pyramid[f"stride_{stride}"])
        x = keras.layers.Add(name=f"fuse_{stride}")([lateral, upsample(x, f"up_{stride}")])
    return ConvBlock(filters, name="context")(x)


def join_detail(detail, context, filters):
    """What the branch sees at stride 4: fine features plus the context of the coarse path."""
    detail = ConvBlock(filters, 1, activation=False, name="detail")(detail)
    x = keras.layers.Add(name="detail_add")([detail, upsample(context, "detail_context_up")])
    return keras.layers.ReLU(name="detail_relu")(x)
