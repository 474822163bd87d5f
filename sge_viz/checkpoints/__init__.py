"""Weights: what exists, where it lies, whether it is whole, and the network made of it.

    model = load_model()                   # the weights that come with the repository
    model = load_model("sge_resnet50")     # a catalogue name
    model = load_model("mine.safetensors") # a path

A checkpoint is called *published* only if its SHA-256 is the catalogue's, or the one recorded when
`fetch` got it under that name, or that of a conversion of such a file; a file's name and what it
says of itself do not count.
"""

from sge_viz.checkpoints.catalogue import Card, Catalogue, find
from sge_viz.checkpoints.conversion import convert
from sge_viz.checkpoints.directory import Available, available, directory, locate
from sge_viz.checkpoints.download import Fetched, fetch
from sge_viz.checkpoints.errors import BadCheckpoint
from sge_viz.checkpoints.load import Checkpoint, inspect, load_model

__all__ = [
    "Available",
    "BadCheckpoint",
    "Card",
    "Catalogue",
    "Checkpoint",
    "Fetched",
    "available",
    "convert",
    "directory",
    "fetch",
    "find",
    "inspect",
    "load_model",
    "locate",
]
