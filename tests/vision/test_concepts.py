import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ilfo._tools.errors import InputError
from ilfo.vision import ConceptOptions, Concepts, find_concepts

SALIENCIES = np.array([0.2, 0.01, 0.9], np.float32)
"""Of three kinds of patches: a concept, background, another concept."""


def patches(images=8, each=20, noise=0.05):
    """Patches of three kinds, the last of which is in every other image only; of each its kind, too."""
    generator = np.random.default_rng(0)
    kinds = np.tile(np.repeat([0, 1, 2], each), (images, 1))
    kinds[::2][kinds[::2] == 2] = 1
    directions = np.linalg.qr(generator.normal(size=(6, 3)))[0].T
    found = directions[kinds] + noise * generator.normal(size=(*kinds.shape, 6))
    found /= np.linalg.norm(found, axis=-1, keepdims=True)
    return found.astype(np.float32), SALIENCIES[kinds], directions


def test_background_is_dropped_and_the_most_salient_comes_first():
    descriptors, saliency, directions = patches()
    concepts = find_concepts(descriptors, saliency, ConceptOptions(k=3, votes=0.5))
    assert (len(concepts), concepts.clusters) == (2, 3)
    np.testing.assert_allclose(concepts.saliency, [0.9, 0.2], rtol=1e-5)
    assert concepts.votes.tolist() == [0.5, 1.0]
    expected = torch.from_numpy(directions[[2, 0]]).float()
    assert F.cosine_similarity(concepts.centroids, expected).min() > 0.99
    torch.testing.assert_close(concepts.centroids.norm(dim=1), torch.ones(2))


def test_a_concept_needs_its_share_of_the_images():
    descriptors, saliency, directions = patches()
    concepts = find_concepts(descriptors, saliency, ConceptOptions(k=3))
    assert len(concepts) == 1
    assert float(concepts.centroids[0] @ torch.from_numpy(directions[0]).float()) > 0.99
    assert len(find_concepts(descriptors, saliency, ConceptOptions(k=3, votes=0.0))) == 3


def test_the_elbow_is_the_first_number_of_clusters_that_barely_helps():
    """Groups whose points are all but equal: until each has its cluster, one more helps a lot."""
    descriptors, saliency, _ = patches(noise=1e-4)
    strict = find_concepts(descriptors, saliency, ConceptOptions(elbow=0.5, votes=0.0))
    assert strict.clusters == 4
    assert find_concepts(descriptors, saliency, ConceptOptions(max_k=2, votes=0.0)).clusters == 2
    assert find_concepts(descriptors, saliency, ConceptOptions(elbow=0.0, votes=0.0)).clusters == 2


def test_the_same_seed_finds_the_same():
    descriptors, saliency, _ = patches(noise=0.5)
    one, other = (find_concepts(descriptors, saliency, ConceptOptions(k=7, votes=0.0)) for _ in range(2))
    assert torch.equal(one.centroids, other.centroids)
    third = find_concepts(descriptors, saliency, ConceptOptions(k=7, votes=0.0, seed=1))
    assert not torch.equal(one.centroids, third.centroids)


def test_a_state_restores_them():
    descriptors, saliency, _ = patches()
    concepts = find_concepts(descriptors, saliency, ConceptOptions(k=3, votes=0.5))
    restored = Concepts.from_state_dict(concepts.state_dict())
    for name in ("centroids", "saliency", "votes"):
        assert torch.equal(getattr(restored, name), getattr(concepts, name))
    assert restored.clusters == 3


def test_no_concept_at_all_is_an_error_that_says_how_close_it_was():
    descriptors, saliency, _ = patches()
    with pytest.raises(InputError, match=r"all 3 clusters .* the best is foreground in 0% of 8 images"):
        find_concepts(descriptors, saliency / 20, ConceptOptions(k=3))


def test_more_clusters_than_patches_are_refused():
    descriptors, saliency, _ = patches(images=1, each=2)
    with pytest.raises(InputError, match=r"6 patches cannot make 15 clusters.*max_k"):
        find_concepts(descriptors, saliency)


@pytest.mark.parametrize(
    "option",
    [{"k": 0}, {"max_k": 0}, {"fit_frames": 0}, {"votes": 1.5}, {"elbow": -1.0}, {"seed": -1}, {"seed": 2**32}],
)
def test_options_out_of_range_are_refused(option):
    with pytest.raises(InputError, match=next(iter(option))):
        ConceptOptions(**option)
