"""The machine and the process: devices, memory, threads, signals, output streams."""
