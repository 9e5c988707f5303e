"""The trained recogniser as an ONNX file, which insightface and onnxruntime load."""

from pathlib import Path

import onnx
import torch

from stscq.recognition.iresnet import INPUT_SIZE, IResNet


def export_onnx(network: IResNet, path: Path) -> None:
    """Input N x 3 x 112 x 112 RGB in [-1, 1], as insightface expects of an ArcFace model."""
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
    onnx.save(without_traces(program.model_proto), path)


def without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """In place: torch's exporter notes for every node where in the source it came from, with the paths of a machine."""
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
    for part in (*model.graph.initializer, model.graph, model):
        del part.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
    return model
