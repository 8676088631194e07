"""Whose episodes are recorded: callables of the user's own, and where scripted experts come from."""

import importlib.util
import inspect

import numpy as np
import pytest
import torch

from ilfo._tools.errors import InputError
from ilfo.experts import own_policy, scripted_policy


@pytest.mark.parametrize("name", ["own_policies:walk", "own_policies:walker"])
def test_functions_and_instances_act_on_observations_alone(name):
    policy = own_policy(name)
    np.testing.assert_array_equal(policy(np.zeros((3, 2), np.float32), np.zeros(3)), np.full((3, 1), 0.5))


def test_a_function_that_says_nothing_of_its_arguments_is_tried():
    with pytest.raises(ValueError, match="no signature"):
        inspect.signature(torch.tanh)
    own_policy("torch:tanh")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("walk", "no policy is called 'walk'; name it 'module:name'"),
        (":walk", "no policy is called ':walk'; name it 'module:name'"),
        (".own_policies:walk", "no policy is called '.own_policies:walk'; name it 'module:name'"),
        ("own_policies:", "no policy is called 'own_policies:'; name it 'module:name'"),
        ("no_such_module:walk", "there is no module 'no_such_module'"),
        ("own_policies:wlk", "has no 'wlk'; did you mean 'walk'"),
        ("own_policies:Walker", "is a class; expected a function of observations.*name an instance that can be called"),
        ("own_policies:speed", "is a float; expected a function"),
        ("own_policies:factory", r"cannot be called with observations alone \(too many positional arguments\)"),
    ],
)
def test_what_is_no_policy_is_refused(name, message):
    with pytest.raises(InputError, match=message):
        own_policy(name)


@pytest.mark.skipif(importlib.util.find_spec("metaworld") is not None, reason="Meta-World is installed")
def test_says_which_extra_brings_the_scripted_experts():
    with pytest.raises(InputError, match=r"ilfo\[metaworld\]"):
        scripted_policy("ilfo.metaworld:MetaWorld/reach-v3")


def test_an_environment_without_a_scripted_expert_is_refused():
    with pytest.raises(InputError, match=r"'Hopper-v5' has no scripted expert.*MetaWorld/reach-v3"):
        scripted_policy("Hopper-v5")
