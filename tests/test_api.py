"""The page's endpoints as gradio_client sees them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import requests
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

ASSETS = Path(__file__).resolve().parents[1] / "assets"


@pytest.fixture(scope="module")
def client(served):
    return Client(served[1], verbose=False)


@pytest.fixture
def dog():
    return handle_file(ASSETS / "dog.jpg")


def test_every_endpoint_has_a_readable_name_a_description_and_named_parameters(client):
    endpoints = client.view_api(return_format="dict", print_info=False)
    assert not endpoints["unnamed_endpoints"]
    assert set(endpoints["named_endpoints"]) == {
        "/checkpoints",
        "/layers",
        "/explain",
        "/group_maps",
        "/groups_grid",
        "/group_figure",
        "/histogram",
        "/figure2",
        "/arrays",
    }
    for endpoint in endpoints["named_endpoints"].values():
        assert endpoint["description"].endswith(".")
        for parameter in endpoint["parameters"]:
            assert not parameter["parameter_name"].startswith("param_")
            assert parameter["example_input"] not in (None, "Hello!!")


def test_explain_and_group_maps_agree_with_the_arrays(client, dog):
    answer = client.predict(picture=dog, layer="layer4.2", api_name="/explain")
    assert len(answer["predictions"]) == 5
    assert len(answer["groups"]) == 64
    assert answer["manifest"]["layer_title"] == "layer4.2: stage 5 (conv5_x), 7x7"
    maps = client.predict(picture=dog, layer="layer4.2", group=63, api_name="/group_maps")
    with np.load(client.predict(picture=dog, layer="layer4.2", api_name="/arrays")) as arrays:
        np.testing.assert_allclose(maps["after"], arrays["after"][63], rtol=1e-6)
        assert json.loads(str(arrays["manifest"])) == answer["manifest"]
    assert answer["groups"][63]["gate_contrast"] == pytest.approx(maps["gate_contrast"])


def test_layers_are_told_with_both_names_and_their_sizes(client, dog):
    layers = client.predict(picture=dog, size="320", api_name="/layers")
    assert [entry["layer"] for entry in layers][-4:] == [
        "layer3.5",
        "layer4.0",
        "layer4.1",
        "layer4.2",
    ]
    assert layers[-4]["title"].startswith("layer3.5: stage 4 (conv4_x), ")
    rows, columns = layers[-4]["map_size"]
    assert layers[-4]["groups"] == 64 and f"{rows}x{columns}" in layers[-4]["title"]


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_figures_come_in_the_kind_asked_for(client, dog, kind):
    magic = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[kind]
    files = [
        client.predict(picture=dog, group=3, kind=kind, api_name="/group_figure"),
        client.predict(picture=dog, which="one", group=3, kind=kind, api_name="/histogram"),
        client.predict(pictures=[dog], groups="3, 5", kind=kind, api_name="/figure2"),
    ]
    for file in files:
        assert Path(file).read_bytes().startswith(magic)


@pytest.mark.parametrize("group", [-1, 64, "a", 17.5, None, True, [], "NaN", "1e400"])
def test_a_group_that_does_not_exist_is_refused(client, dog, group):
    with pytest.raises(AppError, match="There is no group"):
        client.predict(picture=dog, group=group, api_name="/group_maps")


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"layer": "layer9.9"}, "no layer 'layer9.9'"),
        ({"checkpoint": "nobody"}, "no weights named 'nobody'"),
        ({"checkpoint": "../README.md"}, "no weights named"),
        ({"size": "225"}, "multiple of 32"),
        ({"size": "nan"}, "not known"),
        ({"picture": None}, "Choose a picture"),
        ({"picture": handle_file(__file__)}, "not a picture"),
    ],
)
def test_what_does_not_exist_is_refused_with_its_sentence(client, dog, setting, sentence):
    with pytest.raises(AppError, match=sentence):
        client.predict(**({"picture": dog, "api_name": "/explain"} | setting))


def test_a_file_outside_the_uploads_cannot_be_read(served):
    """A client may not name a path of the server as its picture."""
    file = {"path": str(ASSETS.parent / "README.md"), "meta": {"_type": "gradio.FileData"}}
    request = {"data": [file, "x", "layer3.5", "published"], "session_hash": "thief"}
    answer = requests.post(f"{served[1]}gradio_api/call/explain", json=request, timeout=30)
    if answer.ok:
        event = answer.json()["event_id"]
        stream = f"{served[1]}gradio_api/call/explain/{event}"
        assert "event: error" in requests.get(stream, timeout=30).text


def test_the_plain_run_endpoint_and_the_monitoring_page_are_closed(served):
    run = requests.post(f"{served[1]}gradio_api/run/checkpoints", json={"data": []}, timeout=30)
    assert run.status_code in (403, 404)
    assert requests.get(f"{served[1]}monitoring", timeout=30).status_code in (403, 404)


def test_an_upload_over_the_limit_is_refused(served):
    files = {"files": ("large.png", b"\x89PNG" + b"0" * (11 * 2**20))}
    answer = requests.post(f"{served[1]}gradio_api/upload", files=files, timeout=60)
    assert answer.status_code == 413
