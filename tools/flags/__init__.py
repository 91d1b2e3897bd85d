"""Parses command lines and configuration files into frozen dataclasses, and checks the flags.

The flags of a program are the fields of a dataclass, which inherits them by group. Where to find what:

    train.py           TrainConfig: all flags of train.py, and the checks of one flag against others
    predict.py         PredictConfig and InferenceConfig: those of predict.py and inference.py
    dataset.py         data: dataset, folders, lists, classes
    network.py         network, and the checkpoint that it starts from
    schedule.py        training schedule, optimizer
    optimization.py    regularization, loss
    augmentation.py    augmentation
    running.py         snapshots and resuming, precision and memory, prediction, output
    hosts.py           several hosts
    definition.py      `flag()`: default, help and properties of a flag; `GROUPS` of the help
    checks.py          rejects flags without effect
    comparable.py      one form of the flags of runs, to compare runs by them
    parsing.py         command line -> dataclass; config_file.py reads --config, names.py other spellings
    values.py          parse functions, sizes.py those of crops and windows; help.py formats --help
"""
