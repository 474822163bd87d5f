"""Memory that is kept: fewer pages are asked of the system."""

from __future__ import annotations

import platform
import subprocess
import sys

from sge_viz.memory import keep_memory

FAULTS = """
import resource
import torch
from sge_viz.memory import keep_memory

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        layers(x)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
layers = torch.nn.Sequential(*(torch.nn.ReLU() for _ in range(4)))
x = torch.rand(10, 2**20)
pages()
usual = pages()
assert keep_memory()
pages()
pages()
print(usual, pages())
"""


def test_pages_are_kept_from_feature_map_to_feature_map():
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    usual, kept = map(int, done.stdout.split())
    assert usual > 1000 and kept < usual / 10


def test_it_says_whether_it_is_in_force(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("musl", "1.2"))
    assert keep_memory() is False
