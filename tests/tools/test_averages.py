"""Means between two rows of the metrics, of one seed and of several."""

import torch

from ilfo._tools.averages import Averages


def test_means_of_what_every_update_measures():
    averages = Averages()
    for loss in (1.0, 2.0, 6.0):
        averages.add({"loss": torch.tensor(loss)})
    averages.add({"loss": torch.tensor(3.0), "actor_loss": torch.tensor(-1.0)})
    assert averages.read() == [{"loss": 3.0, "actor_loss": -1.0}]


def test_reading_empties():
    averages = Averages(2)
    averages.add({"loss": torch.ones(2)})
    averages.add_own(1, {"train_return": 5.0})
    averages.read()
    assert averages.read() == [{}, {}]
    averages.add({"loss": torch.tensor([3.0, 4.0])})
    assert averages.read() == [{"loss": 3.0}, {"loss": 4.0}]


def test_each_seed_has_its_own_means():
    averages = Averages(3)
    averages.add({"loss": torch.tensor([1.0, 2.0, 3.0])})
    averages.add({"loss": torch.tensor([3.0, 2.0, 5.0])})
    averages.add_own(0, {"train_return": 10.0})
    averages.add_own(0, {"train_return": 20.0})
    averages.add_own(2, {"train_return": 7.0})
    assert averages.read() == [{"loss": 2.0, "train_return": 15.0}, {"loss": 2.0}, {"loss": 4.0, "train_return": 7.0}]


def test_the_first_value_added_is_left_as_it_was():
    averages = Averages()
    first = torch.tensor(1.0)
    averages.add({"loss": first})
    averages.add({"loss": torch.tensor(2.0)})
    assert first == 1.0


def test_what_is_saved_goes_on_to_the_last_bit(tmp_path):
    torch.manual_seed(0)
    losses = torch.randn(40, 2)
    averages, restored = Averages(2), Averages(2)
    for loss in losses[:20]:
        averages.add({"loss": loss})
    averages.add({"actor_loss": torch.tensor([1.0, 2.0])})
    averages.add_own(1, {"train_return": 0.1})
    averages.add_own(1, {"train_return": 0.2})
    torch.save(averages.state_dicts(), tmp_path / "state.pt")
    restored.add({"forgotten": torch.ones(2)})
    restored.load_state_dicts(torch.load(tmp_path / "state.pt", weights_only=True))
    for one in (averages, restored):
        for loss in losses[20:]:
            one.add({"loss": loss})
        one.add_own(0, {"train_return": 0.3})
        one.add_own(1, {"train_return": 0.4})
    assert restored.state_dicts()[1]["own"] == {"train_return": [0.1 + 0.2 + 0.4, 3]}
    found = averages.read()
    assert restored.read() == found
    assert found[0].keys() == {"loss", "actor_loss", "train_return"}


def test_the_state_of_a_seed_is_that_of_the_seed_alone():
    both = Averages(2)
    alone = [Averages(), Averages()]
    for loss in (torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.25])):
        both.add({"loss": loss})
        for member, one in enumerate(alone):
            one.add({"loss": loss[member]})
    both.add_own(1, {"train_return": 3.0})
    alone[1].add_own(0, {"train_return": 3.0})
    again = Averages(2)
    again.load_state_dicts([one.state_dicts()[0] for one in alone])
    assert again.read() == both.read()


def test_the_states_of_seeds_may_be_of_different_moments():
    first, second, both = Averages(), Averages(), Averages(2)
    first.add({"loss": torch.tensor(4.0)})
    both.load_state_dicts([second.state_dicts()[0], first.state_dicts()[0]])
    assert both.read() == [{}, {"loss": 4.0}]
    both.load_state_dicts([first.state_dicts()[0], second.state_dicts()[0]])
    both.add({"loss": torch.tensor(1.0)}, member=1)
    assert both.read() == [{"loss": 4.0}, {"loss": 1.0}]
