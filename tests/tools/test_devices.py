"""A GPU that is not there is refused, by the flag that asked for it."""

import pytest
import torch

from ilfo._tools.devices import check_device
from ilfo._tools.errors import InputError


@pytest.mark.parametrize("kind", [str, torch.device])
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_there_is_refused(monkeypatch, kind, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    check_device(kind("cpu"))
    with pytest.raises(InputError, match=rf"--device {name}: .* sees no GPU; use --device cpu"):
        check_device(kind(name))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check_device(kind(name))
