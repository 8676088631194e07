"""``ilfo report``: one HTML page on a run, or on all runs of a folder of seeds; and the pictures of other verbs."""

from ilfo.report._run_report import main, update_report, write_report

__all__ = ["main", "update_report", "write_report"]
