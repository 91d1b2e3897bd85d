"""Speed and memory of this package beside other ways and other engines: `python -m tools.benchmark`."""
