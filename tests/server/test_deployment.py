"""The deployment examples: valid files, and two servers with their options and one PostgreSQL database."""

import http.client
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import check_jsonschema
import jsonschema
import kubernetes_validate
import pytest
import yaml
from postgres_server import PostgresServer
from psycopg.conninfo import conninfo_to_dict
from typer.main import get_command

from reprise.cli.main import app
from reprise.server.http.auth import add_key
from reprise.server.http.routes import HEALTH_PATHS
from reprise.testing.server_process import HOST, ServerProcess, free_port

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
OLDEST, NEWEST = "1.30", "1.37"
"""Versions of Kubernetes; the action `sleep` of `preStop` is on by default since the oldest."""
KEYS = "/run/secrets/keys.toml"
MANIFESTS = {
    (manifest["kind"], manifest["metadata"]["name"]): manifest
    for file in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for manifest in yaml.safe_load_all(file.read_text(encoding="utf-8"))
}
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
POD = MANIFESTS["Deployment", "reprise"]["spec"]["template"]
(CONTAINER,) = POD["spec"]["containers"]


def compose_schema() -> Any:
    folder = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor"
    return json.loads((folder / "compose-spec.json").read_text(encoding="utf-8"))


class Command(NamedTuple):
    """The arguments of `reprise serve`."""

    model: str
    options: dict[str, list[str]]
    """Arguments of each option, none for a flag."""

    @classmethod
    def parsed(cls, arguments: list[str]) -> "Command":
        serve, model, *rest = arguments
        assert serve == "serve"
        options: dict[str, list[str]] = {}
        for word in rest:
            if word.startswith("--"):
                name = word
                options[name] = []
            else:
                options[name].append(word)
        return cls(model, options)


COMMAND = Command.parsed(COMPOSE["services"]["server"]["command"])


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_manifests_match_the_schemas_of_kubernetes(version: str) -> None:
    for manifest in MANIFESTS.values():
        kubernetes_validate.validate(manifest, version, strict=True)
    unknown = {**MANIFESTS["Service", "reprise"], "specs": {}}
    with pytest.raises(kubernetes_validate.ValidationError, match="specs"):
        kubernetes_validate.validate(unknown, version, strict=True)


def test_the_compose_file_matches_its_schema() -> None:
    jsonschema.validate(COMPOSE, compose_schema())
    with pytest.raises(jsonschema.ValidationError, match="replica"):
        jsonschema.validate({"services": {"server": {"deploy": {"replica": 2}}}}, compose_schema())


def test_both_examples_start_two_servers_in_the_same_way() -> None:
    assert Command.parsed(CONTAINER["args"]) == COMMAND
    assert MANIFESTS["Deployment", "reprise"]["spec"]["replicas"] == 2
    assert COMPOSE["services"]["server"]["deploy"]["replicas"] == 2
    secret = MANIFESTS["Secret", "reprise-database"]["stringData"]
    assert set(COMPOSE["services"]["server"]["environment"]) | {"PGSSLMODE"} == set(secret)


def test_manifests_refer_to_things_that_exist() -> None:
    labels = POD["metadata"]["labels"]
    for kind, selector in (
        ("Service", ["selector"]),
        ("Deployment", ["selector", "matchLabels"]),
        ("PodDisruptionBudget", ["selector", "matchLabels"]),
    ):
        found = MANIFESTS[kind, "reprise"]["spec"]
        for key in selector:
            found = found[key]
        assert found == labels, kind
    target = MANIFESTS["HorizontalPodAutoscaler", "reprise"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) in MANIFESTS
    used = [source["secretRef"]["name"] for source in CONTAINER["envFrom"]]
    used += [volume["secret"]["secretName"] for volume in POD["spec"]["volumes"] if "secret" in volume]
    assert {("Secret", name) for name in used} == {name for name in MANIFESTS if name[0] == "Secret"}
    volumes = {volume["name"] for volume in POD["spec"]["volumes"]}
    assert {mount["name"] for mount in CONTAINER["volumeMounts"]} == volumes
    keys = next(mount for mount in CONTAINER["volumeMounts"] if mount["mountPath"] == KEYS)
    assert COMMAND.options["--keys"] == [KEYS]
    assert keys["subPath"] in MANIFESTS["Secret", "reprise-keys"]["stringData"]


def probes() -> Iterator[tuple[int, str]]:
    """Yield the port and the path of every probe in all files."""
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        request = CONTAINER[name]["httpGet"]
        yield ports[request["port"]], request["path"]
    yield (
        int(POD["metadata"]["annotations"]["prometheus.io/port"]),
        POD["metadata"]["annotations"]["prometheus.io/path"],
    )
    (check,) = re.findall(r"127\.0\.0\.1:(\d+)(/\w+)", str(COMPOSE["services"]["server"]["healthcheck"]))
    yield int(check[0]), check[1]
    proxy = (DEPLOY / "haproxy.cfg").read_text(encoding="utf-8")
    (port,) = re.findall(r"check port (\d+)", proxy)
    (path,) = re.findall(r"option httpchk GET (\S+)", proxy)
    yield int(port), path


def test_probes_use_the_health_port() -> None:
    health_port = int(COMMAND.options["--health-port"][0])
    assert {port for port, _ in probes()} == {health_port}
    assert {path for _, path in probes()} == set(HEALTH_PATHS)


def test_the_service_and_the_proxy_send_requests_to_the_port_of_the_server() -> None:
    port = COMMAND.options["--port"][0]
    (target,) = MANIFESTS["Service", "reprise"]["spec"]["ports"]
    ports = {one["name"]: one["containerPort"] for one in CONTAINER["ports"]}
    assert ports[target["targetPort"]] == int(port)
    proxy = (DEPLOY / "haproxy.cfg").read_text(encoding="utf-8")
    assert re.findall(r"server-template \S+ \d+ (\S+)", proxy) == [f"server:{port}"]


