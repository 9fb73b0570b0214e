"""A newcomer's way, timed: `scripts/first-steps`. The commands are the README's own, with two things changed: the package
comes from this checkout, and Open Chat Studio is the stand-in, told the README's example values.

Only the standard library, since it runs before anything is installed.
"""

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
START_SECONDS = 600.0  # of scripts/demo, which installs; what listens does so at once, or ends


class DidNotWork(Exception):
    """A step of the documentation does not lead where it says."""


class Watch:
    """Prints each step with its seconds."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, float]] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what is done in here."""
        begun = time.monotonic()
        yield
        self.steps.append((name, time.monotonic() - begun))
        print(f"{self.steps[-1][1]:7.1f} s  {name}", flush=True)

    @property
    def total(self) -> float:
        """All steps together, in seconds."""
        return sum(seconds for _, seconds in self.steps)


def snippet(text: str, language: str, containing: str) -> str:
    """The one code block of a document in this language that contains this."""
    found = [one for one in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL) if containing in one]
    if len(found) != 1:
        raise DidNotWork(f"there are {len(found)} blocks with {containing!r} in the README, and there should be one")
    block: str = found[0]
    return block


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def named(pattern: str) -> Callable[[str], str | None]:
    """Ready when the output has this pattern; gives its group."""

    def look(output: str) -> str | None:
        found = re.search(pattern, output)
        return found and found[1]

    return look


def listening(url: str) -> Callable[[str], str | None]:
    """Ready when somebody listens at this address of this machine."""

    def look(output: str) -> str | None:
        with socket.socket() as probe:
            return None if probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) else url

    return look


@contextmanager
def running(
    command: Sequence[str],
    ready: Callable[[str], str | None],
    log: Path,
    *,
    directory: Path,
    variables: Mapping[str, str],
) -> Iterator[str]:
    """Run it in the background until it is ready by its output; gives what that says, and ends it afterwards."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=directory, env=dict(variables))
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (found := ready(written := log.read_text("utf-8", "replace"))):
            if process.poll() is not None or time.monotonic() > deadline:
                raise DidNotWork(f"{' '.join(command)}\n{written}")
            time.sleep(0.05)
        yield found
    finally:
        process.terminate()
        process.wait(20)


def run(command: Sequence[str], *, directory: Path, variables: Mapping[str, str]) -> str:
    """Run it to its end; what it wrote. Raises `DidNotWork` with that, where its exit code is not 0."""
    outcome = subprocess.run(
        command, cwd=directory, env=dict(variables), capture_output=True, text=True, timeout=900, check=False
    )
    if outcome.returncode != 0:
        raise DidNotWork(f"{' '.join(command)}\n{outcome.stdout}{outcome.stderr}")
    return outcome.stdout


class Tag(HTMLParser):
    """The page's chat, as a browser finds it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, str | None] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script" and "data-site" in dict(attrs):
            self.found = dict(attrs)


def ask(address: str, origin: str, body: object = None, **headers: str) -> Any:
    """A call of the page's script; the JSON of the answer, or its text."""
    data = None if body is None else json.dumps(body).encode()
    kind = {"Content-Type": "application/json"} if data else {}
    request = urllib.request.Request(address, data, {"Origin": origin, **kind, **headers})
    with urllib.request.urlopen(request, timeout=30) as response:
        text = response.read().decode()
    return json.loads(text) if response.headers["Content-Type"].startswith("application/json") else text


def answer_to(page: str, question: str, origin: str) -> str:
    """Do what the widget on this page does, and give the stream of the answer."""
    tag = Tag(page).found
    source, site = str(tag["src"]), tag["data-site"]
    if "chat-widget" not in ask(source, origin):
        raise DidNotWork(f"{source} is no widget")
    api = source.removesuffix("/widget.js") + "/v1"
    session = ask(f"{api}/sites/{site}/sessions", origin, {"page_context": {"page_title": "Lamps"}})
    bearer = {"Authorization": f"Bearer {session['handle']}"}
    task = ask(f"{api}/session/messages", origin, {"message": question}, **bearer)["task"]
    return str(ask(f"{api}/session/tasks/{task}/events", origin, **bearer))


