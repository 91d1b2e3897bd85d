"""Command lines of PSPNet-TF-Reproduce, of its branch v0.9 and of its master: what its flags are here.

Most flags have their names and meanings here; other names of these are their `aliases`. `OLDER_FLAGS` has the others:
each is converted or has no effect, which is logged, or is rejected with a message that names ours. A value that means
something else there is logged too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tools.errors import FlagError

logger = logging.getLogger(__name__)

TRAIN, PREDICT, INFERENCE = "python train.py", "python predict.py", "python inference.py"

# The scripts of its master that have another name here. The scripts of v0.9 have the same names.
SCRIPTS: Mapping[str, str] = {"run.py": "train.py", "demo_infer.py": "inference.py"}

# Its master parses the flags of all scripts in one place, so its predict.py and demo_infer.py accept those of training.
_OF_TRAINING = (
    "consider_dilated", "fine_tune_filename", "initializer", "lr_step", "lrn_rate", "momentum", "new_layer_names",
    "optimizer", "poly_lr", "random_blur", "random_mirror", "random_rotate", "random_scale", "resume_step",
    "save_first_iteration", "scale_max", "scale_min", "snapshot", "step_size", "subsets_for_training",
    "train_image_size", "train_like_in_caffe", "train_max_iter", "weight_decay_mode", "weight_decay_rate",
    "weight_decay_rate2",
)  # fmt: skip


@dataclass(frozen=True)
class OlderFlag:
    """What a flag of PSPNet-TF-Reproduce is here.

    Attributes:
        convert: returns our arguments for its value, none if it has no effect; raises FlagError, which says what to
            give instead.
        note: for the log, why it has no effect, or what the value means in either program.
        values: those that are converted, if there is a flag of this name here too; None for all.
    """

    convert: Callable[[str], list[str]]
    note: str = ""
    values: tuple[str, ...] | None = None


def _renamed(ours: str) -> OlderFlag:
    return OlderFlag(lambda value: [f"--{ours}={value}"])


def _without_effect(note: str, only: str | None = None, otherwise: str = "") -> OlderFlag:
    """Returns a flag without effect; if `only` is given, other values are rejected with the message `otherwise`."""

    def convert(value: str) -> list[str]:
        if only not in (None, value):
            raise FlagError(otherwise)
        return []

    return OlderFlag(convert, note)


def _rejected(message: str) -> OlderFlag:
    def convert(value: str) -> list[str]:
        raise FlagError(message)

    return OlderFlag(convert)


def _gpu_count(value: str) -> int:
    """Returns the number of GPUs in a list of their numbers, which have to be the first ones.

    Raises:
        FlagError: the value is no such list.
    """
    numbers = value.split(",")
    if not all(number.strip().isdecimal() for number in numbers):
        raise FlagError(f"--visible_gpus '{value}' is not a list of GPUs such as 0,1: give their number, --gpu_num 2")
    count = len(numbers)
    if sorted(map(int, numbers)) != list(range(count)):
        raise FlagError(
            f"--visible_gpus {value} chooses among the GPUs, which the environment does here: start the command with "
            f"CUDA_VISIBLE_DEVICES={value}, and give --gpu_num {count} instead"
        )
    return count


def _one_gpu(value: str) -> list[str]:
    if _gpu_count(value) > 1:
        raise FlagError(f"--visible_gpus {value}: inference.py uses one GPU: drop it (predict.py has --gpu_num)")
    return []


def _other_meaning(name: str, value: str, note: str) -> OlderFlag:
    """Returns a value that both programs have, with different meanings; ours holds."""
    return OlderFlag(lambda given: [f"--{name}={given}"], note, (value,))


_LAYOUT = OlderFlag(
    lambda value: _layout(value), "tensors are NHWC here, which oneDNN and cuDNN reorder themselves", ("NHWC", "NCHW")
)


def _layout(value: str) -> list[str]:
    if value != "NHWC":
        raise FlagError(
            f"--data_format {value}: expected NHWC, the only order of dimensions here; drop it (in train.py, "
            "--data_format files or tfrecord says what is read)"
        )
    return []


_READER = _without_effect("tf.data reads the images, ahead of the steps")
_PREFIX_OF_RESULTS = _without_effect("results are named by the checkpoint")

# Flags that only its master has. Its default network is another.
_OF_MASTER = ("visible_gpus", "reader_method", "prefix")
_NETWORK_OF_MASTER = "resnet_v1_101"

# By program and name.
OLDER_FLAGS: Mapping[str, Mapping[str, OlderFlag]] = {
    TRAIN: {
        "data_format": _LAYOUT,
        "loss_type": _other_meaning(
            "loss_type",
            "focal_1",
            "the exponent is 1 here, and 2 there, where 1 is the number of the variant: give focal_2 for that loss",
        ),
        "bn_frozen": _other_meaning(
            "bn_frozen",
            "1",
            "the encoder normalizes with its running averages here; there, all layers normalize with "
            "the moments of the batch, and only the running averages stop",
        ),
        "has_aux_loss": _other_meaning(
            "has_aux_loss", "0", "there is no auxiliary loss here; there, the flag has no effect"
        ),
        "visible_gpus": OlderFlag(lambda value: [f"--gpu_num={_gpu_count(value)}"]),
        "reader_method": _READER,
        "prefix": _without_effect(
            "runs are named by their flags",
            only="PSP",
            otherwise="--prefix is the beginning of a run's name there: give the whole name with --run_name",
        ),
        "test_subset": _without_effect(
            "snapshots are scored on val", only="val", otherwise="--test_subset is for predict.py (--mode): drop it"
        ),
        **{
            name: _rejected(f"--{name} is for predict.py and inference.py: drop it, and give it there as --{name}")
            for name in ("ms", "coloring")
        },
        "weights_ckpt": _rejected(
            "--weights_ckpt is for predict.py and inference.py: training starts from --fine_tune_filename"
        ),
    },
    PREDICT: {
        "data_format": _LAYOUT,
        "visible_gpus": OlderFlag(lambda value: [f"--gpu_num={_gpu_count(value)}"]),
        "batch_size": _renamed("windows_per_batch"),
        "reader_method": _READER,
        "prefix": _PREFIX_OF_RESULTS,
    },
    INFERENCE: {
        "data_format": _LAYOUT,
        "visible_gpus": OlderFlag(_one_gpu, "one GPU is used"),
        "batch_size": _renamed("windows_per_batch"),
        "reader_method": _READER,
        "prefix": _PREFIX_OF_RESULTS,
        **dict.fromkeys(("mode", "test_subset"), _without_effect("the images are those of --image_path")),
    },
}
_REJECTED_IN_PREDICTION = {
    name: _rejected(f"--{name} is for train.py: drop it; the network is read from the record beside --weights_ckpt")
    for name in _OF_TRAINING
}


def older_flags(program: str) -> Mapping[str, OlderFlag]:
    """Returns what the flags of PSPNet-TF-Reproduce are in a program, by name, except those that are the same."""
    rejected = _REJECTED_IN_PREDICTION if program in (PREDICT, INFERENCE) else {}
    return {**rejected, **OLDER_FLAGS.get(program, {})}


def with_older_flags(program: str, arguments: Sequence[str]) -> list[str]:
    """Converts the flags of PSPNet-TF-Reproduce in a command line, and logs each.

    Args:
        program: its command, such as `python train.py`.
        arguments: without the program's name.

    Raises:
        FlagError: a flag is rejected, or lacks its value; the message names ours.
    """
    _warn_of_the_network(program, arguments)
    return list(_converted(older_flags(program), list(arguments)))


def _warn_of_the_network(program: str, arguments: Sequence[str]) -> None:
    names = {argument.partition("=")[0].removeprefix("--") for argument in arguments if argument.startswith("--")}
    if program == TRAIN and names.intersection(_OF_MASTER) and not names.intersection(("network", "config")):
        logger.warning(
            "run.py of PSPNet-TF-Reproduce trains %s without --network, and train.py another network: give --network",
            _NETWORK_OF_MASTER,
        )


def _converted(older: Mapping[str, OlderFlag], arguments: list[str]) -> Iterator[str]:
    """Yields the arguments converted; raises FlagError for all that are rejected together."""
    rejected = []
    while arguments:
        argument = arguments.pop(0)
        name, equals, value = argument.partition("=")
        flag = older.get(name.removeprefix("--").replace("-", "_")) if name.startswith("--") else None
        if flag is not None and not equals:
            value = arguments[0] if arguments else ""
        if flag is None or (flag.values is not None and value not in flag.values):
            yield argument
            continue
        if not equals:
            if not arguments or value.startswith("--"):
                raise FlagError(f"argument {name}: expected one argument (see --help)")
            del arguments[0]
        try:
            ours = flag.convert(value)
        except FlagError as error:
            rejected.append(str(error))
            continue
        _log(f"{name} {value}", ours, flag.note)
        yield from ours
    if rejected:
        raise FlagError("; ".join(rejected))


def _log(given: str, ours: Sequence[str], note: str) -> None:
    if ours and note:
        logger.info("%s: %s", given, note)
    elif ours:
        logger.info("%s of PSPNet-TF-Reproduce is %s here", given, " ".join(ours).replace("=", " "))
    else:
        logger.info("%s of PSPNet-TF-Reproduce has no effect: %s", given, note)
