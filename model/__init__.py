"""The network: pure graph building on `tf.compat.v1`; knows no files, no flags and prints nothing."""
