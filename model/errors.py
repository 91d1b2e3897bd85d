"""What can be wrong with a requested network. Scripts print a ModelError in one line; anything else is a bug."""

from __future__ import annotations


class ModelError(ValueError):
    """Base of this package's errors: a network or a training graph that cannot be built as requested."""


class BatchSizeError(ModelError):
    """The synchronized batch is too small to normalize."""


class ChannelsError(ModelError):
    """The images have another number of channels than the network."""


class ConventionError(ModelError):
    """The encoder is not defined with this placement of strides and dilation."""


class EncoderEndError(ModelError):
    """The encoder ends before a block that another option of the network needs."""


class LayerNameError(ModelError):
    """A scope that should be initialized anew does not exist in the network."""


class MissingStartingPointError(ModelError):
    """A backbone weight has no pre-trained value to be pulled towards."""


class SharedBatchError(ModelError):
    """A loss needs the whole batch in one place, and several hosts have a part each."""


class PruningError(ModelError):
    """The filters of a network cannot be removed as requested."""
