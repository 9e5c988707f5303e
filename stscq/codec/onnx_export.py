"""A bundle as three ONNX graphs, for senders and receivers that run no torch: encoder, quantiser, decoder.

What they exchange are symbols (group and indices); stscq.codec.bitstream packs them into bytes. Axes: N images,
S x S pixels, T tokens, M groups, K entries, d channels.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stscq.backbones import Tokenizer
from stscq.codec.api import Codec
from stscq.codec.bundle.description import Selection
from stscq.errors import StscqError
from stscq.files import atomically, write_atomically
from stscq.quantization.search import normalise

OUTPUTS = {"encoder": ["z_e"], "quantiser": ["group", "index"], "decoder": ["image"]}
"""What each graph gives."""


class EncoderGraph(nn.Module):
    """image (N x 3 x S x S in [0, 1]) -> z_e (N x T x d)."""

    def __init__(self, tokenizer: Tokenizer):
        super().__init__()
        self.tokenizer = tokenizer

    def forward(self, image: Tensor) -> Tensor:
        return self.tokenizer.to_latents(image)


class QuantiserGraph(nn.Module):
    """z_e (N x T x d) -> group (N) and index (N x T), in float32: near ties may fall otherwise than in the codec, whose
    search decides them in float64.

    codebooks: M x T x K x d (or M x 1 x K x d, shared); entries: how many of the K each token has, None for all;
    router: gives the groups, else NN does.
    """

    codebooks: Tensor
    lowered: Tensor

    def __init__(self, codebooks: Tensor, metric: str, entries: list[int] | None, router: nn.Module | None):
        super().__init__()
        self.metric, self.router = metric, router
        codebooks = normalise(codebooks.float(), metric)  # type: ignore[arg-type]
        lowered = codebooks.square().sum(-1) / 2 if metric == "euclidean" else torch.zeros(codebooks.shape[:3])
        if entries is not None:
            absent = torch.arange(codebooks.shape[2]) >= torch.tensor(entries)[:, None]  # T x K
            lowered = lowered.masked_fill(absent, 1e30)
        self.register_buffer("codebooks", codebooks)
        self.register_buffer("lowered", lowered[:, :, None])  # M x T x 1 x K

    def forward(self, z_e: Tensor) -> tuple[Tensor, Tensor]:
        z = F.normalize(z_e, dim=-1) if self.metric == "cosine" else z_e
        z = z.transpose(0, 1)  # T x N x d
        top, index = (z @ self.codebooks.transpose(-1, -2) - self.lowered).max(-1)  # M x T x N
        if self.router is not None:
            group = self.router(z_e).argmax(1)
        elif self.metric == "inner":  # among groups the largest product would only tell the longest entries
            group = self.squared_errors(z, index).argmin(0)
        else:
            group = top.sum(1).argmax(0)
        T, N = index.shape[1:]
        return group, index.gather(0, group.view(1, 1, N).expand(1, T, N))[0].T

    def squared_errors(self, z: Tensor, index: Tensor) -> Tensor:
        """M x N: of the entries (M x T x N) that products chose. z: T x N x d."""
        M, T, N = index.shape
        codebooks = self.codebooks.expand(M, T, *self.codebooks.shape[2:])
        chosen = codebooks.gather(2, index[..., None].expand(M, T, N, z.shape[-1]))
        return (z - chosen).square().sum((1, 3))


class DecoderGraph(nn.Module):
    """group (N) and index (N x T) -> image (N x 3 x S x S in [0, 1])."""

    codebooks: Tensor

    def __init__(self, tokenizer: Tokenizer, codebooks: Tensor):
        super().__init__()
        self.tokenizer = tokenizer
        self.register_buffer("codebooks", normalise(codebooks.float(), tokenizer.metric))

    def forward(self, group: Tensor, index: Tensor) -> Tensor:
        _, S, K, d = self.codebooks.shape
        token = torch.arange(index.shape[1], device=index.device) % S
        flat = (group[:, None] * S + token) * K + index
        return self.tokenizer.to_images(self.codebooks.view(-1, d)[flat]).clamp(0, 1)


def graphs_of(codec: Codec, selection: Selection | None = None) -> dict[str, tuple[nn.Module, dict[str, Tensor]]]:
    """Each graph by name, with its inputs for two images."""
    sizes = codec.bundle.sizes
    quantiser = codec.quantiser(selection)  # raises StscqError for router without one
    router = codec.router if quantiser.router is not None else None
    pixels = torch.rand(2, 3, sizes.image_size, sizes.image_size, generator=torch.Generator().manual_seed(0))
    encoder, decoder = codec.encoder, codec.decoder
    parts: dict[str, nn.Module] = {
        "encoder": EncoderGraph(encoder),
        "quantiser": QuantiserGraph(codec.all_codebooks, encoder.metric, sizes.entries, router),
        "decoder": DecoderGraph(decoder, codec.all_codebooks),
    }
    with torch.no_grad():
        z_e = parts["encoder"](pixels)
        group, index = parts["quantiser"](z_e)
    inputs = ({"image": pixels}, {"z_e": z_e}, {"group": group, "index": index})
    return {name: (parts[name], example) for name, example in zip(OUTPUTS, inputs, strict=True)}


MOST_BYTES = 2_000_000_000
"""Of one file in protobuf's form: 2 GiB with the graph."""


def export_onnx(codec: Codec, out: Path, selection: Selection | None = None) -> dict[str, int]:
    """Writes OUT/encoder.onnx, quantiser.onnx, decoder.onnx and graphs.json; returns their sizes in bytes.

    N is free in every graph. Raises StscqError for router without a router, and for codebooks that no graph can hold;
    ModuleNotFoundError without the packages of the extra `workflow`.
    """
    import onnx

    held = codec.all_codebooks.numel() * codec.all_codebooks.element_size()
    if held > MOST_BYTES:
        raise StscqError(f"{codec.bundle.folder}: codebooks of {held:,} bytes; a graph holds at most {MOST_BYTES:,}")
    out.mkdir(parents=True, exist_ok=True)
    written = {}
    for name, (graph, example) in graphs_of(codec, selection).items():
        model = exported(graph.eval(), example, OUTPUTS[name])
        with atomically(out / f"{name}.onnx") as partial:
            onnx.save(model, partial)
        written[name] = (out / f"{name}.onnx").stat().st_size
    sizes = codec.bundle.sizes
    about: dict[str, Any] = {
        "model": codec.bundle.fingerprint.hex(),
        "selection": "router" if codec.quantiser(selection).router is not None else "nn",
        "image_size": sizes.image_size, "T": sizes.T, "M": sizes.M, "K": sizes.token_entries,
    }  # fmt: skip
    write_atomically(out / "graphs.json", json.dumps(about, indent=2) + "\n")
    return written


def exported(graph: nn.Module, example: dict[str, Tensor], outputs: list[str]) -> Any:
    """An onnx.ModelProto without torch's notes on where in the source each node comes from."""
    from stscq.recognition.export import without_traces

    images = torch.export.Dim("N", min=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter, about its own parts
        program = torch.onnx.export(
            graph, tuple(example.values()), input_names=list(example), output_names=outputs,
            dynamic_shapes={name: {0: images} for name in example}, dynamo=True, verbose=False,
        )  # fmt: skip
    assert program is not None
    return without_traces(program.model_proto)


def session(graph: Path) -> Any:
    """A graph in onnxruntime, on the CPU with one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
