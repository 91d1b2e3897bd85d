"""From flags and data to a trained run."""
