"""From a checkpoint and images to labels, scores and result files."""
