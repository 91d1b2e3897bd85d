"""Machine and process: devices, memory, threads, signals, output streams."""
