"""A run is one folder: its configuration, its measurements, and all that it needs to resume."""

from ilfo.runs.held_folder import HeldFolder
from ilfo.runs.reading import kept_replay, read_checkpoint, read_config, read_metrics, read_summary
from ilfo.runs.run import Run

__all__ = ["HeldFolder", "Run", "kept_replay", "read_checkpoint", "read_config", "read_metrics", "read_summary"]
