"""Strongest pictures: what a full sort finds, in a small file that nothing can be hidden in."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from sge_viz.capture import capture
from sge_viz.images import open_picture, prepare
from sge_viz.maps import concentration
from sge_viz.statistics import RANKINGS, BadIndex, Index, make_index, read_folder
from sge_viz.statistics.layer import Pictures
from sge_viz.statistics.signals import signals
from sge_viz.statistics.strongest import NOBODY, Strongest
from tests.survey_example import run, small_network, write_pictures

GROUPS = 3


def features(count, ties):
    """Random features and gates; rounded so coarsely, if asked, that many pictures tie."""
    rng = np.random.default_rng(2)
    if ties:
        x = rng.integers(0, 3, (count, GROUPS, 4, 5)).astype(np.float32)
        gate = rng.choice([0.25, 0.5, 1.0], (count, GROUPS, 4, 5)).astype(np.float32)
    else:
        x = rng.standard_normal((count, GROUPS * 2, 4, 5)).astype(np.float32)
        gate = rng.uniform(0, 1, (count, GROUPS, 4, 5)).astype(np.float32)
    return signals(torch.from_numpy(x), torch.from_numpy(gate), GROUPS)


def brute_force(of, k):
    """Score every picture and sort all of them."""
    before, after = of.norms.double().flatten(2), of.after.double().flatten(2)

    def stand(maps):
        mean = maps.mean(-1)
        return torch.where(mean > 0, maps.amax(-1) / mean, torch.ones_like(mean))

    score = {
        "before": before.amax(-1),
        "after": after.amax(-1),
        "lift": stand(after) / stand(before),
        "concentration": concentration(of.after.double()),
    }
    found = {}
    for name, table in score.items():
        values = table.numpy()
        for group in range(GROUPS):
            order = sorted(range(len(values)), key=lambda i: (-values[i, group], i))[:k]
            maps = (before if name == "before" else after).numpy()
            cells = [int(maps[i, group].argmax()) for i in order]
            found[name, group] = (values[order, group], order, cells)
    return found


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("k", [1, 9])
def test_a_thousand_pictures_against_a_full_sort(ties, k):
    of = features(1000, ties)
    parts, start = [Strongest(k, GROUPS), Strongest(k, GROUPS)], 0
    for turn, size in enumerate([3, 200, 1, 296, 500]):
        part = slice(start, start + size)
        some = type(of)(of.norms[part], of.sums[part], of.gate[part], of.channels)
        parts[turn % 2].add(some, Pictures(np.arange(1000)[part], np.zeros(size, int)))
        start += size
    parts[1].absorb(parts[0])
    kept = parts[1]
    for (name, group), (values, order, cells) in brute_force(of, k).items():
        row = list(RANKINGS).index(name)
        np.testing.assert_array_equal(kept.place[row, group], order, f"{name} {group}")
        np.testing.assert_array_equal(kept.score[row, group], values)
        np.testing.assert_array_equal(kept.cell[row, group], cells)


def test_fewer_pictures_than_places():
    of = features(2, False)
    kept = Strongest(5, GROUPS)
    kept.add(of, Pictures(np.arange(2), np.zeros(2, int)))
    assert (kept.place[..., :2] < 2).all() and (kept.place[..., 2:] == NOBODY).all()


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    write_pictures(folder, {"ant": 5, "bee": 6})
    network = small_network()
    outcome = run(folder, None, network=network)
    found = read_folder(folder)
    return network, found, make_index(network, found, outcome, thumbnails=32, maps=True)


def test_hits_know_picture_place_and_maps(indexed):
    network, folder, index = indexed
    assert list(index.layers) == ["first", "second"] and index.k == 3
    assert index.groups("second") == 8 and index.classes == ("ant", "bee")
    for ranking in RANKINGS:
        hits = index.strongest("second", 5, ranking)
        assert [hit.rank for hit in hits] == [0, 1, 2]
        assert sorted((hit.score for hit in hits), reverse=True) == [hit.score for hit in hits]
    best = index.strongest("second", 5, "after", k=1)[0]
    assert best.class_name == best.path.split("/")[0] and best.image().size == (32, 32)
    with torch.inference_mode(), capture(network) as seen:
        network(prepare(open_picture(folder.root / best.path)).tensor)
    real = seen["second"]
    np.testing.assert_allclose(best.before, real.before[0, 5].numpy(), rtol=1e-3)
    np.testing.assert_allclose(best.after, real.after[0, 5].numpy(), rtol=2e-3)
    y, x = best.cell
    assert best.box == (x / 7, y / 7, (x + 1) / 7, (y + 1) / 7)
    assert real.after[0, 5, y, x] == real.after[0, 5].max()
    assert best.score == pytest.approx(float(real.after[0, 5].max()), rel=1e-6)
    assert len(index.tiles("first", "lift")) == 4


def test_preferred_classes_are_the_classes_means(indexed):
    network, folder, index = indexed
    peaks = []
    with torch.inference_mode(), capture(network, "second") as seen:
        for path in folder.paths:
            network(prepare(open_picture(folder.root / path)).tensor)
            peaks.append(float(seen["second"].after[0, 2].max()))
    peaks = np.array(peaks)
    liked = index.preferred_classes("second", 2)
    assert {p.name for p in liked} == {"ant", "bee"} and liked[0].lift >= liked[1].lift
    for preference in liked:
        of = peaks[folder.labels == folder.classes.index(preference.name)]
        assert preference.mean == pytest.approx(of.mean(), rel=1e-6)
        lift = (of.mean() - peaks.mean()) / peaks.std()
        assert preference.lift == pytest.approx(lift, rel=1e-4, abs=1e-6)


def test_the_file_brings_everything_back(indexed, tmp_path):
    _, folder, index = indexed
    index.save(tmp_path / "index.npz")
    again = Index.load(tmp_path / "index.npz")
    assert again.provenance == json.loads(json.dumps(index.provenance))
    assert str(folder.root) not in json.dumps(again.provenance)
    for layer in index.layers:
        for ranking in RANKINGS:
            for group in range(index.groups(layer)):
                ours, theirs = (i.strongest(layer, group, ranking) for i in (index, again))
                for one, other in zip(ours, theirs, strict=True):
                    assert (one.path, one.score, one.cell) == (other.path, other.score, other.cell)
                    assert one.thumbnail == other.thumbnail
                    np.testing.assert_array_equal(one.gate, other.gate)


def test_thumbnails_and_maps_are_by_choice(indexed, tmp_path):
    network, folder, index = indexed
    bare = make_index(network, folder, run(folder.root, None, network=network), thumbnails=0)
    bare.save(tmp_path / "bare.npz")
    index.save(tmp_path / "full.npz")
    hit = Index.load(tmp_path / "bare.npz").strongest("first", 0)[0]
    assert hit.thumbnail is None and hit.image() is None and hit.after is None
    assert (tmp_path / "bare.npz").stat().st_size < (tmp_path / "full.npz").stat().st_size


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("layer9", 0), "no layer 'layer9'; it has first, second"),
        (("second", 8), "no group 8: groups go from 0 to 7"),
        (("second", -1), "no group -1"),
        (("second", 0, "loudest"), "no ranking 'loudest': choose before, after"),
    ],
)
def test_what_is_not_there_is_a_sentence(indexed, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        indexed[2].strongest(*arguments)


def damaged(arrays, record, how):
    if how == "escape":
        record["paths"][0] = "../../etc/passwd"
    elif how == "absolute":
        record["paths"][0] = "/etc/passwd"
    elif how == "kind":
        record["kind"] = "something else"
    elif how == "picture":
        arrays["second/picture"] = arrays["second/picture"] + 10**6
    elif how == "cell":
        arrays["second/cell"] = arrays["second/cell"] * 0 - 1
    elif how == "shape":
        arrays["second/score"] = arrays["second/score"][:, :2]
    elif how == "labels":
        arrays["labels"] = arrays["labels"] + 9
    elif how == "maps":
        arrays["second/maps/gate"] = arrays["second/maps/gate"][:1]
    elif how == "thumbnails":
        arrays["thumbnail_ends"] = arrays["thumbnail_ends"][::-1].copy()
    elif how == "missing":
        del arrays["second/mean"]
    elif how == "pickle":
        arrays["second/score"] = np.array([print], dtype=object)
    arrays["record"] = np.frombuffer(json.dumps(record).encode(), np.uint8)


HARM = ["escape", "absolute", "kind", "picture", "cell", "shape", "labels", "maps", "thumbnails"]


@pytest.mark.parametrize("how", [*HARM, "missing", "pickle"])
def test_a_file_with_something_wrong_in_it_is_refused(indexed, tmp_path, how):
    path = tmp_path / "index.npz"
    indexed[2].save(path)
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    damaged(arrays, json.loads(arrays["record"].tobytes()), how)
    np.savez(path, **arrays)
    with pytest.raises(BadIndex, match="not an index of strongest pictures"):
        Index.load(path)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\3\4" + bytes(100), "half", None])
def test_a_file_that_is_no_index_is_refused(indexed, tmp_path, content):
    path = tmp_path / "index.npz"
    if content == "half":
        indexed[2].save(path)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] + bytes(64) + whole[len(whole) // 2 + 64 :])
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(BadIndex, match=r"index\.npz (is not|does not)") as error:
        Index.load(path)
    assert str(tmp_path) not in str(error.value)
