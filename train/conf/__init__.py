"""YAML groups that Hydra composes into a run."""
