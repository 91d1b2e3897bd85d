"""Flags of predict.py and inference.py."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from model.choices import DECODERS
from tools.errors import FlagError
from tools.flags.checks import check_effects, check_flags_of_database, refuse_without_effect
from tools.flags.choices import (
    DEVICE_HELP,
    DEVICES,
    FLOAT_TYPES,
    NETWORKS,
    RESIZE_GRIDS,
    STRIDE_CONVENTIONS,
    UPSAMPLINGS,
)
from tools.flags.chosen_weights import log_dir_flag, use_ema_flag, weights_ckpt_flag
from tools.flags.dataset import DATABASES, ClassFlags, FileFlags
from tools.flags.definition import Need, flag
from tools.flags.help import Program
from tools.flags.hosts import HostFlags, check_host_rank
from tools.flags.limits import LARGEST_BATCH, MOST_DEVICES, MOST_STEPS
from tools.flags.prediction_outputs import PredictionOutputFlags
from tools.flags.protocol import ProtocolFlags
from tools.flags.running import ScreenFlags
from tools.flags.scoring import ScoringFlags
from tools.flags.sizes import Size, window_size
from tools.flags.values import file_path, switch
from tools.runtime.hosts import Hosts

# Flags whose results are in one file for all images, or need all images in one process.
_OF_ONE_HOST = (
    "follow", "per_image", "boundary_iou", "cityscapes_scores", "server_zip", "measure_time",
    "polygons", "areas",
)  # fmt: skip

# Flags of a prediction, which --has_prediction does not run: by their group, and by their name.
_GROUPS_OF_PREDICTION = ("network", "prediction", "precision", "hosts")
_FLAGS_OF_PREDICTION = (
    "coloring", "save_prediction", "save_probabilities", "confidence", "polygons", "areas", "measure_time",
    "server_zip",
)  # fmt: skip

_RECORDED = "as recorded beside the checkpoint"

_NEEDS_NO_FOLLOWED_RUN = Need(
    lambda config: getattr(config, "follow", None) is None,
    "with --follow, which says where the snapshots are: drop --follow",
)


@dataclass(frozen=True, kw_only=True)
class WeightsConfig(PredictionOutputFlags, ProtocolFlags, ScreenFlags, ClassFlags):
    """Flags of both predict.py and inference.py; None selects the value in the checkpoint's record."""

    database: str | None = flag(  # type: ignore[assignment]
        None, "dataset", str, group="data", unset=_RECORDED, choices=DATABASES
    )
    network: str | None = flag(None, "encoder", str, group="network", unset=_RECORDED, choices=NETWORKS)
    decoder: str | None = flag(
        None, "decoder, the head of the network", str, group="network", unset=_RECORDED, choices=DECODERS
    )
    weights_ckpt: str | None = weights_ckpt_flag()
    log_dir: str = log_dir_flag(_NEEDS_NO_FOLLOWED_RUN)
    color_switch: bool | None = flag(None, "feed BGR, for weights from Caffe", switch, group="network", unset=_RECORDED)
    three_convs_beginning: bool | None = flag(
        None,
        "three 3x3 convolutions at the beginning instead of one 7x7",
        switch,
        group="network",
        unset=_RECORDED,
        aliases=["structure_in_paper"],
    )
    stride_convention: str | None = flag(
        None, "layers that have stride and dilation", str, group="network", unset=_RECORDED, choices=STRIDE_CONVENTIONS
    )
    resize_grid: str | None = flag(
        None, "grid of bilinear upsampling", str, group="network", unset=_RECORDED, choices=RESIZE_GRIDS
    )
    test_image_size: Size | None = flag(
        None,
        "size of windows, in pixels: one number, or height x width such as 360x480; 0: whole images",
        window_size,
        group="prediction",
        metavar="SIZE",
        unset=_RECORDED,
    )
    upsample_input: int | None = flag(
        None,
        "factor by which images are enlarged before prediction; results keep the size of the image",
        int,
        group="prediction",
        unset=_RECORDED,
        choices=UPSAMPLINGS,
    )
    use_ema: bool = use_ema_flag("use", "prediction")
    windows_per_batch: int = flag(
        4,
        "windows that the network processes at a time",
        group="prediction",
        minimum=1,
        needs=Need(
            lambda config: config.test_image_size != 0 or config.mirror,
            "if each image is one window (--test_image_size 0 --mirror 0): give a size of windows",
        ),
        maximum=LARGEST_BATCH,
    )
    float_type: str = flag(
        "auto",
        "type of activations: float32, float16 or bfloat16; auto: bfloat16 if the hardware multiplies it, "
        "otherwise float32",
        group="precision",
        choices=("auto", *FLOAT_TYPES),
    )
    device: str = flag("auto", DEVICE_HELP, group="precision", choices=DEVICES)
    coloring: bool = flag(True, "write colour images and overlays", group="output")
    measure_time: bool = flag(False, "log and write the time per image, without the first", group="output")
    output_dir: str | None = flag(
        None,
        "folder for the results",
        file_path,
        group="output",
        metavar="FOLDER",
        unset="below ./<split>_set, in inference.py ./inference_set",
    )

    def __post_init__(self) -> None:
        if self.database is not None:
            check_flags_of_database(self, self.database, "--database is")
        self.check_protocol()
        check_effects(self)


