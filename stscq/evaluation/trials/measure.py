"""What is measured of one trial. Axes: N images, M groups, T tokens, K symbols a token, d channels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stscq.backbones import Tokenizer
from stscq.data.tensors import to_uint8
from stscq.device import full_precision
from stscq.evaluation.judging import ImageSet, Judgement, judge_codec
from stscq.evaluation.redundancy import entropy_bits
from stscq.evaluation.trials.quantiser import Bytes, Quantiser, bytes_of, symbols_of
from stscq.evaluation.trials.setting import Setting
from stscq.evaluation.utilisation import utilisation
from stscq.quantization.search import Assignment, on_surface

KIB = 1024
BATCH = 32


def measure(quantiser: Quantiser, setting: Setting, faces: ImageSet, z_e: Tensor) -> tuple[dict[str, Any], Judgement]:
    """Numbers of a fitted quantiser on the images of a set (z_e: their latents), and the judge's verdict on what comes
    out of the bytes it writes."""
    written = bytes_of(quantiser, symbols_of(quantiser, setting.faces), setting.identity)
    symbols = symbols_of(quantiser, z_e)

    def decode(payloads: Sequence[bytes]) -> np.ndarray:
        return pictures_of(setting.tokenizer, quantiser, written.read(payloads))

    judged = judge_codec(faces, decode, written.write(symbols))
    numbers = {
        **rate(written, symbols),
        "storage_kib": 4 * quantiser.numbers / KIB,
        **diversity(symbols, quantiser.M, quantiser.K),
        **errors(on_surface(z_e, setting.tokenizer.metric), quantiser.vectors(symbols)),
        "groups_used": len(symbols.group.unique()),
        **{name: value for name, value in judged.measured.items() if isinstance(value, float)},
    }
    return numbers, judged


def rate(written: Bytes, symbols: Assignment) -> dict[str, Any]:
    """bits of the fixed-length payload; coded_bytes: mean of the shorter of it and the range-coded one."""
    return {"bits": written.bits, "coded_bytes": float(written.coded(symbols).mean())}


@torch.no_grad()
def pictures_of(tokenizer: Tokenizer, quantiser: Quantiser, symbols: Assignment) -> np.ndarray:
    """N x S x S x 3 uint8."""
    z_q = quantiser.vectors(symbols)
    with full_precision():
        return np.concatenate([to_uint8(tokenizer.decode(part)) for part in z_q.split(BATCH)])


def diversity(symbols: Assignment, M: int, K: int) -> dict[str, float]:
    """How many different symbols a token takes over the images; (group, entry) is one, as another group has others.

    effective_symbols: 2^H of their shares, mean over tokens; symbol_bits: the mean of H; used: share of the M K that
    some image takes, mean over tokens.
    """
    place = (symbols.group[:, None] * K + symbols.index).numpy()
    entropies = np.array([entropy_bits(np.bincount(token) / len(token)) for token in place.T])
    return {
        "effective_symbols": float((2**entropies).mean()),
        "symbol_bits": float(entropies.mean()),
        "used": float(utilisation(symbols, M, K).per_token.mean()),
    }


def errors(z: Tensor, z_q: Tensor) -> dict[str, float]:
    """Shares of the variance of latents over images, a token at a time. z: as the decoder takes them; both N x T x d.

    error: of the squared error; spread: of the variance that the quantised ones have.
    """
    variance = z.var(0, unbiased=False).sum()
    return {
        "error": float((z - z_q).square().mean(0).sum() / variance),
        "spread": float(z_q.var(0, unbiased=False).sum() / variance),
    }
