"""Describes how another project names the tensors of a network, and the properties of that network.

A map gives the project's name of the convolution and the batch normalization of each of our layers; the tables of
these names are in `layer_names`. Placeholders in the names are

    {block}  block 1 to 4       {stage}  block + 1, as the paper numbers them     {position}  block, from 0
    {unit}   unit, from 1       {index}  unit, from 0
    {scope}  our own scope of the layer, with the network's name

Keys of `unit` are our layers of a residual unit. Keys of `layers` are our scopes of the layers of the stem, the
pyramid and the classifiers, and `head` and `auxiliary` for the two 3x3 layers whose scopes depend on the network.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from tools.convert.layer_names import Layer


@dataclass(frozen=True)
class TensorNames:
    """The names of a layer's tensors in a project, after the name of the layer.

    Attributes:
        suffixes: by our name of the tensor; those under `BatchNorm/` follow the name of the normalization.
        kernel_axes: positions of height, width, input and output channels among the axes of a kernel.
        has_unit_axes: whether vectors may have axes of size 1.
    """

    suffixes: Mapping[str, str]
    kernel_axes: tuple[int, int, int, int] = (0, 1, 2, 3)
    has_unit_axes: bool = False


@dataclass(frozen=True)
class WeightMap:
    """A layout of weights, and the properties of its network.

    Attributes:
        project: name of the project, for messages.
        marks: regular expressions; the layout is detected if each of them matches the whole of some name.
        tensors: names and axes of the tensors.
        unit_prefix: prefix of the names in a residual unit.
        unit: layers of a residual unit.
        layers: all other layers.
        stem: key of `choices.STEMS`.
        network: key of `choices.NETWORKS`; None if the residual units show which ResNet it is.
        averaged_shortcut: see `choices.ResNet`.
        left: regular expressions of names that are skipped, with the reason.
        optional_blocks: regular expressions of the names in the blocks that come after the end of some networks of the
            layout, by number of the block. Weights have these blocks even where the network does not run them; the
            input channels of the pyramid show with which block it ends.
        concatenation: order of the pooled features after the features, by bins.
        has_features_last: whether the features come after the pooled features in that concatenation.
        has_sigmoid: whether the network of one class has one logit, of which a sigmoid is the probability.
        decoder, pyramid_order, bounded_head, stride_convention, pool_padding, resize_grid: see
            `architecture.Architecture`.
        image_mean: RGB, 0..255, that is subtracted from pixels; None for the dataset's.
        image_std: RGB, by which pixels are then divided.
        feeds_bgr: whether the input of the network is BGR.
        window: height and width of training crops in pixels, by dataset; `other` for all other datasets.
        output_stride: see `architecture.Architecture`; None for the default of the decoder.
        needs_settings: whether the project's published models differ in `settings.SETTINGS`, so that the values here
            are replaced, see `settings.settled`.
        has_config_beside: whether its configuration is in files beside the weights, as that of transformers.
        has_smp_config: whether there may be a configuration of segmentation_models.pytorch beside the weights.
        has_biases: whether convolutions before batch normalization have biases; they become part of the running means.
        epsilon: of batch normalization, None for ours; the running variances are changed by the difference.
        is_scaled: whether its networks differ in `architecture.Architecture.filter_scale`, which the stem shows.
    """

    project: str
    marks: tuple[str, ...]
    tensors: TensorNames
    unit_prefix: str
    unit: Mapping[str, Layer]
    layers: Mapping[str, Layer]
    stem: str
    left: Mapping[str, str]
    network: str | None = None
    averaged_shortcut: bool = False
    optional_blocks: Mapping[int, str] = field(default_factory=dict)
    concatenation: tuple[int, ...] = (1, 2, 3, 6)
    has_features_last: bool = False
    has_sigmoid: bool = False
    decoder: str = "ppm"
    pyramid_order: str = "reduce_first"
    bounded_head: bool = False
    stride_convention: str = "reference"
    pool_padding: str = "symmetric"
    resize_grid: str = "half_pixel"
    image_mean: tuple[float, float, float] | None = (123.675, 116.28, 103.53)
    image_std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    feeds_bgr: bool = False
    window: Mapping[str, int] = field(default_factory=lambda: {"other": 480})
    output_stride: int | None = None
    needs_settings: bool = False
    has_config_beside: bool = False
    has_smp_config: bool = False
    has_biases: bool = False
    epsilon: float | None = None
    is_scaled: bool = False

    def is_of(self, names: Collection[str]) -> bool:
        """Returns whether each of the marks matches the whole of some name."""
        return all(any(re.fullmatch(mark, name) for name in names) for mark in self.marks)
