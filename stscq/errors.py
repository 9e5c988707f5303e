"""Errors that a user can act on; command-line entry points print them as one line and end with code 1."""


class StscqError(Exception):
    """The message names the file or key at fault and says what to do."""


class DataError(StscqError):
    """Something is wrong with faces brought from outside, or with a store made of them."""


class ParamsError(StscqError):
    """params.yaml, or a profile laid over it, cannot be run."""


class CheckpointError(StscqError):
    """A checkpoint is damaged, or does not belong to this run."""


class PeerError(StscqError):
    """A classic codec is missing, or cannot encode a picture of this size."""


class BundleError(StscqError):
    """A model bundle is missing or damaged."""


class BitstreamError(StscqError):
    """A compressed file is damaged, cut off, or none of ours."""


class WrongModelError(BitstreamError):
    """A compressed file was written with another model bundle than the one given."""