def test_a_server_has_time_to_finish_its_requests() -> None:
    """SIGTERM ends a server within ten seconds; in Kubernetes it comes after the pause of `preStop`."""
    pause_s = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert POD["spec"]["terminationGracePeriodSeconds"] - pause_s > 10
    assert int(COMPOSE["services"]["server"]["stop_grace_period"].removesuffix("s")) > 10


def test_the_image_is_built_from_files_of_the_repository() -> None:
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [line for line in lines if line.startswith("COPY ") and "--from=" not in line]
    sources = [name for line in copied for name in line.split()[1:-1]]
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert {f"!{name}" for name in sources} == {line for line in ignored if line.startswith("!")}
    assert all((ROOT / name).exists() for name in sources if name != "shop.model")
    assert COMMAND.model == "/models/shop.model"
    assert f"COPY shop.model {COMMAND.model}" in lines
    assert 'ENTRYPOINT ["reprise"]' in lines
    assert f"USER {POD['spec']['securityContext']['runAsUser']}" in lines


def test_the_linter_of_dockerfiles_accepts_the_image() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    checked = subprocess.run([linter, DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "")
    spoiled = subprocess.run(
        [linter, "-"], input="FROM python\nRUN cd /tmp\n", capture_output=True, text=True
    )
    assert spoiled.returncode != 0, "the linter accepts anything"


@pytest.mark.parametrize("unit", ["reprise.service", "reprise-retrain.service"])
def test_the_commands_of_the_units_have_known_options(unit: str) -> None:
    """`systemd-analyze verify` accepts the units; it does not know the command."""
    text = (DEPLOY / "systemd" / unit).read_text(encoding="utf-8")
    ((_, command),) = re.findall(r"^(ExecStart=.*?)/reprise (.*)$", text, re.MULTILINE)
    name, *arguments = shlex.split(command.rstrip("'"))
    context = get_command(app).commands[name].make_context(name, arguments)  # type: ignore[attr-defined]
    assert context.params


def test_the_timer_starts_the_service_of_its_name() -> None:
    names = {path.stem for path in (DEPLOY / "systemd").glob("*.service")}
    assert {path.stem for path in (DEPLOY / "systemd").glob("*.timer")} <= names


class Replica:
    """A server with the options and the environment of the examples; ports, files and the database are local."""

    def __init__(self, stack: ExitStack, model: Path, database: str, keys: Path, log: Path) -> None:
        self.health_port = free_port()
        local = {"--health-port": str(self.health_port), "--keys": str(keys)}
        options = [
            word
            for name, arguments in COMMAND.options.items()
            if name not in ("--store", "--port")  # `ServerProcess` passes them
            for word in (name, *([local[name]] if name in local else arguments))
        ]
        (store,) = COMMAND.options["--store"]
        names = {"PGHOST": "host", "PGDATABASE": "dbname", "PGUSER": "user", "PGPASSWORD": "password"}
        given = conninfo_to_dict(database)
        environment = {
            name: str(given.get(names[name], "any")) for name in COMPOSE["services"]["server"]["environment"]
        }
        self.process = stack.enter_context(
            ServerProcess(model, store, log, options=options, environment=environment)
        )

    def request(self, key: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(HOST, self.process.port, timeout=30)
        headers = {"Content-Type": "application/json", "X-API-Key": key}
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        found = response.status, json.loads(response.read())
        connection.close()
        return found

    def probe(self, path: str) -> int:
        connection = http.client.HTTPConnection(HOST, self.health_port, timeout=30)
        connection.request("GET", path)
        status = connection.getresponse().status
        connection.close()
        return status


def test_two_servers_share_users_and_one_goes_on_without_the_other(
    first_model: Path, postgres_address: str, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    key = add_key(tmp_path / "keys.toml", "front", "shop", ["ingest", "recommend"])
    now_s = int(time.time())

    def event(place: int) -> dict[str, Any]:
        return {
            "user_id": "anna",
            "item_id": f"p{place}",
            "event_id": f"e{place}",
            "timestamp": now_s + place,
        }

    query = {"user_id": "anna", "k": 5, "now": now_s + 60}
    with ExitStack() as stack:
        one, two = (
            Replica(stack, first_model, postgres_address, tmp_path / "keys.toml", tmp_path / f"{name}.log")
            for name in ("one", "two")
        )
        for replica in (one, two):
            replica.process.wait_ready()
            assert {replica.probe(path) for _, path in probes()} == {200}
        _, before = two.request(key, "/v1/recommend", query)
        status, answer = one.request(key, "/v1/events", {"events": [event(1), event(2)]})
        assert status == 200 and [result["status"] for result in answer["results"]] == ["accepted"] * 2
        _, after = two.request(key, "/v1/recommend", query)
        assert (before["events"], after["events"]) == (0, 2)
        assert before["items"] != after["items"]
        assert one.request(key, "/v1/recommend", query)[1]["items"] == after["items"]

        one.process.kill()
        assert two.request(key, "/v1/recommend", query)[1]["items"] == after["items"]
        assert two.request(key, "/v1/events", {"events": [event(3)]})[0] == 200
        assert two.request(key, "/v1/recommend", query)[1]["events"] == 3
        assert {two.probe(path) for _, path in probes()} == {200}
        database = str(conninfo_to_dict(postgres_address)["dbname"])
        assert postgres_server.execute("SELECT count(*) FROM reprise.log", database) == [(3,)]
        assert two.process.stop() == 0
        assert two.process.output() == ""
