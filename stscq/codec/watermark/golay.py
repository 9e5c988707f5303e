"""The message of the mark, 24 bits, as two words of the extended Golay code (24, 12): 48 code bits.

Any two words of the code differ in at least 8 of their 24 bits. There are 4,096, so the most likely one is found by
trying all of them on soft bits, which no bounded-distance decoder can beat.
"""

from typing import NamedTuple

import numpy as np

GENERATOR = 0b110001110101
"""x^11 + x^10 + x^6 + x^5 + x^4 + x^2 + 1, of the Golay code (23, 12)."""
DATA, WORD = 12, 24
"""Bits of a word before and after coding."""
BITS = 2 * WORD
"""Code bits of a message."""
MESSAGE = 2 * DATA
MODEL_BITS = 20
MODEL_DIGITS = MODEL_BITS // 4
"""Hexadecimal digits of a fingerprint in a mark."""


class Message(NamedTuple):
    """version: of the mark's own format, below 16; model: the first MODEL_BITS bits of the bundle's fingerprint."""

    version: int
    model: int

    @property
    def digits(self) -> str:
        """How the fingerprint of the model begins, in hexadecimal."""
        return f"{self.model:0{MODEL_DIGITS}x}"


def message_of(fingerprint: bytes, version: int) -> Message:
    """What the pictures of the model with this fingerprint (32 bytes) say."""
    return Message(version, int.from_bytes(fingerprint[:4], "big") >> (32 - MODEL_BITS))


def code_words() -> np.ndarray:
    """All 4,096 words, in order of their data, as +1 (bit 0) and -1 (bit 1): 4,096 x 24."""
    data = np.arange(1 << DATA)
    rest = data << (WORD - 1 - DATA)
    for bit in range(WORD - 2, WORD - 2 - DATA, -1):  # division by the generator: the remainder makes it divisible
        rest = np.where(rest >> bit & 1, rest ^ GENERATOR << (bit - (WORD - 1 - DATA)), rest)
    cyclic = data << (WORD - 1 - DATA) | rest
    bits = cyclic[:, None] >> np.arange(WORD - 2, -1, -1) & 1
    bits = np.hstack([bits, bits.sum(1, keepdims=True) % 2])  # the parity makes a distance of 7 one of 8
    return (1 - 2 * bits).astype(np.float64)


WORDS = code_words()


def encode(message: Message) -> np.ndarray:
    """The 48 code bits of a message, +1 for 0 and -1 for 1."""
    number = message.version << MODEL_BITS | message.model
    return np.concatenate([WORDS[number >> DATA], WORDS[number & (1 << DATA) - 1]])


def decode(soft: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each row of soft bits (N x 48, positive for +1) the message that agrees best, as a number, and the agreement.

    The agreement is the sum of soft bits, each with the sign that the message gives it: the most of 2^24.
    """
    scores = [soft[:, half] @ WORDS.T for half in (slice(0, WORD), slice(WORD, BITS))]
    first, second = (score.argmax(1) for score in scores)
    return first << DATA | second, scores[0].max(1) + scores[1].max(1)


def as_message(number: int) -> Message:
    """The inverse of the number in `decode`."""
    return Message(number >> MODEL_BITS, number & (1 << MODEL_BITS) - 1)
