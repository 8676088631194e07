import numpy as np
import pytest

from ilfo._tools.errors import InputError
from ilfo._tools.marks import Marks, split_marks
from ilfo.variants import KINDS, Variant, split_id


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_says_all_of_a_variant(kind):
    variant = Variant(kind, 12, "unseen")
    assert Variant.named(str(variant)) == variant
    assert split_id(f"module:Space/Name-v3@{variant}") == ("module:Space/Name-v3", variant)
    for limited in (f"Name-v3@90-steps@{variant}", f"Name-v3@{variant}@90-steps"):
        assert split_id(limited) == ("Name-v3", variant)
        assert split_marks(limited) == (f"Name-v3@{variant}", Marks(steps=90))
    everything = f"Name-v3@seed-0@{variant}@no-shadows@90-steps"
    assert split_id(everything) == ("Name-v3", variant)
    plain, marks = split_marks(everything)
    assert split_marks(f"{plain}{marks}") == (f"Name-v3@{variant}", Marks(steps=90, seed=0, shadows=False))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("colour-seen-0", "did you mean 'colours'"),
        ("colours-unsean-0", "did you mean 'unseen'"),
        ("colours-seen", "KIND-SPLIT-INDEX"),
        ("colours-seen--1", "KIND-SPLIT-INDEX"),
        ("colours-seen-1-v5", "KIND-SPLIT-INDEX"),
        ("", "KIND-SPLIT-INDEX"),
    ],
)
def test_a_name_that_is_none_is_refused(name, words):
    with pytest.raises(InputError, match=words):
        split_id(f"HalfCheetah-v5@{name}")


def test_a_negative_index_is_refused():
    with pytest.raises(InputError, match="expected 0 or more"):
        Variant("lights", -1)


def test_every_variant_draws_its_own_numbers_again_and_again():
    variants = [Variant(kind, index, split) for kind in KINDS for index in (0, 1) for split in ("seen", "unseen")]
    drawn = [tuple(variant.draw().random.uniform(size=3)) for variant in variants]
    assert len(set(drawn)) == len(variants)
    assert drawn == [tuple(variant.draw().random.uniform(size=3)) for variant in variants]


def test_ranges_and_options_are_those_of_the_split():
    seen, unseen = Variant("camera", 0).draw(), Variant("camera", 0, "unseen").draw()
    for draw, low, options in ((seen, 0, "ab"), (unseen, 5, "xyz")):
        numbers = draw.between(seen=(0, 1), unseen=(5, 6), size=200)
        assert low <= numbers.min() < low + 0.1
        assert low + 0.9 < numbers.max() <= low + 1
        assert {draw.one_of(seen="ab", unseen="xyz") for _ in range(100)} == set(options)
    assert np.ndim(seen.between((0, 1), (2, 3))) == 1


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("200-step", "; did you mean '200-steps'?"),
        ("steps-200", "; did you mean '200-steps'?"),
        ("0-step", "; did you mean '200-steps'?"),
        ("repeat3", "; did you mean 'repeat-3'?"),
        ("seeds-7", "; did you mean 'seed-7'?"),
        ("no_shadows", "; did you mean 'no-shadows'?"),
        ("blue", "'no-shadows')"),
    ],
)
def test_a_mark_that_is_misspelled_is_told_apart_from_a_variant(name, meant):
    with pytest.raises(InputError) as refused:
        Variant.named(name)
    assert str(refused.value).endswith(meant)
