"""``ilfo evaluate SUITE``: what a suite of tasks is, the bundled ones, running them, and tables and pictures of it."""

from ilfo.suites.suite import Suite, Task, bundled_suites, is_suite, open_suite

__all__ = ["Suite", "Task", "bundled_suites", "is_suite", "open_suite"]
