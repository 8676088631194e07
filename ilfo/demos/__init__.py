"""Demonstrations: expert trajectories, reading and writing them.

``open`` reads a file (the toolkit's own layout, Minari's or D4RL's), ``write`` saves one, ``check_fits``
compares one with an environment, ``bundled`` lists those that come with the toolkit.
"""

from ilfo.demos.checks import check_fits
from ilfo.demos.files import open
from ilfo.demos.hdf5 import write_demonstrations as write
from ilfo.demos.library import Bundled, bundled, bundled_path
from ilfo.demos.plot import plot_demonstrations
from ilfo.demos.trajectory import Demonstrations, Provenance, Trajectory

__all__ = [
    "Bundled",
    "Demonstrations",
    "Provenance",
    "Trajectory",
    "bundled",
    "bundled_path",
    "check_fits",
    "open",
    "plot_demonstrations",
    "write",
]
