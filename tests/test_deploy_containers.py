"""The image, compose and Kubernetes files of `deploy/`: the facts that matter, and what the image's commands do. There
is no container here: the image's files are laid out as its Dockerfile says, and its commands run from there."""

import json
import re
import shutil
import subprocess
import venv
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml  # type: ignore[import-untyped]

from tests.servers import HOST, free_port
from tests.test_cli import one_site, wait_for_port
from tests.test_packaging import borrow, locked_packages
from widget_proxy.config import ServerSettings, load_settings

ROOT = Path(__file__).parent.parent
DOCKER, KUBERNETES = ROOT / "deploy/docker", ROOT / "deploy/kubernetes"
DRAIN = ServerSettings().drain_seconds


def instructions() -> list[tuple[str, str]]:
    """What the Dockerfile says: instruction and the rest, continued lines joined."""
    text = re.sub(r"\\\n\s*", " ", (DOCKER / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def image() -> list[tuple[str, str]]:
    """Those of the last stage, which is what is shipped."""
    told = instructions()
    return told[max(place for place, (name, _) in enumerate(told) if name == "FROM") :]


def argument(name: str) -> list[str]:
    """An instruction in its exec form: without a shell, which would take the signals."""
    rest = dict(image())[name]
    found: list[str] = json.loads(rest[rest.index("[") :])
    return found


def variables() -> dict[str, str]:
    return dict(pair.split("=", 1) for name, rest in image() if name == "ENV" for pair in rest.split())


def resources(*files: str) -> dict[str, dict[str, Any]]:
    """Kubernetes' objects by kind, of all files or these."""
    paths = [KUBERNETES / file for file in files] or [
        path for path in KUBERNETES.glob("*.yaml") if path.name not in {"kustomization.yaml", "redis.yaml"}
    ]
    found = [one for path in paths for one in yaml.safe_load_all(path.read_text())]
    return {one["kind"]: one for one in found}


def container() -> dict[str, Any]:
    found: dict[str, Any] = resources()["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    return found


# The image


def test_what_is_installed_is_what_is_locked() -> None:
    install = next(json.loads(rest) for name, rest in instructions() if name == "RUN" and "pip" in rest)
    assert {"--require-hashes", "--only-binary"} <= set(install)
    assert install[-2:] == ["-r", "/build/requirements.lock"]


def test_the_image_runs_as_nobody_who_could_write_to_it() -> None:
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", dict(image())["USER"]), "numbers: Kubernetes asks for them"
    last_copy = max(place for place, (name, _) in enumerate(image()) if name == "COPY")
    assert [name for name, _ in image()].index("USER") > last_copy
    assert not [rest for name, rest in image() if name in {"RUN", "COPY"} and ("--chown" in rest or "chmod" in rest)]


def test_no_secret_is_in_the_image() -> None:
    assert not [name for name in variables() if re.search(r"KEY|SECRET|PASSWORD|TOKEN", name)]
    assert not [name for name, _ in instructions() if name == "ARG"]


def test_only_what_the_image_is_made_of_is_sent_to_the_builder() -> None:
    rules = (DOCKER / "Dockerfile.dockerignore").read_text().split("\n")
    assert "*" in rules
    taken = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {rest.split()[0] for name, rest in instructions() if name == "COPY" and not rest.startswith("--from")}
    assert taken == {one.rstrip("/") for one in copied}
    assert all((ROOT / one).exists() for one in taken)
    assert not [one for one in taken if fnmatch(one, "*secret*") or one in {".git", ".env"}]


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last stage's files, and an environment with what is locked and nothing else."""
    root = tmp_path_factory.mktemp("image")
    for name, rest in image():
        if name == "COPY" and not rest.startswith("--from"):
            source, target = rest.split()
            to = root / target.strip("/") / (source if target.endswith("/") else "")
            to.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, to)
            else:
                shutil.copy(ROOT / source, to)
        elif name == "COPY" and "/app" in rest:
            clean = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / "widget_proxy", root / rest.split()[-1].strip("/"), ignore=clean)
    venv.create(root / "opt/widget-proxy", symlinks=True)
    borrow(locked_packages(), root / "opt/widget-proxy/bin/python")
    return root


@pytest.fixture
def environment(laid_out: Path) -> dict[str, str]:
    """What the container's processes have as theirs: nothing of this machine's."""
    own = {name: value.replace("/opt/", f"{laid_out}/opt/") for name, value in variables().items()}
    port = {"WIDGET_PROXY_SERVER__PORT": str(free_port()), "WIDGET_PROXY_SERVER__HOST": HOST}
    return own | one_site("http://127.0.0.1:9") | port


def test_the_images_commands_serve_and_tell_that_they_are_well(
    laid_out: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    python = str(laid_out / "opt/widget-proxy/bin/python")
    command, healthy = argument("ENTRYPOINT") + argument("CMD"), argument("HEALTHCHECK")
    assert command[0] == healthy[0] == "python"

    def health() -> int:
        asked = [python, *healthy[1:]]
        return subprocess.run(asked, env=environment, capture_output=True, timeout=20, check=False).returncode

    assert health() != 0, "nobody is there"
    port = int(environment["WIDGET_PROXY_SERVER__PORT"])
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [python, *command[1:]], env=environment, cwd=laid_out / "app", stdout=log, stderr=log
        )
        try:
            wait_for_port(port, process)
            assert health() == 0
            with httpx2.Client(base_url=f"http://{HOST}:{port}", trust_env=False) as client:
                assert "chat-widget" in client.get("/widget.js").text
                assert "widget-proxy is running" in client.get("/").text
                for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                    assert client.get(container()[probe]["httpGet"]["path"]).status_code == 200
        finally:
            process.terminate()
            assert process.wait(15) in {-15, 143}
    assert json.loads((tmp_path / "log").read_text().splitlines()[0])["level"] == "info", "as JSON"
    assert not list((laid_out / "app").rglob("*.pyc")), "it writes nothing: its files may be read-only"


def test_in_a_container_it_listens_where_others_reach_it() -> None:
    assert variables()["WIDGET_PROXY_SERVER__HOST"] == "0.0.0.0"  # noqa: S104
    assert dict(image())["EXPOSE"] == str(ServerSettings().port)


# Compose


def test_compose_keeps_redis_inside_and_the_proxy_for_the_front_server() -> None:
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    proxy, redis = services["proxy"], services["redis"]
    assert proxy["ports"] == [f"127.0.0.1:{ServerSettings().port}:{ServerSettings().port}"]
    assert "ports" not in redis
    assert redis["networks"] == ["inside"]
    assert (ROOT / "deploy/docker" / proxy["build"]["context"] / proxy["build"]["dockerfile"]).is_file()
    assert int(proxy["stop_grace_period"].removesuffix("s")) > DRAIN + 5
    command = redis["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    for one in services.values():
        assert one["read_only"]
        assert one["cap_drop"] == ["ALL"]
        assert "mem_limit" in one


def test_composes_settings_are_settings(tmp_path: Path) -> None:
    proxy = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]["proxy"]
    assert not [name for name in proxy["environment"] if name.endswith("_KEY")], "by file alone"
    for name in ("secret-key", "embed-key"):
        (tmp_path / name).write_text("marker-0123456789-0123456789-0123456789")
    told = {name: value.replace("/run/secrets", str(tmp_path)) for name, value in proxy["environment"].items()}
    settings = load_settings(told, KUBERNETES / "widget-proxy.toml")
    assert settings.server.workers == 2
    assert settings.redis.url is not None
    gateway = yaml.safe_load((DOCKER / "compose.yaml").read_text())["networks"]["front"]["ipam"]["config"][0][
        "gateway"
    ]
    assert [str(network.network_address) for network in settings.server.trusted_proxies] == [gateway]


# Kubernetes


def test_a_pod_has_time_to_leave_before_it_is_killed() -> None:
    pod = resources()["Deployment"]["spec"]["template"]["spec"]
    before = int(container()["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert before >= 5, "until no balancer sends anybody there"
    assert pod["terminationGracePeriodSeconds"] >= before + DRAIN + 5


def test_each_probe_asks_what_it_is_for() -> None:
    asked = {kind: container()[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    assert asked == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
    liveness = container()["livenessProbe"]
    assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 60, "a restart drops every stream of the pod"
    assert {probe["httpGet"]["port"] for probe in (liveness, container()["readinessProbe"])} == {"http"}


def test_service_ingress_and_pod_name_the_same_port_and_the_same_pods() -> None:
    found = resources()
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    service = found["Service"]["spec"]
    assert ports[service["ports"][0]["targetPort"]] == ServerSettings().port
    assert service["sessionAffinity"] == "None"
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for selector in (
        service["selector"],
        found["Deployment"]["spec"]["selector"]["matchLabels"],
        found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    scaled = found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"]
    assert scaled == found["Deployment"]["metadata"]["name"]
    path = found["Ingress"]["spec"]["rules"][0]["http"]["paths"][-1]
    assert path["backend"]["service"] == {"name": found["Service"]["metadata"]["name"], "port": {"name": "http"}}


def test_the_ingress_neither_buffers_nor_repeats_nor_times_out() -> None:
    said = resources()["Ingress"]["metadata"]["annotations"]
    told = {name.rpartition("/")[2]: value for name, value in said.items()}
    assert told["proxy-buffering"] == "off"
    assert told["proxy-next-upstream"] == "off"
    assert int(told["proxy-read-timeout"]) >= 3 * ServerSettings().heartbeat_seconds
    assert told["proxy-body-size"] == "51m"


@pytest.mark.parametrize("file", ["deployment.yaml", "redis.yaml"])
def test_a_pod_can_do_little_to_its_node(file: str) -> None:
    pod = resources(file)["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for one in pod["containers"]:
        told = one["securityContext"]
        assert told["readOnlyRootFilesystem"]
        assert told["allowPrivilegeEscalation"] is False
        assert told["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in one["resources"]["limits"]


def test_the_pods_user_is_the_images() -> None:
    pod = resources()["Deployment"]["spec"]["template"]["spec"]["securityContext"]
    assert f"{pod['runAsUser']}:{pod['runAsGroup']}" == dict(image())["USER"]


def test_kubernetes_own_variables_are_not_taken_for_settings() -> None:
    """A service `widget-proxy` makes WIDGET_PROXY_PORT and the like in every pod that does not decline."""
    assert resources()["Deployment"]["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_secrets_are_named_and_never_written() -> None:
    for path in (*KUBERNETES.iterdir(), *DOCKER.iterdir()):
        text = path.read_text()
        assert "kind: Secret" not in text
        assert not re.search(r"(secret_key|embed_key)\s*[=:]", text)
    for one in container()["env"]:
        if "REDIS_URL" in one["name"]:
            assert one["valueFrom"]["secretKeyRef"]["name"] == "widget-proxy"
        else:
            assert one["value"].startswith("/"), "a file"


def test_the_pods_settings_are_settings(tmp_path: Path) -> None:
    mounts = {mount["name"]: mount["mountPath"] for mount in container()["volumeMounts"]}
    given = {one["name"]: one.get("value", "redis://:marker@widget-proxy-redis:6379/0") for one in container()["env"]}
    assert given.pop("WIDGET_PROXY_CONFIG") == f"{mounts['config']}/widget-proxy.toml"
    volumes = {one["name"]: one for one in resources()["Deployment"]["spec"]["template"]["spec"]["volumes"]}
    for item in volumes["secrets"]["secret"]["items"]:
        (tmp_path / item["path"]).write_text("marker-0123456789-0123456789-0123456789")
    told = {name: value.replace(mounts["secrets"], str(tmp_path)) for name, value in given.items()}
    settings = load_settings(told, KUBERNETES / "widget-proxy.toml")
    assert settings.redis.url is not None
    assert settings.server.workers == 1, "one process a pod: Kubernetes counts pods"


def test_kustomize_knows_every_file() -> None:
    told = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    files = {*told["resources"], *told["configMapGenerator"][0]["files"], "kustomization.yaml"}
    assert files == {path.name for path in KUBERNETES.iterdir()}
    assert told["images"][0]["name"] == container()["image"]