@dataclass(frozen=True, kw_only=True)
class PredictConfig(HostFlags, ScoringFlags, FileFlags, WeightsConfig):
    """Flags of predict.py."""

    mode: str = flag("val", "split to predict", group="data", choices=("val", "test", "train"), aliases=["test_subset"])
    test_max_iter: int | None = flag(
        None, "number of images to predict", int, group="data", unset="all of the split", minimum=1
    )
    follow: str | None = flag(
        None,
        "folder of a run: score every snapshot as it appears, until the run's last",
        file_path,
        group="network",
        metavar="FOLDER",
    )
    from_step: int = flag(
        0,
        "first step whose snapshot is scored with --follow",
        group="network",
        metavar="STEP",
        minimum=0,
        maximum=MOST_STEPS,
        needs=Need(lambda config: config.follow is not None, "on a single checkpoint: add --follow"),
    )
    gpu_num: int = flag(
        1, "number of devices that the images are distributed over", group="precision", minimum=1, maximum=MOST_DEVICES
    )
    save_prediction: bool = flag(True, "write label ids", group="output")
    per_image: bool = flag(
        False, "write per_image.csv: pixel accuracy and IoU per class, a row per image with a label", group="output"
    )
    confusion_matrix: bool = flag(
        False, "write the confusion matrix as confusion_matrix.csv and .png, if there are labels", group="output"
    )
    server_zip: bool = flag(
        False, "Cityscapes: also pack the label ids into a zip file for its evaluation server", group="output"
    )

    program: ClassVar[Program] = Program(
        "python predict.py",
        "[--weights_ckpt FILE] [--mode SPLIT]",
        (
            "--weights_ckpt best --ms 1",
            "--weights_ckpt log/Cityscapes/my_run --mode test --server_zip 1",
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_host_rank(self)
        if self.follow is not None and self.weights_ckpt is not None:
            raise FlagError("--follow looks for snapshots itself: drop --weights_ckpt")
        if self.has_prediction is not None:
            self._refuse_flags_of_prediction()
        if self.hosts is not None:
            self._refuse_flags_of_one_host()
        if self.server_zip:
            self._check_server_zip()

    @property
    def host_count(self) -> int:
        """Returns the number of hosts, once `on_hosts` has set their addresses."""
        return len(self.hosts) if isinstance(self.hosts, tuple) else 1

    def on_hosts(self, hosts: Hosts | None) -> PredictConfig:
        """Returns the flags with the addresses and the rank that were found; None for one host."""
        if hosts is None:
            return dataclasses.replace(self, **_NO_HOSTS)
        return dataclasses.replace(self, hosts=hosts.addresses, host_rank=hosts.rank)

    def _refuse_flags_of_one_host(self) -> None:
        for name in _OF_ONE_HOST:
            if getattr(self, name) != getattr(type(self), name):
                raise FlagError(f"--{name} needs all images on one host, and --hosts shares them out: drop one of them")

    def _refuse_flags_of_prediction(self) -> None:
        for field in dataclasses.fields(self):
            if field.metadata["group"] in _GROUPS_OF_PREDICTION or field.name in _FLAGS_OF_PREDICTION:
                why = "with --has_prediction, which scores files and predicts nothing: drop --has_prediction"
                refuse_without_effect(self, field.name, why)

    def _check_server_zip(self) -> None:
        if not self.save_prediction:
            raise FlagError("--server_zip 1 packs the label ids that --save_prediction 0 leaves unwritten: drop one")
        if self.test_max_iter is not None:
            raise FlagError(f"--server_zip 1 needs the whole split: drop --test_max_iter {self.test_max_iter}")
        if self.is_share:
            raise FlagError("--server_zip 1 needs the whole split: drop --index_start and --index_step")


_NO_HOSTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(HostFlags)}


@dataclass(frozen=True, kw_only=True)
class InferenceConfig(WeightsConfig):
    """Flags of inference.py."""

    image_path: str | None = flag(
        None, "image, video, or folder of images", file_path, group="data", unset="the program asks for paths"
    )
    recursive: bool = flag(
        False,
        "also segment the images in subfolders; the results keep the names of these",
        group="data",
        needs=Need(lambda config: config.image_path is not None, "if paths are typed: give a folder with --image_path"),
    )

    program: ClassVar[Program] = Program(
        "python inference.py",
        "[--image_path FILE] [--weights_ckpt FILE]",
        ("--image_path street.png", "--image_path photos --weights_ckpt log/Cityscapes/my_run --ms 1"),
    )
    flags_for_every_database: ClassVar[tuple[str, ...]] = ("palette", "label_map", "image_mean")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.coloring:
            refuse_without_effect(self, "palette", "with --coloring 0, which writes no colours: drop --coloring 0")
        if self.measure_time and self.image_path is None:
            raise FlagError("--measure_time 1 would time the typing too: give the images with --image_path")
