"""Everything around the network and the data: configuration, checkpoints, training, inference and scores."""
