"""Command-line flags of the three scripts, parsed once into one validated frozen configuration each.

Every flag is a field of a dataclass; the parsers are made from the fields. Names are those of the reference
implementation. Switches take 0 or 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from model import choices
from model.choices import DECODERS, INITIALIZERS, LOSS_TYPES, OPTIMIZERS, OUTPUT_STRIDES, POOL_PADDINGS
from tools.errors import FlagError
from tools.flags.checks import (
    UNUSED_IN_INFERENCE,
    UNUSED_IN_PREDICTION,
    UNUSED_IN_TRAINING,
    WORDS_FOR_SNAPSHOTS,
    Unused,
    check_own_data_flags,
    refuse_repeated_splits,
    refuse_unused,
    refuse_useless_holdout,
    refuse_without_effect,
)
from tools.flags.dataset import DATABASES, ClassFlags, FileFlags, SplitFlags
from tools.flags.names import loss_type, split_names
from tools.flags.parsing import (
    comma_separated,
    file_path,
    flag,
    rising_steps,
    step_or_latest,
    switch,
    whole_numbers,
    window_size,
)

NETWORKS, STRIDE_CONVENTIONS = tuple(choices.NETWORKS), tuple(choices.STRIDE_CONVENTIONS)
RESIZE_GRIDS, FLOAT_TYPES = tuple(choices.RESIZE_GRIDS), tuple(choices.FLOAT_TYPES)
UPSAMPLINGS = (1, 2, 3, 4)
DEVICES = ("auto", "cpu", "gpu")
# In place of a step: that of the newest sound snapshot.
LATEST: Literal["latest"] = "latest"
# In place of a checkpoint: the newest run's best snapshot, or its last.
BEST, LAST = WORDS_FOR_SNAPSHOTS
# In the name of a run that was set aside for another of the same name.
EARLIER_RUN = ".earlier-"

_DEVICE_HELP = "what computes; auto: GPUs, or CPUs on a machine without any; gpu: stops without GPUs"


def _recorded_or(default: str | int) -> str:
    return f"(default: as recorded beside --fine_tune_filename, otherwise {default})"


@dataclass(frozen=True, kw_only=True)
class TrainConfig(SplitFlags):
    """Flags of train.py."""

    data_format: str = flag(
        "files", "read images and labels, or the records that tools.make_tfrecord made", choices=("files", "tfrecord")
    )
    gpu_num: int = flag(1, "number of towers; without GPUs, logical CPU devices", minimum=1)
    device: str = flag("auto", _DEVICE_HELP, choices=DEVICES)
    batch_size: int = flag(2, "images per tower", minimum=1)
    network: str = flag("resnet_v1_50", "encoder", choices=NETWORKS)
    decoder: str | None = flag(None, f"head {_recorded_or('ppm')}", str, choices=DECODERS)
    subsets_for_training: tuple[str, ...] = flag(("train",), "splits to train on, by commas", split_names)
    train_image_size: int = flag(480, "height and width of training crops", minimum=8)
    test_image_size: int = flag(480, "height and width of validation windows; 0 for whole images", window_size)

    weight_decay_mode: int = flag(1, "0: L2, 1: L2-SP, 2 and 3: norm-aware L2-SP", choices=(0, 1, 2, 3))
    weight_decay_rate: float = flag(0.0001, "decay rate of pre-trained layers", minimum=0)
    weight_decay_rate2: float = flag(0.0001, "decay rate of new layers", minimum=0)
    consider_dilated: bool = flag(False, "count blocks 3 and 4 among the new layers for decay")
    new_layer_names: tuple[str, ...] | None = flag(None, "scopes of layers that are not pre-trained", comma_separated)
    fine_tune_filename: str | None = flag(
        None, "ResNet checkpoint (default: ./z_pretrained_weights/<network>.ckpt), or none", file_path
    )

    lrn_rate: float = flag(0.01, "initial learning rate", above=0)
    poly_lr: bool = flag(True, "poly schedule, power 0.9")
    lr_step: tuple[int, ...] | None = flag(
        None, "steps where the rate falls, by commas; needs --poly_lr 0", rising_steps
    )
    step_size: float = flag(0.1, "factor of the rate at each --lr_step", above=0)
    train_max_iter: int = flag(30000, "training steps", minimum=1)
    snapshot: int = flag(15000, "steps between snapshots", minimum=1)
    snapshot_minutes: float = flag(
        10.0, "minutes after the last snapshot when there is another, whatever the step; 0 for never", minimum=0
    )
    val_every: int | None = flag(
        None, "steps between snapshots that are scored; the best is kept apart in the run's folder best", int, minimum=1
    )
    keep: int = flag(5, "newest snapshots that are kept", minimum=1)
    save_first_iteration: bool = flag(False, "snapshot before the first step")
    resume_step: int | Literal["latest"] | None = flag(
        None, f"continue this run's snapshot of that step, or {LATEST}: its newest sound one", step_or_latest
    )
    auto_resume: bool = flag(False, "continue this run's newest sound snapshot; without one, begin the run")
    on_nan: str = flag(
        "stop",
        "what NaN or Inf does; rollback: back to the last sound snapshot, three times at most, learning rate halved",
        choices=("stop", "rollback"),
    )
    optimizer: str = flag("mom", "optimizer", choices=OPTIMIZERS)
    momentum: float = flag(0.9, "momentum of mom and rmsp, beta1 of adam")
    train_like_in_caffe: bool = flag(
        False, "new layers learn at 10x, their biases at 20x", aliases=["train_like_in_paper"]
    )

    dynamic_size: bool = flag(
        False, "whole images in place of crops: short sides drawn from a list, each tower padded to a size of its own"
    )
    dynamic_short_sides: tuple[int, ...] = flag(
        (300, 375, 450, 525, 600), "dynamic_size: short sides in pixels, by commas", whole_numbers
    )
    dynamic_max_size: int = flag(1000, "dynamic_size: longest side in pixels", minimum=8)
    random_scale: bool = flag(True, "scale images")
    scale_min: float = flag(0.5, "smallest scale", above=0)
    scale_max: float = flag(2.0, "largest scale", above=0)
    upsample_input: int = flag(
        1, "factor by which images are enlarged before they are cropped or predicted", choices=UPSAMPLINGS
    )
    random_mirror: bool = flag(True, "mirror images")
    random_rotate: bool = flag(True, "rotate images, -10 to 10 degrees")
    random_blur: bool = flag(True, "change brightness, saturation and contrast", aliases=["blur"])
    gaussian_blur: bool = flag(False, "blur images")
    color_switch: bool | None = flag(None, f"feed BGR, for weights from Caffe {_recorded_or(0)}", switch)

    initializer: str = flag("he", "initializer of new weights", choices=INITIALIZERS)
    has_aux_loss: bool = flag(True, "auxiliary head on block 3, weight 0.4; of icnet at 1/8 and 1/16, 0.4 and 0.16")
    upsample_logits: bool | None = flag(
        None,
        "compare at the size of the labels; 0 shrinks labels to that of the logits (default: 1, with icnet 0)",
        switch,
    )
    bn_frozen: bool = flag(False, "freeze the statistics of pre-trained batch normalization")
    bn_decay: float = flag(0.9, "decay of the running statistics")
    three_convs_beginning: bool | None = flag(
        None,
        f"three 3x3 layers at the beginning instead of one 7x7 {_recorded_or(0)}",
        switch,
        aliases=["structure_in_paper"],
    )
    stride_convention: str | None = flag(
        None, f"where strides sit {_recorded_or('reference')}", str, choices=STRIDE_CONVENTIONS
    )
    pool_padding: str | None = flag(
        None, f"padding of the first pooling {_recorded_or('same')}", str, choices=POOL_PADDINGS
    )
    output_stride: int | None = flag(
        None,
        f"input size over feature size {_recorded_or('8, 32 with --decoder upernet')}",
        int,
        choices=OUTPUT_STRIDES,
    )
    resize_grid: str | None = flag(
        None, f"grid of bilinear upsampling {_recorded_or('half_pixel')}", str, choices=RESIZE_GRIDS
    )
    loss_type: str = flag("normal", "normal, focal_<gamma>, or ohem: hard pixels alone", loss_type)
    ohem_threshold: float = flag(0.7, "ohem: pixels whose label has a probability up to this are hard", above=0)
    ohem_min_kept: int = flag(100_000, "ohem: pixels of a batch that count at least", minimum=1)
    class_weights: str | None = flag(
        None, "weights of classes in the loss: a file with a number per class, or median_freq", file_path
    )
    float_type: str = flag("32", "activations: float32, float16 or bfloat16", choices=FLOAT_TYPES)

    save_memory: bool = flag(False, "compute the encoder's activations a second time instead of keeping them")
    log_memory: bool = flag(False, "log the peak of memory after two steps and at the end")
    checkpoint_units: int = flag(2, "save_memory: residual units between activations that are kept", minimum=1)

    eval_only: bool = flag(False, "only score this run's last (or --resume_step's) snapshot")
    mirror: bool = flag(True, "add mirrored images when scoring")
    test_max_iter: int | None = flag(None, "score that many images only", int, minimum=1)

    log_dir: str = flag("./log", "folder of all runs", file_path)
    run_name: str | None = flag(
        None, "name of the run (default: main flags, and a checksum of all that changes the weights)", str
    )
    check_data: str = flag("sample", "label files read before step 0", choices=("sample", "all", "none"))
    allow_missing_classes: bool = flag(False, "train although a class occurs in no training label")
    max_bad_files: int = flag(0, "training images that may be unreadable; others take their place", minimum=0)
    show_period: int = flag(20, "steps between summaries", minimum=1)
    deterministic: bool = flag(
        False, "promise runs of the same bits on one machine, or stop; on CPUs alone, where it is refused on GPUs"
    )
    seed: int = flag(0, "of initialization, order, augmentation and dropout", minimum=0)

    unused: ClassVar[tuple[Unused, ...]] = UNUSED_IN_TRAINING

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data_format == "tfrecord":
            refuse_without_effect(self, "train_list", "on records, which were made from a list: drop that")
        if self.scale_min > self.scale_max:
            raise FlagError(f"--scale_min {self.scale_min} is above --scale_max {self.scale_max}: swap them")
        if self.total_batch_size < 2 and not self.eval_only:
            raise FlagError(
                "--batch_size 1 with --gpu_num 1 is a batch of 1 image, which leaves psp/pool1 a single value per "
                "channel to normalize: raise --batch_size or --gpu_num"
            )
        if self.lr_step is not None and self.poly_lr:
            raise FlagError("--lr_step has no effect on the poly schedule: add --poly_lr 0")
        self._check_run_name()
        self._check_splits()
        refuse_unused(self, self.unused)
        self._check_dynamic_size()
        self._check_resuming()
        if self.bn_frozen and self.starts_from_scratch:
            raise FlagError(
                "--bn_frozen 1 keeps pre-trained statistics, and --fine_tune_filename none has none: drop one of them"
            )
        if not LOSS_TYPES.fullmatch(self.loss_type):
            raise FlagError(f"--loss_type {self.loss_type} is unknown: use normal, ohem or focal_<gamma>, e.g. focal_2")
        self._check_hard_pixels()
        if self.weight_decay_mode != 0 and self.starts_from_scratch:
            raise FlagError(
                f"--weight_decay_mode {self.weight_decay_mode} pulls weights towards pre-trained ones, and "
                "--fine_tune_filename none has none: use --weight_decay_mode 0 or give a ResNet checkpoint"
            )
        for name in ("momentum", "bn_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise FlagError(f"--{name} {getattr(self, name)} is not in [0, 1): 0.9 is usual")
        if self.seed >= 2**63:
            raise FlagError(f"--seed {self.seed} does not fit into 64 bits: give a smaller one")

    def _check_run_name(self) -> None:
        name = self.run_name
        if name is not None and (not name.strip() or name in (".", "..") or "/" in name or EARLIER_RUN in name):
            raise FlagError(
                f"--run_name '{name}' is no name for a run: give one without '/' and '{EARLIER_RUN}', such as seed0"
            )

    def _check_splits(self) -> None:
        refuse_repeated_splits(self)
        refuse_useless_holdout(self)
        if "train" not in self.subsets_for_training:
            told = f"where --subsets_for_training is {','.join(self.subsets_for_training)}"
            refuse_without_effect(self, "train_list", f"{told}: add train there")

    def _check_dynamic_size(self) -> None:
        if not self.dynamic_size:
            return
        shortest, longest = min(self.dynamic_short_sides), max(self.dynamic_short_sides)
        if shortest < 8 or longest > self.dynamic_max_size:
            raise FlagError(
                f"--dynamic_short_sides {shortest} to {longest} are not within 8 and --dynamic_max_size "
                f"{self.dynamic_max_size}: change one of them"
            )

    def _check_resuming(self) -> None:
        if self.eval_only:  # --auto_resume is ignored, and --resume_step names the snapshot to score
            return
        if self.auto_resume and self.resume_step is not None:
            raise FlagError(f"--auto_resume 1 finds the step itself: drop it or --resume_step {self.resume_step}")

    def _check_hard_pixels(self) -> None:
        if self.ohem_threshold > 1:
            raise FlagError(f"--ohem_threshold {self.ohem_threshold} is no probability: 0.7 is usual")

    @property
    def starts_from_scratch(self) -> bool:
        return (self.fine_tune_filename or "").lower() == "none"

    @property
    def total_batch_size(self) -> int:
        return self.batch_size * self.gpu_num


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
    device: str = flag("auto", _DEVICE_HELP, choices=DEVICES)
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
