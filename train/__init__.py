"""The run: configuration, loop, state, checkpoints."""
