"""The trained recogniser as an ONNX file, which insightface and onnxruntime load."""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from stscq.recognition.iresnet import INPUT_SIZE, IResNet


def export_onnx(network: IResNet, path: Path, half: bool = False) -> None:
    """Input N x 3 x 112 x 112 RGB in [-1, 1], as insightface expects of an ArcFace model; HALF: see `halved`."""
    example = torch.zeros(2, 3, INPUT_SIZE, INPUT_SIZE)
    program = torch.onnx.export(
        network,
        (example,),
        input_names=["data"],
        output_names=["embedding"],
        dynamic_shapes={"x": {0: torch.export.Dim("N", min=1)}},
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    model = without_traces(program.model_proto)
    onnx.save(halved(model) if half else model, path)


def without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """In place: torch's exporter notes for every node where in the source it came from, with the paths of a machine."""
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
    for part in (*model.graph.initializer, model.graph, model):
        del part.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
    return model


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """In place: weights as float16, half the file; a cast before their use keeps the arithmetic in float32."""
    casts = []
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.ndim > 1:
            stored = f"{tensor.name}.half"
            casts.append(helper.make_node("Cast", [stored], [tensor.name], to=TensorProto.FLOAT))
            tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float16), stored))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model
