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
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from installation import Installation

TOKEN = "a token of viewers"
SUBSCRIPTIONS = "\n[subscriptions]\nallow_loopback_http = true\n"
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


class Served(Installation):
    """The program that serves its practices, with a subscription of each format."""

    def __init__(self, program, folder):
        super().__init__(program, folder, ["--firms", "1", "--visits", "10", "--minutes", "2"])
        (self.connection / "viewer.token").write_text(TOKEN)
        for line in re.findall(r"^  skin-assist ((?:firm|categories) .*)$", self.said, re.MULTILINE):
            self.command(line.split())
        self.configure(SUBSCRIPTIONS)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Subscriber)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.subscriptions = {}
        for name in FORMATS:
            endpoint = f"http://127.0.0.1:{server.server_port}/{name}"
            made = self.command(["subscription", "add", "--endpoint", endpoint, "--format", name, "--json"])
            self.subscriptions[name] = json.loads(made)
            Subscriber.keys[name] = self.subscriptions[name]["signing_key"]
        self.address = self.run('[console]\nlisten = "127.0.0.1:0"\ntoken_file = "viewer.token"\n')


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
        installation = Served(given.program, pathlib.Path(folder))
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
        for name, made in installation.subscriptions.items():
            # The clinic may go on: it is enough that there is a moment in which everything was told.
            for _ in range(30):
                status = json.loads(installation.command(["subscription", "show", made["subscription"]["id"], "--json"]))
                numbers = Subscriber.numbers.get(name, [])
                if sorted(set(numbers)) == list(range(1, status["events"] + 1)):
                    break
                time.sleep(1)
            else:
                problems.append(f"{name} was told of {numbers}, and there were {status['events']} events")
            print(f"{name}: {len(numbers)} events told, each signature verified", flush=True)
        problems += Subscriber.problems
        installation.end()
    for problem in problems:
        print(f"PROBLEM: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
