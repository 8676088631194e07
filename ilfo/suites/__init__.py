"""Tasks to evaluate on: what a suite is, the bundled ones, and the tables and pictures of what was found."""

from ilfo.suites.suite import Suite, Task, bundled_suites, is_suite, open_suite

__all__ = ["Suite", "Task", "bundled_suites", "is_suite", "open_suite"]
