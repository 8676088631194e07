"""Ctrl-C that waits for a good moment, and a second one that does not."""

import os
import signal
import threading

import pytest

from ilfo._tools.interruption import Interruption, interruptible

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def press(number=signal.SIGINT):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_sets_a_mark_and_says_what_a_second_one_does(number, capfd):
    before = [signal.getsignal(each) for each in SIGNALS]
    with interruptible() as interruption:
        assert not interruption
        press(number)
        assert interruption
        assert not interruption.at_once
    assert [signal.getsignal(each) for each in SIGNALS] == before
    said = capfd.readouterr().err
    assert ("Ctrl-C again stops at once, without saving" in said) == (number == signal.SIGINT), "who sits at a keyboard"


def test_nobody_is_told_of_a_second_one_that_would_wait_too(capfd):
    with interruptible(at_once=False):
        press()
    assert capfd.readouterr().err == "\nilfo: stopping as soon as everything is saved\n"


@pytest.mark.parametrize("first", SIGNALS)
def test_ctrl_c_after_that_interrupts_wherever_the_process_is(first):
    before = [signal.getsignal(each) for each in SIGNALS]
    with interruptible() as interruption:
        press(first)
        with pytest.raises(KeyboardInterrupt):
            press()
        assert interruption.at_once
        assert [signal.getsignal(each) for each in SIGNALS] == before


@pytest.mark.parametrize("first", SIGNALS)
def test_a_second_sigterm_leaves_the_time_to_save(first):
    with interruptible() as interruption:
        press(first)
        press(signal.SIGTERM)
        press(signal.SIGTERM)
        assert interruption == Interruption(wanted=True)


def test_signals_are_left_to_the_main_thread():
    before = [signal.getsignal(each) for each in SIGNALS]
    found = []

    def look():
        with interruptible() as interruption:
            found.extend([interruption, [signal.getsignal(each) for each in SIGNALS]])

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [Interruption(), before]
