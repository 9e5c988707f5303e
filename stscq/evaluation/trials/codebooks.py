"""The paper's quantisers as trials: codebooks and router by the workflow's own stages 1 and 2.

Axes: B images, M groups, T tokens, K entries, d channels.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stscq.data.splits import sample_rows
from stscq.evaluation.trials.quantiser import Quantiser
from stscq.evaluation.trials.setting import Numbers, Setting, fit_module
from stscq.quantization.codebooks import Codebooks
from stscq.quantization.initialise import grow, token_shared, token_specific
from stscq.quantization.losses import RouterLossWeights
from stscq.quantization.router import Router
from stscq.quantization.search import Assignment, group_errors
from stscq.quantization.trained_codec import TrainedCodec, on_device
from stscq.training.codebook_training import CodebookLossWeights, CodebookTraining
from stscq.training.lazy_adam import large_zeros
from stscq.training.loop import Schedule

SAMPLE = 512
"""Faces whose latents entries start from, as in stage 1."""

Observe = Callable[[int, TrainedCodec], None]
"""Called before each step, counted over both stages, and once after the last."""


class Scheme(NamedTuple):
    """M groups of K entries; shared: by all tokens. losses: which of the router's three are on, by the names of
    params.yaml."""

    M: int
    K: int
    shared: bool
    losses: frozenset[str] = frozenset(RouterLossWeights._fields)


def train_codec(setting: Setting, scheme: Scheme, observe: Observe | None = None) -> TrainedCodec:
    """Stages 1 and 2 (docs/method.md); with --shared stage 2 goes on with stage 1's codebooks."""
    codec = started(setting, scheme)
    fit_stage(setting, setting.stage1, codec, scheme, 0, observe)
    if not scheme.shared:
        weight = token_specific(codec.codebooks.weight.detach(), setting.tokenizer.T)
        codec = codec._replace(codebooks=sparse_codebooks(weight, setting))
    fit_stage(setting, setting.stage2, codec, scheme, setting.stage1["steps"], observe)
    if observe:
        observe(setting.steps, codec)
    return codec


def started(setting: Setting, scheme: Scheme) -> TrainedCodec:
    """Stage 1's start. Where K is more than the tokenizer's codebook has, that grows first."""
    M, K, tokenizer = scheme.M, scheme.K, setting.tokenizer
    torch.manual_seed(setting.seed)
    sample = setting.faces[sample_rows(np.arange(len(setting.faces)), setting.seed, most=SAMPLE)]
    published = grow(setting.codebook, sample, K, tokenizer.metric, setting.seed)
    weight = token_shared(published, sample, K, M, tokenizer.metric, setting.stage1["jitter"], setting.seed)
    router = Router(M, tokenizer.T, tokenizer.d, setting.stage1["rank"]) if M > 1 else None
    return on_device(TrainedCodec(tokenizer, sparse_codebooks(weight, setting), router), setting.faces.device)


def sparse_codebooks(weight: Tensor, setting: Setting) -> Codebooks:
    return Codebooks(large_zeros(weight.shape, weight.device).copy_(weight), setting.tokenizer.metric, sparse=True)


def fit_stage(
    setting: Setting, stage: Numbers, codec: TrainedCodec, scheme: Scheme, before: int, observe: Observe | None
) -> None:
    """One stage of CODEC, in place. before: steps of earlier stages."""
    training = CodebookTraining(
        codec, weights_of(stage, scheme), stage["revive_every"], stage["steps"], stage["batch"], setting.seed
    )
    draw = setting.draw(stage)

    def loss_of_step(step: int, part: int) -> dict[str, Tensor]:
        if observe:
            observe(before + step, codec)
        return training.loss_of_step(step, draw(step))

    fit_module(training, loss_of_step, Schedule(stage["steps"], stage["batch"], stage["lr"], stage["weight_decay"]))
    training.finished()


def weights_of(stage: Numbers, scheme: Scheme) -> CodebookLossWeights:
    """Those of params.yaml; 0 for the router's losses that are off."""
    on = {name: stage[name] if name in scheme.losses else 0.0 for name in RouterLossWeights._fields}
    end = stage.get("confidence_end") if "confidence" in scheme.losses else None
    return CodebookLossWeights(stage["codebook"], stage["entropy"], RouterLossWeights(**on), end)


def quantiser_of(codec: TrainedCodec) -> Quantiser:
    """Groups by NN, as the paper has it at inference: all codebooks are held, and no router."""
    books = codec.codebooks

    def vectors(symbols: Assignment) -> Tensor:
        with torch.no_grad():
            return books.lookup(symbols)

    return Quantiser(books.M, books.K, books.weight.numel(), books.search, vectors)


class Selections(NamedTuple):
    """Groups by the router and by NN for the same images (N), their errors (N), and the router's g (N x M)."""

    by_router: Tensor
    by_nn: Tensor
    error_router: Tensor
    error_nn: Tensor
    g: Tensor


@torch.no_grad()
def selections(codec: TrainedCodec, z_e: Tensor) -> Selections:
    """Of a codec with a router. Errors are mean distances a token, as `group_errors` has them."""
    assert codec.router is not None
    g = codec.router(z_e).softmax(1)
    errors = group_errors(z_e, codec.codebooks.prepared(), codec.tokenizer.metric)
    routed, nearest = g.argmax(1), errors.argmin(1)
    return Selections(
        routed, nearest, errors.gather(1, routed[:, None])[:, 0], errors.gather(1, nearest[:, None])[:, 0], g
    )
