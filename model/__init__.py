"""Builds the network and its training step as TensorFlow graphs (`tf.compat.v1`).

This package reads no files and no flags, and prints nothing. Where to find what:

    choices.py         the values of the options: encoders, stride conventions, grids, names of decoders and losses
    resnet.py          encoders
    decoders.py        heads; icnet.py has ICNet's
    pspnet_mg.py       encoder + decoder -> logits per tower (`pspnet`); `DECODERS` lists the decoders
    training_graph.py  one training step (`train_graph`)
    losses.py          losses per pixel
    utils_mg.py        layers over towers; `batch_norm` is the SyncBN, its arithmetic is in sync_batch_norm.py
"""
