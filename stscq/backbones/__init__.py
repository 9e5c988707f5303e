"""Image tokenizers at any size; `build` makes one from the `model` entry of a backbone in params.yaml."""

from stscq.backbones.base import Metric, Tokenizer
from stscq.backbones.ibq import IBQ
from stscq.backbones.maskgit_vqgan import MaskGITVQGAN
from stscq.backbones.titok import TiTok

FAMILIES: dict[str, type[Tokenizer]] = {"titok": TiTok, "maskgit_vqgan": MaskGITVQGAN, "ibq": IBQ}


def build(family: str, **sizes: object) -> Tokenizer:
    """An untrained tokenizer; `sizes` are the arguments of its class.

    Raises ValueError when the family is unknown.
    """
    if family not in FAMILIES:
        raise ValueError(f"unknown backbone family {family!r}; there are {', '.join(FAMILIES)}")
    return FAMILIES[family](**sizes)  # type: ignore[arg-type]


__all__ = ["FAMILIES", "IBQ", "MaskGITVQGAN", "Metric", "TiTok", "Tokenizer", "build"]
