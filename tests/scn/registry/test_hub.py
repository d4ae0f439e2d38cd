"""Records for Hugging Face and OpenModelDB, and uploading, to a server on this machine that speaks what is needed."""

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from scn.cli import app
from scn.core.errors import UserError
from scn.registry.hub import described, hugging_face_card, push
from scn.registry.publish import publish

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def published(small_project: Any) -> Any:
    """A project with dn-s25@v1."""
    small_project.add_model("dn-s25")
    small_project.add_metrics("dn-s25", psnr=30.0)
    publish(small_project.params, "dn-s25")
    return small_project


def command(project: Any, *arguments: str) -> None:
    app(["models", *arguments, "--params", str(project.params.path)], standalone_mode=False)


def test_hugging_face_reads_the_card_and_its_figures(published: Any, capsys: pytest.CaptureFixture[str]) -> None:
    command(published, "record", "dn-s25", "--license", "cc-by-nc-4.0")
    text = capsys.readouterr().out
    head, body = text.removeprefix("---\n").split("---\n", 1)
    about = yaml.safe_load(head)
    (results,) = about.pop("model-index")
    assert about == {
        "license": "cc-by-nc-4.0",
        "library_name": "scn",
        "pipeline_tag": "image-to-image",
        "tags": ["denoising", "scn", "image-restoration"],
        "metrics": ["psnr", "ssim"],
    }
    (result,) = results["results"]
    assert result["task"] == {"type": "image-to-image", "name": "denoising, dn-grey-v1"}
    assert [(each["name"], each["value"]) for each in result["metrics"]] == [
        *[("PSNR", 31.5), ("SSIM", 0.815)],
        *[("PSNR, self-ensemble", 31.75), ("SSIM, self-ensemble", 0.8175)],
    ]
    assert body.startswith("\n# dn-s25: denoising, sigma 25\n")
    huggingface_hub = pytest.importorskip("huggingface_hub", reason="needs the extra hub: pip install 'scn[hub]'")
    read = huggingface_hub.ModelCard(text).data
    assert (read.license, read.library_name, read.pipeline_tag) == ("cc-by-nc-4.0", "scn", "image-to-image")
    assert [(each.dataset_name, each.metric_type, each.metric_value) for each in read.eval_results][:2] == [
        ("sample/evaluation", "psnr", 31.5),
        ("sample/evaluation", "ssim", 0.815),
    ]


def test_a_model_that_was_imported_has_the_name_that_it_is_published_under(
    small_project: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = small_project.add_model("dn-s25") / "config.json"
    config = json.loads(path.read_bytes())
    del config["experiment"]
    path.write_text(json.dumps(config))
    small_project.add_metrics("dn-s25")
    assert described(path.parent).name == "dn-s25"
    publish(small_project.params, "dn-s25")
    command(small_project, "record", "dn-s25")
    (index,) = yaml.safe_load(capsys.readouterr().out.split("---\n")[1])["model-index"]
    assert index["name"] == "dn-s25"


def test_what_nobody_said_is_not_made_up(small_project: Any) -> None:
    folder = small_project.add_model("sr-x2")
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps({**config, "training_corpora": {"DIV2K/train": "", "DIV2K/x": ""}}))
    about = yaml.safe_load(hugging_face_card(described(folder)).split("---\n")[1])
    assert about["license"] == "other"
    assert about["datasets"] == ["DIV2K"]
    assert "model-index" not in about
    (folder / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"sr-x2 holds no model that can be described \('task'\): publish it again"):
        described(folder)


def test_open_model_db_has_its_fields(published: Any, capsys: pytest.CaptureFixture[str]) -> None:
    about = ["--for", "openmodeldb", "--author", "me", "--url", "https://example.org/m", "--date", "2026-11-29"]
    command(published, "record", "dn-s25@v1", *about)
    record = json.loads(capsys.readouterr().out)
    weights = (published.root / "models" / "dn-s25" / "model.safetensors").read_bytes()
    assert record.pop("description").startswith("# dn-s25: denoising, sigma 25\n")
    assert record.pop("resources") == [
        {
            **{"platform": "pytorch", "type": "safetensors", "size": len(weights)},
            **{"sha256": hashlib.sha256(weights).hexdigest(), "urls": ["https://example.org/m"]},
        }
    ]
    assert record == {
        **{"name": "SCN dn-s25", "author": "me", "license": None, "tags": ["denoise", "photo", "research"]},
        **{"date": "2026-11-29", "architecture": "scn", "size": None, "scale": 1},
        **{"inputChannels": 1, "outputChannels": 1, "images": []},
    }
    with pytest.raises(UserError, match="names an author and where the weights lie: add --author and --url"):
        command(published, "record", "dn-s25", "--for", "openmodeldb")
    with pytest.raises(UserError, match="'hugingface' is no known site: did you mean 'huggingface'"):
        command(published, "record", "dn-s25", "--for", "hugingface")


