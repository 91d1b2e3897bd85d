"""Checks the options of segmentation_models.pytorch's networks that `save_pretrained` writes beside the weights.

Options that are not in the file have the defaults of `PSPNet` in its version 0.6.
"""

from __future__ import annotations

import logging

from model.architecture import Architecture
from model.choices import OUTPUT_STRIDES
from tools.convert.config_beside import config_beside
from tools.convert.section import Section

logger = logging.getLogger(__name__)

_CONFIG = "config.json"
_MODEL = "_model_class"
_UPSAMPLING, _LARGEST_STRIDE = 8, 32


def check_smp_config(source: str, architecture: Architecture) -> None:
    """Rejects options that the tensors do not show and that make another network; files of others are ignored.

    Without a configuration, a warning says which options the conversion supposes.

    Args:
        source: file of the weights.
        architecture: of the network, by the tensors.

    Raises:
        ConversionError: `config.json` is no JSON object; or logits are not upsampled to the size of the images, strides
            are replaced by dilation, or the decoder has other layers than batch normalization.
    """
    config = config_beside(source, _CONFIG)
    stride = architecture.output_stride
    if config is None or _MODEL not in config:
        logger.warning(
            "%s: no %s of save_pretrained is beside it, so the network is supposed to have upsampling=%d, no "
            "output_stride and the usual batch normalization in its decoder, which its tensors do not show: compare a "
            "prediction",
            source,
            _CONFIG,
            stride,
        )
        return
    section = Section(config, "", source, _CONFIG)
    section.value(_MODEL, None, ("PSPNet",))
    section.value("upsampling", _UPSAMPLING, (stride,))
    section.value("output_stride", _LARGEST_STRIDE, tuple(s for s in OUTPUT_STRIDES if s >= stride))
    for name in ("decoder_use_norm", "psp_use_batchnorm"):  # the second is of earlier versions
        section.value(name, True, (True, "batchnorm"))
