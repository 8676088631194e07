"""Runs jobs side by side, with one display for all, on this machine's cores or on a Ray cluster."""

from ilfo.fleet.cell_flags import check_free, flags_of_cell, read_table, without_columns, words_of_cell
from ilfo.fleet.fleet import Failure, Fleet, failures_in_words, run_jobs, spare_cores
from ilfo.fleet.jobs import Job, check_apart, check_unchanged, job_folder
from ilfo.fleet.ray_fleet import RayFleet
from ilfo.fleet.train_jobs import TrainJob

__all__ = [
    "Failure",
    "Fleet",
    "Job",
    "RayFleet",
    "TrainJob",
    "check_apart",
    "check_free",
    "check_unchanged",
    "failures_in_words",
    "flags_of_cell",
    "job_folder",
    "read_table",
    "run_jobs",
    "spare_cores",
    "without_columns",
    "words_of_cell",
]
