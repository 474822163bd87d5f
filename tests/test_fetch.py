"""Downloads, against a server that does what real ones do: break off, forget, refuse, deceive."""

import errno
import itertools
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
import torch
from checkpoint_files import save_legacy
from file_server import LIMIT
from filelock import FileLock
from safetensors.torch import load_file

from sge_viz.checkpoints import BadCheckpoint, Catalogue, available, convert, fetch, load_model
from sge_viz.checkpoints import download as downloading
from sge_viz.checkpoints.files import sha256_of

ROOT = Path(__file__).resolve().parents[1]
FILE = "sge_resnet50.pth"

pytest_plugins = ["checkpoint_fixtures"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty checkpoints directory, and a program that gives up at once."""
    monkeypatch.setenv("SGE_VIZ_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.setattr(downloading, "RETRIES", 0)
    monkeypatch.setattr(downloading, "TIMEOUT", 10)
    return tmp_path / "checkpoints"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """An SGE-ResNet50 in the authors' format (its weights are the bundled ones, 51 MB)."""
    card = Catalogue.SGE_RESNET50_STOPGAP.value
    stored = load_file(ROOT / "checkpoints" / card.file)
    state = {f"module.{name}": tensor for name, tensor in stored.items()}
    content = {"epoch": 100, "state_dict": state, "acc": torch.tensor(77.5), "optimizer": {}}
    path = save_legacy(content, tmp_path_factory.mktemp("web") / "a", from_gpu=True)
    return path.read_bytes()


def left(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def parts(folder):
    return [name for name in left(folder) if name.startswith(FILE) and name.endswith(".part")]


def refused(site, folder, *words, kept=False, **options):
    """Fetch, expect one sentence with these words, and nothing that looks like a checkpoint."""
    before = [name for name in left(folder) if not name.endswith(".part")]
    with pytest.raises(BadCheckpoint) as problem:
        fetch("sge_resnet50", site.url, **options)
    text = str(problem.value)
    assert all(word in text for word in words), text
    assert not re.search(r"Traceback|HTTPConnectionPool|object at|\n", text)
    assert [name for name in left(folder) if not name.endswith(".part")] == before
    assert len(parts(folder)) == kept
    return text


# --- what goes right -----------------------------------------------------------------------------


def test_whole_path(site, folder, published):
    site.content = published
    steps = []
    fetched = fetch("sge_resnet50", site.url, progress=lambda *step: steps.append(step))
    assert fetched.path == folder / FILE and fetched.path.read_bytes() == published
    assert fetched.downloaded and fetched.first_seen
    here, total = zip(*steps, strict=True)
    assert list(here) == sorted(here) and here[-1] == len(published) and set(total) == {here[-1]}
    assert left(folder) == ["hashes.json", FILE]
    assert stat.S_IMODE(fetched.path.stat().st_mode) == 0o644
    record = json.loads((folder / "hashes.json").read_text())["sge_resnet50"]
    assert record["sha256"] == fetched.sha256 == sha256_of(fetched.path)
    assert record["source"] == site.url and re.fullmatch(r"\d{4}-\d\d-\d\d", record["date"])

    card = load_model("sge_resnet50", "cpu").card
    assert card.published and card.top1 == 77.584 and card.sha256 == fetched.sha256
    assert "sge_resnet50" in [entry.name for entry in available()]
    assert load_model(convert("sge_resnet50"), "cpu").card.published

    asked = len(site.asked)
    again = fetch("sge_resnet50", site.url)
    assert (again.downloaded, again.first_seen, again.sha256) == (False, False, fetched.sha256)
    assert len(site.asked) == asked


def test_broken_off_and_continued_within_one_call(site, folder, published, monkeypatch):
    monkeypatch.setattr(downloading, "RETRIES", 1)
    site.content, site.cuts = published, 1
    assert fetch("sge_resnet50", site.url).path.read_bytes() == published
    assert site.asked == [None, f"bytes={LIMIT}-"] and site.sent == len(published)


def test_broken_off_and_continued_by_the_next_call(site, folder, published):
    site.content, site.cuts = published, 1
    refused(site, folder, "127.0.0.1", "1.6 MB are kept", kept=True)
    assert fetch("sge_resnet50", site.url).path.read_bytes() == published
    assert site.asked[-1] == f"bytes={LIMIT}-" and left(folder) == ["hashes.json", FILE]


def test_ctrl_c_keeps_what_has_come(site, folder, published):
    site.content = published

    def stop(here, _):
        if here > LIMIT:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("sge_resnet50", site.url, progress=stop)
    (part,) = parts(folder)
    size = (folder / part).stat().st_size
    assert size > LIMIT and left(folder) == [part]
    assert fetch("sge_resnet50", site.url).path.read_bytes() == published
    assert site.asked[-1] == f"bytes={size}-"


def test_server_that_cannot_continue(site, folder, published):
    site.content, site.cuts, site.ranges = published, 1, False
    refused(site, folder, "are kept", kept=True)
    assert fetch("sge_resnet50", site.url).path.read_bytes() == published
    assert left(folder) == ["hashes.json", FILE]


@pytest.mark.parametrize("heads", [True, False])
def test_a_file_that_changed_meanwhile_is_never_spliced(heads, site, folder, published):
    before = bytearray(published)
    before[LIMIT // 2] ^= 1  # in a tensor: nothing but a hash could tell
    site.content, site.cuts, site.heads = bytes(before), 1 if heads else 2, heads
    refused(site, folder, "are kept", kept=True)
    site.content, site.etag = published, '"2"'
    assert fetch("sge_resnet50", site.url).path.read_bytes() == published
    assert left(folder) == ["hashes.json", FILE]


def sha256(content):
    return downloading.hashlib.sha256(content).hexdigest()


def test_another_address_begins_anew(site, folder, published):
    site.content, site.cuts = os.urandom(len(published)), 1
    refused(site, folder, "are kept", kept=True)
    site.content = published
    assert fetch("sge_resnet50", site.url + "-elsewhere").path.read_bytes() == published
    assert left(folder) == ["hashes.json", FILE]


def test_known_hash_from_a_mirror(site, folder, published):
    site.content = published
    assert fetch("sge_resnet50", site.url, sha256=sha256(published).upper()).downloaded


def test_what_is_recorded_of_a_mirror_holds_no_secret(site, folder, published):
    site.content = published
    secret = site.url.replace("http://", "http://me:word@") + "?token=abc#x"
    fetch("sge_resnet50", secret)
    notes = load_model("sge_resnet50", "cpu").card.notes
    assert site.url in notes and not re.search("word|abc", (folder / "hashes.json").read_text())


def test_bundled_weights_are_there_already():
    fetched = fetch(Catalogue.DEFAULT.value.name)
    assert not fetched.downloaded and fetched.sha256 == Catalogue.DEFAULT.value.sha256


def test_a_file_put_there_by_hand_is_not_called_fetched(site, folder, published):
    folder.mkdir()
    (folder / FILE).write_bytes(published)
    fetched = fetch("sge_resnet50", site.url)
    assert not fetched.downloaded and fetched.first_seen and not site.asked
    assert not load_model("sge_resnet50", "cpu").card.published
    site.content = published
    assert fetch("sge_resnet50", site.url, force=True).downloaded
    assert load_model("sge_resnet50", "cpu").card.published


# --- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_server_refuses(status, site, folder):
    site.status = status
    refused(site, folder, str(status), site.url)


def test_web_page(site, folder):
    site.content, site.kind = b"<!DOCTYPE html><title>Quota exceeded</title>" * 99, "text/html"
    refused(site, folder, FILE, "web page")
    assert left(folder) == []


@pytest.mark.parametrize(
    ("size", "words"), [(0, "empty"), (10_000_000, "truncated or damaged"), (40_000, "truncated")]
)
def test_server_with_a_piece_of_the_file(size, words, site, folder, published):
    site.content = published[:size]
    refused(site, folder, FILE, words)


def test_wrong_hash(site, folder, published):
    site.content = published
    refused(site, folder, "wrong hash", sha256(published), "0" * 64, sha256="0" * 64)
    assert left(folder) == []


def test_another_file_than_the_recorded_one(site, folder, published):
    site.content = published
    first = fetch("sge_resnet50", site.url)
    changed = bytes([published[-4] ^ 1])  # the last number's lowest bits
    site.content, site.etag = published[:-4] + changed + published[-3:], '"2"'
    refused(site, folder, "wrong hash", first.sha256, "hashes.json", force=True)
    assert (folder / FILE).read_bytes() == published


def test_another_network(site, folder, tmp_path):
    state = {
        name: tensor
        for name, tensor in load_file(
            ROOT / "checkpoints" / Catalogue.SGE_RESNET50_STOPGAP.value.file
        ).items()
        if ".sge." not in name
    }
    site.content = save_legacy(state, tmp_path / "a").read_bytes()
    refused(site, folder, "holds ResNet50 without SGE", "SGE-ResNet50, published weights")
    assert left(folder) == []


class Forbidden:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def test_forbidden_object(site, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    site.content = save_legacy({"state_dict": Forbidden()}, tmp_path / "a").read_bytes()
    refused(site, folder, "refused", "system")
    assert left(folder) == [] and not (tmp_path / "pwned").exists()


def test_no_connection_keeps_what_has_come(site, folder, published):
    site.content, site.cuts = published, 1
    refused(site, folder, "1.6 MB are kept", kept=True)
    kept = left(folder)
    url, site.url = site.url, "http://127.0.0.1:9/weights"
    refused(site, folder, "connection to 127.0.0.1 failed", kept=True)
    assert left(folder) == kept
    assert fetch("sge_resnet50", url).path.read_bytes() == published


def test_disk_full(site, folder, published):
    site.content = published

    def full(here, _):
        if here > LIMIT:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    refused(site, folder, "The disk is full", FILE, kept=True, progress=full)
    assert fetch("sge_resnet50", site.url).path.read_bytes() == published
    assert site.asked[-1].startswith("bytes=")


def test_directory_that_cannot_be_written(site, folder):
    folder.write_text("a file")
    with pytest.raises(BadCheckpoint, match=f"{FILE} cannot be written there"):
        fetch("sge_resnet50", site.url)


def test_two_at_once(site, folder):
    folder.mkdir()
    with FileLock(folder / ".fetching.part"):
        refused(site, folder, "Another fetch")
    assert not site.asked


def test_damaged_records_stop_before_the_download(site, folder, published):
    site.content = published
    folder.mkdir()
    (folder / "hashes.json").write_text("[]")
    refused(site, folder, "hashes.json")
    assert not site.asked


@pytest.mark.parametrize(
    "url", ["ftp://example.org/a", "file:///etc/passwd", "weights.pth", "https://"]
)
def test_addresses_that_are_none(url, folder):
    with pytest.raises(BadCheckpoint, match="begins with http"):
        fetch("sge_resnet50", url)


def test_unknown_name(folder):
    with pytest.raises(BadCheckpoint, match="no checkpoint called 'sge_resnet18'"):
        fetch("sge_resnet18")


# --- Google Drive --------------------------------------------------------------------------------

WARNING = """<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head>
<body><p>sge_resnet50.pth.tar (195M) is too large for Google to scan for viruses.</p>
<form id="download-form" action="https://drive.usercontent.google.com/download" method="get">
<input type="submit" value="Download anyway"/><input type="hidden" name="id" value="13HP">
<input type="hidden" name="export" value="download"><input type="hidden" name="confirm" value="t">
</form></body></html>""".replace("\n<input", "<input")
QUOTA = """<html><head><title>Google Drive - Quota exceeded</title></head><body>
<p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently.</p>
</body></html>"""


@pytest.fixture
def drive(site, monkeypatch):
    """A site that stands for Google Drive: every request to Google goes there."""
    base = site.url.removesuffix("/weights")
    real = requests.Session.request

    def redirected(self, method, url, **options):
        google = re.compile(r"https://(drive|docs|drive\.usercontent)\.google\.com")
        assert google.match(url), "only Google may be asked"
        return real(self, method, google.sub(base, url), **options)

    monkeypatch.setattr(requests.Session, "request", redirected)
    site.drive = WARNING
    return site


def test_drive_with_its_warning_page(drive, folder, published):
    drive.content, drive.cuts = published, 1
    with pytest.raises(BadCheckpoint, match=r"drive\.google\.com .*1\.6 MB are kept"):
        fetch("sge_resnet50")
    fetched = fetch("sge_resnet50")
    assert fetched.path == folder / FILE and fetched.path.read_bytes() == published
    assert drive.asked[-1] == f"bytes={LIMIT}-"
    record = json.loads((folder / "hashes.json").read_text())["sge_resnet50"]
    assert record["source"].endswith("id=13HPCjrEle6aFbiCo8Afkr2jJssdNwdRn")


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (QUOTA, "Too many users"),
        ("<html>Sign in</html>", "public link"),
        (WARNING.replace("action", "data-action"), "not known"),
        (WARNING.replace('value="t"', 'value="never"'), "not known"),
    ],
)
def test_drive_that_hands_out_nothing(page, said, drive, folder, monkeypatch):
    monkeypatch.setattr(downloading, "PATIENCE", 0.3)
    drive.drive = page
    with pytest.raises(BadCheckpoint, match=f"did not hand out {FILE}.*{said}.*--url"):
        fetch("sge_resnet50")
    assert left(folder) == []


def test_drive_that_cannot_find_the_file(drive, folder):
    drive.drive, drive.status = "", 404
    with pytest.raises(BadCheckpoint, match=r"drive\.google\.com did not hand out"):
        fetch("sge_resnet50")
    assert left(folder) == []


# --- the command, in a process of its own --------------------------------------------------------


def test_command_stopped_with_ctrl_c_and_run_again(site, folder, published):
    site.content, site.slow = published, 0.1
    command = [sys.executable, "-m", "sge_viz", "checkpoints", "fetch", "sge_resnet50"]
    options = {"cwd": ROOT, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # What a shell runs in the background ignores Ctrl-C, and so would what these tests start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    running = subprocess.Popen([*command, "--url", site.url], **options)
    signal.signal(signal.SIGINT, before)
    for _ in itertools.takewhile(lambda _: site.sent < 3_000_000, range(600)):
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=30)
    assert running.returncode == 130 and "kept" in err and "Traceback" not in err and not out
    assert "sge_resnet50" in err and "MB/s" in err  # the progress bar
    assert len(parts(folder)) == 1 and len(left(folder)) == 1

    site.slow, already = 0.0, site.sent
    done = subprocess.run([*command, "--url", site.url], **options, check=True, timeout=60)
    assert str(folder / FILE) in done.stdout and sha256(published) in done.stdout
    assert "recorded" in done.stdout and left(folder) == ["hashes.json", FILE]
    assert site.asked[-1] is not None and site.sent - already < len(published) + 2_000_000
