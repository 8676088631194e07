"""Runs side by side: on the cores there are, or on a Ray cluster."""

from ilfo.fleet.fleet import Failure, Fleet, failures_in_words, run_jobs, spare_cores
from ilfo.fleet.jobs import Job, Work

__all__ = ["Failure", "Fleet", "Job", "Work", "failures_in_words", "run_jobs", "spare_cores"]
