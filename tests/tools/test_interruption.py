"""Ctrl-C that waits for a good moment, and a second one that does not."""

import os
import signal
import threading

import pytest

from ilfo._tools.interruption import interruptible

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def press(number=signal.SIGINT):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_sets_a_mark_and_says_what_a_second_one_does(number, capfd):
    before = [signal.getsignal(each) for each in SIGNALS]
    with interruptible() as interrupted:
        assert not interrupted
        press(number)
        assert len(interrupted) == 1
    assert [signal.getsignal(each) for each in SIGNALS] == before
    said = capfd.readouterr().err
    assert ("Ctrl-C again stops at once, without saving" in said) == (number == signal.SIGINT), "who sits at a keyboard"


@pytest.mark.parametrize("first", SIGNALS)
def test_ctrl_c_after_that_interrupts_wherever_the_process_is(first):
    before = [signal.getsignal(each) for each in SIGNALS]
    with interruptible() as interrupted:
        press(first)
        with pytest.raises(KeyboardInterrupt):
            press()
        assert len(interrupted) == 2
        assert [signal.getsignal(each) for each in SIGNALS] == before


@pytest.mark.parametrize("first", SIGNALS)
def test_a_second_sigterm_leaves_the_time_to_save(first):
    with interruptible() as interrupted:
        press(first)
        press(signal.SIGTERM)
        press(signal.SIGTERM)
        assert len(interrupted) == 1


def test_signals_are_left_to_the_main_thread():
    before = [signal.getsignal(each) for each in SIGNALS]
    found = []

    def look():
        with interruptible() as interrupted:
            found.extend([list(interrupted), [signal.getsignal(each) for each in SIGNALS]])

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [[], before]