def walk(directory: Path, watch: Watch, *, installed: Path | None = None) -> None:
    """Go all the way. With `installed`, the directory of an environment's programs, without clone, demo and installation."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("WIDGET_PROXY_")}
    log = directory / "log"
    checkout = ROOT
    programs = installed
    if programs is None:
        variables.pop("PYTHONPATH", None)
        checkout = directory / "widget-proxy"
        with watch.step("git clone"):
            run(["git", "clone", "--quiet", str(ROOT), str(checkout)], directory=directory, variables=variables)
        with ExitStack() as stack:
            demo = [str(checkout / "scripts/demo"), "--port", str(free_port())]
            with watch.step("scripts/demo: until it names the shop's address"):
                pattern = r"Open the shop:\s+(?:\x1b\S*?m)*(http://[^\s\x1b]+)"
                shop = stack.enter_context(
                    running(demo, named(pattern), log, directory=checkout, variables=variables)
                )
            with watch.step("the shop's page, with the chat on it"), urllib.request.urlopen(shop, timeout=10) as page:
                if not Tag(page.read().decode()).found:
                    raise DidNotWork(f"{shop} has no chat on it")
        programs = directory / "environment/bin"
        with watch.step("pip install: into an environment of its own"):
            run([sys.executable, "-m", "venv", str(programs.parent)], directory=directory, variables=variables)
            run([str(programs / "pip"), "install", "-q", str(checkout)], directory=directory, variables=variables)

    readme = (checkout / "README.md").read_text()
    commands = snippet(readme, "sh", "pip install widget-proxy").replace("pip install widget-proxy\n", "")
    settings, check, serve = commands.partition("widget-proxy check\n")
    given = dict(re.findall(r"export WIDGET_PROXY_(\w+)=(\S+)$", settings, re.MULTILINE))
    origin = given["ALLOWED_ORIGINS"]
    proxy, upstream = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    settings = settings.replace(given["UPSTREAM_URL"], upstream)
    serve = serve.replace("--port 8080", f"--port {proxy.rpartition(':')[2]}")
    variables["PATH"] = f"{programs}{os.pathsep}{variables['PATH']}"
    stand_in = [str(programs / "python"), "-m", "widget_proxy.fake_upstream", "--port", upstream.rpartition(":")[2]]
    stand_in += ["--chatbot-id", given["CHATBOT_ID"], "--embed-key", given["EMBED_KEY"], "--think", "1"]
    stand_in += ["--allowed-domain", origin.removeprefix("https://")]
    with ExitStack() as stack:
        stack.enter_context(
            running(
                stand_in, listening(upstream), directory / "upstream.log", directory=directory, variables=variables
            )
        )
        with watch.step("five variables and widget-proxy check"):
            if "ok" not in run(["sh", "-eu", "-c", settings + check], directory=directory, variables=variables):
                raise DidNotWork("check found no site")
        with watch.step("widget-proxy serve: until it listens"):
            started = ["sh", "-eu", "-c", settings + "exec " + serve]
            stack.enter_context(
                running(
                    started,
                    listening(proxy),
                    directory / "serve.log",
                    directory=directory,
                    variables=variables,
                )
            )
        tag = snippet(readme, "html", 'data-site="default" async').replace("https://chat.example.com", proxy)
        with watch.step("the tag on a page, a question and its answer (1 s of it the bot's)"):
            events = answer_to(f"<!doctype html><title>Lamps</title><body>{tag}", "What does it cost?", origin)
            if '"status":"complete"' not in events:
                raise DidNotWork(events)


def main(arguments: Sequence[str] | None = None) -> int:
    """Walk, and print; 0 where every step led where the documentation says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--installed", type=Path, help="programs of an environment that is there: skips clone and installation"
    )
    options = parser.parse_args(arguments)
    watch = Watch()
    with tempfile.TemporaryDirectory() as directory:
        try:
            walk(Path(directory), watch, installed=options.installed)
        except DidNotWork as error:
            print(f"This step does not work: {error}", file=sys.stderr)
            return 1
    print(f"{watch.total:7.1f} s  in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
