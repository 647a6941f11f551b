"""Asks the HTTP API what its description says, rightly and wrongly, with schemathesis.

The program serves a practice EHR and runs beside it, with a practice connected and a subscription of each format, whose subscriber is here
and verifies each signature by itself. What is looked for: no answer is a 5xx, every answer is as it is described, what the description
forbids is refused, and subscribers have every event.
"""

import argparse
import base64
import hashlib
import hmac
import http.server
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

TOKEN = "a token of viewers"
FORMATS = ("fhir-r4-backport", "cloudevents")


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--seconds", type=int, default=60)
    return parser.parse_args()


class Subscriber(http.server.BaseHTTPRequestHandler):
    """Takes what is signed as it was agreed."""

    keys, numbers, problems = {}, {}, []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + body
        name = self.path.strip("/")
        # The key is known a moment after the subscription is.
        while name not in self.keys:
            time.sleep(0.05)
        key = base64.b64decode(self.keys[name].removeprefix("whsec_"))
        expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        if not hmac.compare_digest(expected, self.headers["webhook-signature"]):
            self.problems.append(f"{name}: a signature is wrong")
        found = re.search(r'"number":(\d+)' if name == "cloudevents" else r'"event-number","valueString":"(\d+)"', body.decode())
        if found:
            self.numbers.setdefault(name, []).append(int(found.group(1)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


class Installation:
    """A practice EHR, and the program that serves its practices."""

    def __init__(self, program, folder):
        self.program, self.folder, self.children = program, folder, []
        self.connection = folder / "installation"
        clinic = ["--firms", "1", "--visits", "10", "--minutes", "2", "--connect", str(self.connection)]
        said = self.start(["practice-ehr", *clinic], "ehr.log", "Ctrl-C ends it.")
        config = self.connection / "skin-assist.toml"
        (self.connection / "viewer.token").write_text(TOKEN)
        config.write_text(
            config.read_text()
            + '\n[console]\nlisten = "127.0.0.1:0"\ntoken_file = "viewer.token"\n'
            + "[subscriptions]\nallow_loopback_http = true\n"
            + '[log]\nlevel = "warn,skin_assist::console=info"\n'
        )
        for line in re.findall(r"^  skin-assist ((?:firm|categories) .*)$", said, re.MULTILINE):
            self.command(line.split())
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Subscriber)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.subscriptions = {}
        for name in FORMATS:
            endpoint = f"http://127.0.0.1:{server.server_port}/{name}"
            made = self.command(["subscription", "add", "--endpoint", endpoint, "--format", name, "--json"])
            self.subscriptions[name] = json.loads(made)
            Subscriber.keys[name] = self.subscriptions[name]["signing_key"]
        self.start(["run"], "run.log", "console.started")
        address = re.search(r"console\.started\S* address=(\S+)", (folder / "run.log").read_text())
        self.address = "http://" + address.group(1)

    def environment(self):
        return {**os.environ, "SKIN_ASSIST_CONFIG": str(self.connection / "skin-assist.toml")}

    def command(self, words):
        done = subprocess.run([self.program, *words], env=self.environment(), capture_output=True, text=True)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def start(self, words, log, until):
        path = self.folder / log
        with path.open("w") as output:
            child = subprocess.Popen(
                [self.program, *words], env=self.environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self.children.append(child)
        deadline = time.monotonic() + 120
        while until not in path.read_text():
            assert child.poll() is None and time.monotonic() < deadline, f"{words}: {path.read_text()}"
            time.sleep(0.1)
        return path.read_text()

    def end(self):
        for child in reversed(self.children):
            child.terminate()
        codes = [child.wait(timeout=60) for child in self.children]
        assert codes[1] == 0, f"`run` ended with {codes[1]}: {(self.folder / 'run.log').read_text()}"


def fuzz(installation, who, token, seconds, only=None):
    """Asks as somebody for so long."""
    schemathesis = str(pathlib.Path(sys.executable).parent / "schemathesis")
    command = [schemathesis, "run", f"{installation.folder}/openapi.json", "--url", installation.address]
    command += ["--header", f"Authorization: Bearer {token}", "--checks", "all", "--max-time", str(seconds)]
    command += ["--max-examples", "100000", "--generation-deterministic", "--no-color"]
    if only:
        command += ["--include-path-regex", only]
    print(f"--> {who}", flush=True)
    done = subprocess.run(command, cwd=installation.folder)
    return [] if done.returncode == 0 else [f"{who}: see above"]


def main():
    given = arguments()
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        installation = Installation(given.program, pathlib.Path(folder))
        description = json.loads(
            pathlib.Path(__file__).parents[2].joinpath("crates/app/src/console/api/openapi.json").read_text()
        )
        # Ids that are there, so that what is asked for is not always something unknown.
        known = {
            "practice": [json.loads(installation.command(["firm", "list", "--json"]))[0]["id"]],
            "subscription": [made["subscription"]["id"] for made in installation.subscriptions.values()],
        }
        for path in description["paths"].values():
            for parameter in path["get"].get("parameters", []):
                if parameter["name"] in known:
                    parameter["examples"] = {value: {"value": value} for value in known[parameter["name"]]}
        (installation.folder / "openapi.json").write_text(json.dumps(description))
        problems += fuzz(installation, "the token of viewers", TOKEN, given.seconds)
        for name, made in installation.subscriptions.items():
            status = json.loads(installation.command(["subscription", "show", made["subscription"]["id"], "--json"]))
            if status["status"] != "active" or status["events"] < 5:
                problems.append(f"{name}: {status}")
        time.sleep(5)
        for name, numbers in Subscriber.numbers.items():
            if sorted(set(numbers)) != list(range(1, len(set(numbers)) + 1)):
                problems.append(f"{name} was told of {numbers}")
            print(f"{name}: {len(numbers)} events told, each signature verified", flush=True)
        problems += Subscriber.problems
        installation.end()
    for problem in problems:
        print(f"PROBLEM: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
