"""A training run on disk: its folder, lock, record, snapshots, and whether another run is the same."""
