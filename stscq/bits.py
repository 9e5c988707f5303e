"""How many bits group and token indices take at a fixed length."""

from stscq.errors import StscqError


def bits_of(size: int, name: str) -> int:
    """log2 of a power of two. Raises StscqError for any other number."""
    if size < 1 or size & (size - 1):
        raise StscqError(f"{name} = {size} is no power of two, so its indices have no fixed number of bits")
    return size.bit_length() - 1


def payload_bits(T: int, K: int, M: int) -> int:
    """T log2 K + log2 M."""
    return T * bits_of(K, "K") + bits_of(M, "M")
