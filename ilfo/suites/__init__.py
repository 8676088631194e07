"""``ilfo evaluate SUITE``: suites of tasks, the bundled ones, running them, and their tables and pictures."""

from ilfo.suites.suite import Suite, Task, bundled_suites, is_suite, open_suite

__all__ = ["Suite", "Task", "bundled_suites", "is_suite", "open_suite"]
