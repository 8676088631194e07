"""Worker processes: how they start, fail and end."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from small_envs import LEDGE, Ledge

import ilfo
from ilfo._tools.errors import InputError
from ilfo.envs import Environments

CLUMSY = "small_envs:Clumsy-v0"
TESTS = Path(__file__).parents[1]


def push(environments: Environments, *actions: float):
    return environments.step(np.array(actions, np.float32)[:, None])


def process_of(environments: Environments, index: int = 0) -> subprocess.Popen:
    return environments._groups[index]._process


def script(folder: Path, text: str) -> subprocess.CompletedProcess:
    """Runs a script as a user does: no guard around its main part, and in a process group of its own."""
    path = folder / "script.py"
    path.write_text(textwrap.dedent(text))
    return subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        process_group=0,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(Path(ilfo.__file__).parents[1])])},
    )


def gone(pid: int) -> bool:
    """Whether a process is no more; one that nobody has waited for would still be there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_an_error_of_the_environment_is_told_and_the_others_are_heard():
    environments = Environments(CLUMSY, 2, workers=2)
    with pytest.raises(RuntimeError, match=r"(?s)Clumsy-v0 failed in a worker process:.*KeyError: 'no way back'"):
        push(environments, -0.5, 0.5)
    environments.restart()
    steps = push(environments, 0.5, 0.5)
    np.testing.assert_allclose(steps.next_observations[:, 0] - steps.observations[:, 0], 0.1, atol=1e-6)
    with pytest.raises(RuntimeError, match=r"Clumsy-v0 was killed by signal 9"):
        push(environments, 0.5, -1)
    with pytest.raises(RuntimeError, match=r"Clumsy-v0 was killed by signal 9"):
        push(environments, 0.5, 0.5)
    environments.close()
    assert process_of(environments, 0).returncode == 0
    assert process_of(environments, 1).returncode == -signal.SIGKILL


def test_what_the_user_can_put_right_is_refused_as_in_this_process():
    environments = Environments("small_envs:Exploding-v0", workers=1)
    for _ in range(10):
        push(environments, 0.5)
    with pytest.raises(InputError, match="small_envs:Exploding-v0 returned a NaN or an infinity at step 10"):
        push(environments, 0.5)
    environments.close()


def test_an_environment_that_only_the_script_knows_is_refused_with_the_way_out():
    gymnasium.register("Hidden-v0", Ledge, max_episode_steps=40)
    try:
        with pytest.raises(InputError, match=r"(?s)'Hidden-v0' cannot be made: .* known here, .* module:Hidden-v0"):
            Environments("Hidden-v0", workers=1)
    finally:
        del gymnasium.registry["Hidden-v0"]


def test_no_environment_at_all_is_refused():
    with pytest.raises(InputError, match="'Hoper-v5' cannot be made") as refusal:
        Environments("Hoper-v5", workers=1)
    assert "known here" not in str(refusal.value)


def test_a_worker_ends_when_it_is_closed_and_when_it_is_collected():
    closed, collected = Environments(LEDGE, workers=1), Environments(LEDGE, workers=1)
    pids = [process_of(closed).pid, process_of(collected).pid]
    closed.close()
    closed.close()
    assert process_of(closed).returncode == 0
    del collected
    gc.collect()
    assert all(map(gone, pids))


def test_a_worker_needs_no_guarded_script_and_ends_with_it(tmp_path):
    (tmp_path / "beside.py").write_text("from small_envs import Ledge\nimport gymnasium\n")
    with (tmp_path / "beside.py").open("a") as module:
        module.write("gymnasium.register('Beside-v0', Ledge, max_episode_steps=40)\n")
    result = script(
        tmp_path,
        """
        import numpy as np
        from ilfo.envs import Environments

        environments = Environments("beside:Beside-v0", workers=1)
        environments.step(np.zeros((1, 1)))
        print("pid", environments._groups[0]._process.pid)
        """,
    )
    assert (result.returncode, result.stderr) == (0, "")
    name, pid = result.stdout.split()
    assert name == "pid", "the script ran once"
    assert gone(int(pid))


def test_ctrl_c_does_not_reach_a_worker(tmp_path):
    result = script(
        tmp_path,
        f"""
        import os, signal
        import numpy as np
        from ilfo.envs import Environments

        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has it ignored in the background
        environments = Environments({LEDGE!r}, workers=1)
        try:
            os.killpg(0, signal.SIGINT)
            print("not interrupted")
        except KeyboardInterrupt:
            print(environments.step(np.ones((1, 1))).next_observations[0, 1])
        """,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert float(result.stdout) == pytest.approx(0.2)


def test_a_worker_ends_with_a_parent_that_is_killed(tmp_path):
    """The worker holds the standard output, so that reading it to its end waits for the worker's."""
    result = script(
        tmp_path,
        f"""
        import os, signal
        from ilfo.envs import Environments

        environments = Environments({LEDGE!r}, workers=1)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    assert result.returncode == -signal.SIGKILL
    assert result.stderr == ""


def test_a_worker_does_without_pytorch():
    code = "import sys, ilfo.envs._worker; print(*sorted({'torch', 'matplotlib', 'tyro', 'rich'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""
