"""What the tests of checkpoints start from; each of them names this file in `pytest_plugins`."""

import http.server
import threading
from collections import OrderedDict

import pytest
import torch
import torchvision
from checkpoint_files import save_legacy, train_a_little
from file_server import Handler, Site

from sge_viz import resnet


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty checkpoints directory."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    monkeypatch.setenv("SGE_VIZ_CHECKPOINTS", str(folder))
    return folder


@pytest.fixture(scope="session")
def network():
    """A small SGE-ResNet18 with 8 groups and 7 classes, every tensor with values of its own."""
    torch.manual_seed(1)
    network = resnet.sge_resnet18(num_classes=7, groups=8).eval()
    train_a_little(network)
    return network


@pytest.fixture
def state(network):
    return OrderedDict((name, tensor.clone()) for name, tensor in network.state_dict().items())


@pytest.fixture(scope="session")
def resnet50_file(tmp_path_factory):
    """A whole ResNet50 in half precision, as if the authors had published it."""
    torch.manual_seed(2)
    state = torchvision.models.resnet50().half().state_dict()
    return save_legacy({"state_dict": state}, tmp_path_factory.mktemp("files") / "resnet50.pth")


@pytest.fixture
def site():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.site = Site(url=f"http://127.0.0.1:{server.server_port}/weights")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server.site
    server.shutdown()
    server.server_close()
