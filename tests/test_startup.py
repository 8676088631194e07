"""What is quick to start brings along only what it needs. No clock: what counts is what gets imported."""

import subprocess
import sys

import pytest

HEAVY = {
    "torch",
    "numpy",
    "scipy",
    "mujoco",
    "gymnasium",
    "h5py",
    "matplotlib",
    "rich",
    "tyro",
    "ot",
    "cv2",
    "tensorboard",
}
"""Libraries that take from some tens of milliseconds to seconds to import."""
UNTIL_LEARNING = {"matplotlib", "tensorboard", "ot", "scipy", "cv2", "PIL", "torch._dynamo", "torch._inductor", "sympy"}
"""What no verb needs before it knows that its flags are right."""


def imported(code: str) -> set[str]:
    """Modules that a fresh interpreter has after running the code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules, file=sys.stderr)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import ilfo",
        "from ilfo.cli import main; main(['--help'])",
        "from ilfo.cli import main; main([])",
        "from ilfo.cli import main; main(['--version'])",
        "from ilfo.cli import main; main(['tarin'])",
    ],
)
def test_the_first_look_imports_nothing_heavy(code):
    modules = imported(code)
    assert "ilfo" in modules
    assert not modules & HEAVY


def test_a_library_would_be_seen():
    assert "numpy" in imported("import ilfo.demos") & HEAVY


@pytest.mark.parametrize("verb", ["train", "evaluate", "report", "record"])
def test_flags_are_read_before_what_learning_needs_is_loaded(verb):
    code = f"from ilfo.cli import main\ntry: main(['{verb}', '--help'])\nexcept SystemExit as end: assert not end.code"
    assert not imported(code) & UNTIL_LEARNING


def test_demonstrations_are_listed_without_a_learner():
    modules = imported("from ilfo.cli import main; main(['demos', 'list'])")
    assert not modules & (UNTIL_LEARNING | {"torch", "gymnasium", "mujoco"})
