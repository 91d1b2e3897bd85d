"""A page on which pictures are segmented, and the same over HTTP for other programs."""
