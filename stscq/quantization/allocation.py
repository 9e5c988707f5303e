"""How many entries each token gets where codebooks are of unequal size: bits where the identity is.

The paper gives every token as many entries as every other, and names other sizes as future work (section 5); this is
ours (docs/beyond.md). Axes: M groups, T tokens, K entries.
"""

from collections.abc import Mapping, Sequence

from stscq.bits import bits_of


def total_bits(bits: int | None, T: int, K: int) -> int:
    """What an allocation has to give: the bits it asks for, or as many as T codebooks of K entries take."""
    return T * bits_of(K, "K") if bits is None else bits


def allocate(errors: Mapping[int, Sequence[float]], w: Sequence[float], power: float, bits: int, M: int) -> list[int]:
    """K_j of each token, the same in all groups: powers of two that take so many bits together.

    Bits are given one at a time, each to the token where w_j^power D_j falls most, the first of equals.
    errors: D_j with 1, 2, 4, ... entries, as many as all latents can teach; each of M groups has an M-th of them, so no
    token gets more than an M-th of that. w: of each token. Raises ValueError for more bits than fit.
    """
    T, curves = len(w), [error for size, error in errors.items() if size * M <= max(errors)]
    given = [0] * T
    for _ in range(bits):
        gains = [
            w[j] ** power * max(0.0, curves[n][j] - curves[n + 1][j]) if n + 1 < len(curves) else -1.0
            for j, n in enumerate(given)
        ]
        best = max(range(T), key=gains.__getitem__)
        if gains[best] < 0:
            largest = f"{2 ** max(0, len(curves) - 1)} entries"
            raise ValueError(f"{bits} bits are more than {T} tokens of {largest} take (M = {M})")
        given[best] += 1
    return [2**n for n in given]