class Hub(ThreadingHTTPServer):
    """The few answers of Hugging Face that an upload needs; weights go by LFS, as there."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[str] = []
        self.tokens: set[str | None] = set()
        self.created: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}
        self.uploaded: dict[str, bytes] = {}
        self.summary = ""
        self.refuses = False


class Answers(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, content: Any, status: int = 200) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def do_PUT(self) -> None:  # the base class's name
        data = self.body()
        self.server.uploaded[hashlib.sha256(data).hexdigest()] = data
        self.answer({})

    def do_POST(self) -> None:  # the base class's name
        hub, body, path = self.server, self.body(), self.path.partition("?")[0]
        hub.asked.append(path)
        hub.tokens.add(self.headers.get("Authorization"))
        if hub.refuses:
            self.answer({"error": "You may not write here."}, 403)
        elif path == "/api/repos/create":
            hub.created = json.loads(body)
            self.answer({"url": f"{hub.address}/me/model", "name": "me/model", "id": "0"})
        elif path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif path == "/api/models/me/model/preupload/main":
            modes = {file["path"]: file["path"].endswith(".safetensors") for file in json.loads(body)["files"]}
            found = [
                {"path": name, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False, "oid": None}
                for name, lfs in modes.items()
            ]
            self.answer({"files": found})
        elif path == "/me/model.git/info/lfs/objects/batch":
            actions = {"upload": {"href": f"{hub.address}/put", "header": {}}}
            self.answer({"objects": [{**each, "actions": actions} for each in json.loads(body)["objects"]]})
        elif path == "/api/models/me/model/commit/main":
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "header":
                    hub.summary = value["summary"]
                elif line["key"] == "file":
                    hub.files[value["path"]] = base64.b64decode(value["content"])
                else:
                    hub.files[value["path"]] = hub.uploaded[value["oid"]]
            self.answer({"success": True, "commitOid": "0" * 40, "commitUrl": f"{hub.address}/me/model/commit/0"})
        else:
            self.answer({"error": f"no {path} here"}, 404)


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def upload(project: Any, hub: Hub, home: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs `scn models push`, in a process of its own, as huggingface_hub reads its settings once."""
    pytest.importorskip("huggingface_hub", reason="needs the extra hub: pip install 'scn[hub]'")
    settings = {"HF_ENDPOINT": hub.address, "HF_TOKEN": "hf_secret", "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    call = [sys.executable, "-m", "scn.cli", "models", "push", "dn-s25", "hf://me/model", *options]
    environment = {**os.environ, **settings, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
    return subprocess.run(call, cwd=project.root, env=environment, capture_output=True, text=True, timeout=300)


def test_a_version_is_uploaded_as_one_commit(published: Any, hub: Hub, tmp_path: Path) -> None:
    done = upload(published, hub, tmp_path / "hf", "--private")
    assert (done.returncode, done.stdout) == (0, f"{hub.address}/me/model/commit/0\n"), done.stderr
    folder = published.root / "models" / "dn-s25"
    assert sorted(hub.files) == ["README.md", "config.json", "metrics.json", "model.safetensors"]
    assert hub.files["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert json.loads(hub.files["config.json"]) == json.loads((folder / "config.json").read_bytes())
    assert b"\npipeline_tag: image-to-image\n" in hub.files["README.md"]
    assert hub.summary == "dn-s25 v1"
    assert (hub.created["name"], hub.created["organization"]) == ("model", "me")
    assert hub.created.get("visibility") == "private" or hub.created.get("private") is True
    assert hub.tokens == {"Bearer hf_secret"}
    assert "/api/validate-yaml" in hub.asked


def test_a_refusal_is_one_sentence(published: Any, hub: Hub, tmp_path: Path) -> None:
    hub.refuses = True
    done = upload(published, hub, tmp_path / "hf")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("scn: hf://me/model: the model can't be uploaded (")
    assert line.endswith("): check the name and the token (HF_TOKEN, or hf auth login).")
    assert "hf_secret" not in line
    assert not hub.files


def test_what_is_missing_is_told(published: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = described(published.root / "models" / "dn-s25")
    for target in ("me/model", "hf://model", "hf://me/model/x", "s3://me/model"):
        with pytest.raises(UserError, match=r"is no repository of Hugging Face: name one, as hf://OWNER/NAME"):
            push(model, target)
    monkeypatch.setattr("scn.registry.hub.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package huggingface_hub: .* pip install 'scn\[hub\]'"):
        push(model, "hf://me/model")
