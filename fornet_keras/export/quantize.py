"""Int8 after training, with the tools of the runtimes: eight bits for weights and activations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = Sequence[NDArray[np.uint8]]

UNTOUCHED = "label_ids"
"""In the names of what compares the logits of different classes, which eight bits are too few for."""


def quantize_openvino(model: Any, images: Images) -> Any:
    """An OpenVINO model in int8.

    Args:
        model: an `openvino.Model` whose one input takes images uint8 `(batch, height, width, 3)`.
        images: like those that it will see, each `(height, width, 3)`.
    """
    import nncf  # which reports to nobody either, where `import_openvino` gave the model

    nncf.set_log_level("ERROR")
    # Weights of seven bits where products of eight could overflow: on a processor without VNNI, whichever
    # processor writes the file.
    advanced = nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE)
    calibration = nncf.Dataset(list(images), lambda image: image[None])
    with redirect_stdout(StringIO()):  # its progress bars
        return nncf.quantize(
            model,
            calibration,
            subset_size=len(images),
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=nncf.IgnoredScope(patterns=[f".*{UNTOUCHED}.*"], validate=False),
            advanced_parameters=advanced,
        )


def quantize_onnx(path: Path, images: Images) -> None:
    """Bring an ONNX file to int8.

    Args:
        path: the file, whose one input is `image`, uint8 `(batch, height, width, 3)`.
        images: like those that it will see, each `(height, width, 3)`.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches: Iterator[NDArray[np.uint8]] = (image[None] for image in images)

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"image": batch}

    with TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(path, prepared, skip_symbolic_shape=True)
        names = [node.name for node in onnx.load(prepared).graph.node if UNTOUCHED in node.name]
        # reduce_range: weights of seven bits, for processors without VNNI, as above.
        quantize_static(
            prepared,
            path,
            Reader(),
            op_types_to_quantize=["Conv", "MatMul"],
            nodes_to_exclude=names,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )
