"""Checks the options of segmentation_models.pytorch's networks that `save_pretrained` writes beside the weights.

Options that are not in the file have the defaults of `PSPNet` in its version 0.6.
"""

from __future__ import annotations

from model.architecture import Architecture
from model.choices import OUTPUT_STRIDES
from tools.convert.config_beside import config_beside
from tools.convert.section import Section

_CONFIG = "config.json"
_MODEL = "_model_class"
_UPSAMPLING, _LARGEST_STRIDE = 8, 32


def check_smp_config(source: str, architecture: Architecture) -> None:
    """Rejects options that the tensors do not show and that make another network; files of others are ignored.

    Args:
        source: file of the weights.
        architecture: of the network, by the tensors.

    Raises:
        ConversionError: `config.json` is no JSON object; or logits are not upsampled to the size of the images, strides
            are replaced by dilation, or the decoder has other layers than batch normalization.
    """
    config = config_beside(source, _CONFIG)
    if config is None or _MODEL not in config:
        return
    section, stride = Section(config, "", source, _CONFIG), architecture.output_stride
    section.value(_MODEL, None, ("PSPNet",))
    section.value("upsampling", _UPSAMPLING, (stride,))
    section.value("output_stride", _LARGEST_STRIDE, tuple(s for s in OUTPUT_STRIDES if s >= stride))
    for name in ("decoder_use_norm", "psp_use_batchnorm"):  # the second is of earlier versions
        section.value(name, True, (True, "batchnorm"))
