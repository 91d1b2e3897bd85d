"""Flags of predict.py and inference.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from model.choices import DECODERS
from tools.errors import FlagError
from tools.flags.checks import (
    UNUSED_IN_INFERENCE,
    UNUSED_IN_PREDICTION,
    Unused,
    check_own_data_flags,
    refuse_unused,
)
from tools.flags.choices import (
    BEST,
    DEVICE_HELP,
    DEVICES,
    FLOAT_TYPES,
    LAST,
    NETWORKS,
    RESIZE_GRIDS,
    STRIDE_CONVENTIONS,
    UPSAMPLINGS,
)
from tools.flags.dataset import DATABASES, ClassFlags, FileFlags
from tools.flags.definition import flag
from tools.flags.values import (
    file_path,
    switch,
    window_size,
)


@dataclass(frozen=True, kw_only=True)
class WeightsConfig(ClassFlags):
    """Flags that predict.py and inference.py share; what is None is read from the record beside the checkpoint."""

    database: str | None = flag(None, "dataset (default: the checkpoint's)", str, choices=DATABASES)  # type: ignore[assignment]
    network: str | None = flag(None, "encoder (default: the checkpoint's)", str, choices=NETWORKS)
    decoder: str | None = flag(None, "head (default: the checkpoint's)", str, choices=DECODERS)
    weights_ckpt: str | None = flag(
        None,
        f"checkpoint, or a run, whose best snapshot is taken where one was kept; {BEST} or {LAST}: of the newest run "
        "below --log_dir (default: that run)",
        file_path,
    )
    log_dir: str = flag("./log", "folder of all runs", file_path)
    test_image_size: int | None = flag(None, "height and width of windows; 0 for whole images", window_size)
    color_switch: bool | None = flag(None, "feed BGR, for weights from Caffe", switch)
    three_convs_beginning: bool | None = flag(
        None, "three 3x3 layers at the beginning", switch, aliases=["structure_in_paper"]
    )
    upsample_input: int | None = flag(
        None,
        "factor by which images are enlarged; results keep their size (default: the checkpoint's)",
        int,
        choices=UPSAMPLINGS,
    )
    stride_convention: str | None = flag(None, "where strides sit", str, choices=STRIDE_CONVENTIONS)
    resize_grid: str | None = flag(None, "grid of bilinear upsampling", str, choices=RESIZE_GRIDS)
    float_type: str = flag(
        "auto",
        "activations: float32, float16 or bfloat16; auto: bfloat16 where the hardware multiplies it, else float32",
        choices=("auto", *FLOAT_TYPES),
    )
    device: str = flag("auto", DEVICE_HELP, choices=DEVICES)
    mirror: bool = flag(True, "add the results from mirrored images")
    ms: bool = flag(False, "multi-scale: 0.5 to 1.75 instead of 1")
    coloring: bool = flag(True, "write colours and overlays")
    windows_per_batch: int = flag(4, "windows the network sees at a time", minimum=1)
    measure_time: bool = flag(False, "tell and write how long images take, the first left out")
    output_dir: str | None = flag(None, "where results go", file_path)

    unused: ClassVar[tuple[Unused, ...]] = UNUSED_IN_PREDICTION

    def __post_init__(self) -> None:
        if self.database is not None:
            check_own_data_flags(self, self.database, "--database is")
        refuse_unused(self, self.unused)


@dataclass(frozen=True, kw_only=True)
class PredictConfig(WeightsConfig, FileFlags):
    """Flags of predict.py."""

    mode: str = flag("val", "split to predict", choices=("val", "test", "train"), aliases=["test_subset"])
    save_prediction: bool = flag(True, "write label ids")
    server_zip: bool = flag(False, "Cityscapes: also pack the label ids into a zip for its server")
    test_max_iter: int | None = flag(None, "predict that many images only", int, minimum=1)
    gpu_num: int = flag(1, "devices that share out the images", minimum=1)
    follow: str | None = flag(None, "folder of a run: score every snapshot as it appears, until its last", file_path)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.follow is not None and self.weights_ckpt is not None:
            raise FlagError("--follow looks for snapshots itself: drop --weights_ckpt")
        if self.server_zip:
            self._check_server_zip()

    def _check_server_zip(self) -> None:
        if not self.save_prediction:
            raise FlagError("--server_zip 1 packs the label ids that --save_prediction 0 leaves unwritten: drop one")
        if self.test_max_iter is not None:
            raise FlagError(f"--server_zip 1 needs the whole split: drop --test_max_iter {self.test_max_iter}")


@dataclass(frozen=True, kw_only=True)
class InferenceConfig(WeightsConfig):
    """Flags of inference.py."""

    image_path: str | None = flag(None, "image or folder of images; asks for paths without it", file_path)

    own_data_flags: ClassVar[tuple[str, ...]] = ("num_classes",)
    unused: ClassVar[tuple[Unused, ...]] = UNUSED_IN_INFERENCE

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.measure_time and self.image_path is None:
            raise FlagError("--measure_time 1 would time the typing too: give the images with --image_path")
