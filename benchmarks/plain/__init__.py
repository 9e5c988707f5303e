"""The tokenizers as the public code bases write them: the measure of whether `stscq.backbones` is fast.

Same arguments, same keys and shapes of weights, same `encode` and `decode`; no quantising. Only the operations that the
public definitions run are here, in their order and layouts, not their options.
"""

from typing import TypeAlias

from benchmarks.plain.ibq import IBQ
from benchmarks.plain.maskgit_vqgan import MaskGITVQGAN
from benchmarks.plain.titok import TiTok

PlainTokenizer: TypeAlias = TiTok | MaskGITVQGAN | IBQ
PLAIN: dict[str, type[PlainTokenizer]] = {"titok": TiTok, "maskgit_vqgan": MaskGITVQGAN, "ibq": IBQ}

__all__ = ["IBQ", "PLAIN", "MaskGITVQGAN", "PlainTokenizer", "TiTok"]
