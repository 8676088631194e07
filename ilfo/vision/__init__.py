"""Vision: from frames to keypoints, found among the patches of a frozen vision transformer."""

from ilfo.vision.backbones import Backbone
from ilfo.vision.concepts import ConceptOptions, Concepts, find_concepts
from ilfo.vision.descriptors import DescriptorOptions, Patches, describe_patches
from ilfo.vision.drawing import draw_keypoints
from ilfo.vision.encoding import EncodingPlan, encode, plan_encoding
from ilfo.vision.keypoints import LocationOptions, locate, similarity_maps
from ilfo.vision.loading import build_tiny, load_backbone

__all__ = [
    "Backbone",
    "ConceptOptions",
    "Concepts",
    "DescriptorOptions",
    "EncodingPlan",
    "LocationOptions",
    "Patches",
    "build_tiny",
    "describe_patches",
    "draw_keypoints",
    "encode",
    "find_concepts",
    "load_backbone",
    "locate",
    "plan_encoding",
    "similarity_maps",
]
