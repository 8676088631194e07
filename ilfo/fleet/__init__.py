"""Runs side by side: what each of them is, and a display of all, on the cores there are or on a Ray cluster."""

from ilfo.fleet.fleet import Failure, Fleet, failures_in_words, run_jobs, spare_cores
from ilfo.fleet.jobs import Job, Work, check_apart, check_unchanged, flags_of_cell, job_folder, without_columns
from ilfo.fleet.ray_fleet import RayFleet

__all__ = [
    "Failure",
    "Fleet",
    "Job",
    "RayFleet",
    "Work",
    "check_apart",
    "check_unchanged",
    "failures_in_words",
    "flags_of_cell",
    "job_folder",
    "run_jobs",
    "spare_cores",
    "without_columns",
]
