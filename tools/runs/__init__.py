"""A training run on disk: its folder, lock, record and snapshots, and checks that two runs agree."""
