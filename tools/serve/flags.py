"""Flags of the server."""

from __future__ import annotations

import dataclasses
import ipaddress
from dataclasses import dataclass
from typing import Any, ClassVar

from tools.errors import FlagError
from tools.flags.checks import check_effects
from tools.flags.chosen_weights import log_dir_flag, weights_ckpt_flag
from tools.flags.definition import flag
from tools.flags.help import Program
from tools.flags.limits import LARGEST_BATCH
from tools.flags.predict import InferenceConfig
from tools.flags.running import ScreenFlags
from tools.flags.sizes import Size
from tools.flags.values import comma_separated

_MOST_THREADS = 64
_LARGEST_PORT = 65535
_LOOPBACK_NAMES = ("localhost",)
_NOT_OF_MODEL = ("weights_ckpt", "quiet")

_MOST_PIXELS = 40_000_000
# An ICNet with ResNet-18 needs 0.3 GB for each million pixels, and twice that with the mirrored image.
_MOST_PIXELS_OF_WHOLE_IMAGES = 4_000_000


def _as_in_inference(name: str) -> Any:
    """Returns the field of a flag that is the same as that of inference.py."""
    [field] = [field for field in dataclasses.fields(InferenceConfig) if field.name == name]
    return dataclasses.field(default=field.default, metadata=field.metadata)


@dataclass(frozen=True, kw_only=True)
class ServeConfig(ScreenFlags):
    """Flags of the server."""

    weights_ckpt: str | None = weights_ckpt_flag("checkpoint, or a run, as for inference.py")
    log_dir: str = log_dir_flag()
    host: str = flag(
        "127.0.0.1",
        "address to listen on; the default is reached from this machine only. There is neither encryption nor a "
        "password",
        group="server",
        metavar="ADDRESS",
    )
    port: int = flag(8080, "port to listen on; 0: any free one", group="server", minimum=0, maximum=_LARGEST_PORT)
    allowed_hosts: tuple[str, ...] = flag(
        (),
        "names under which browsers may reach the server, besides localhost and IP addresses",
        comma_separated,
        group="server",
        metavar="NAME,...",
    )
    max_upload: int = flag(20_000_000, "largest upload, in bytes", group="server", metavar="BYTES", minimum=1)
    max_pixels: int | None = flag(
        None,
        "largest image that is decoded, in pixels",
        int,
        group="server",
        metavar="PIXELS",
        unset=f"{_MOST_PIXELS}; {_MOST_PIXELS_OF_WHOLE_IMAGES} if the network sees whole images, whose memory grows "
        "with them",
        minimum=1,
    )
    queue: int = flag(
        16, "images that may wait; further ones are rejected with 503", group="server", metavar="IMAGES", minimum=0
    )
    timeout: float = flag(
        60.0,
        "seconds for receiving an image, and for segmenting it, with the time in the queue",
        group="server",
        metavar="SECONDS",
        above=0,
    )
    parallel: int = flag(
        2, "images that are segmented at a time", group="server", metavar="IMAGES", minimum=1, maximum=_MOST_THREADS
    )
    test_image_size: Size | None = _as_in_inference("test_image_size")
    mirror: bool = flag(True, "average with the prediction for the mirrored image", group="prediction")
    ms: bool = flag(False, "average over six scales, 0.5 to 1.75, instead of predicting at scale 1", group="prediction")
    use_ema: bool = _as_in_inference("use_ema")
    windows_per_batch: int = flag(
        4,
        "windows that the network processes at a time, of one image or several",
        group="prediction",
        minimum=1,
        maximum=LARGEST_BATCH,
    )
    float_type: str = _as_in_inference("float_type")
    device: str = _as_in_inference("device")

    program: ClassVar[Program] = Program(
        "python -m tools.serve",
        "[--weights_ckpt RUN] [--port N]",
        ("--weights_ckpt log/Cityscapes/my_run", "--weights_ckpt best --port 9000 --timeout 300 --ms 1"),
    )

    def __post_init__(self) -> None:
        if not self.host:
            raise FlagError("--host is empty: give an address such as 127.0.0.1")
        check_effects(self)

    @property
    def is_local(self) -> bool:
        """Whether the server is reached from this machine only."""
        if self.host in _LOOPBACK_NAMES:
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def pixel_limit(self, *, has_windows: bool) -> int:
        """Returns the pixels of the largest image, by whether the network sees windows of images or whole ones."""
        if self.max_pixels is not None:
            return self.max_pixels
        return _MOST_PIXELS if has_windows else _MOST_PIXELS_OF_WHOLE_IMAGES

    def model_flags(self) -> dict[str, Any]:
        """Returns the flags of inference.py that say how to predict, where they differ from its defaults."""
        defaults = {field.name: field.default for field in dataclasses.fields(InferenceConfig)}
        own = {name: value for name, value in vars(self).items() if name in defaults and name not in _NOT_OF_MODEL}
        if self.test_image_size == 0 and not self.mirror:  # each image is one window
            del own["windows_per_batch"]
        return {name: value for name, value in own.items() if value not in (None, defaults[name])}
