"""The shipped template, deployed to an emulator, with the practice EHR: `end_to_end.py SCENARIO`.

Scenarios: `plain`; `crashes`, in which every function is killed in the midst of its first work; `twice`, in which every record of a
stream is delivered twice; `auth`, in which the emulator enforces the roles' policies; `endpoints`, in which photos are looked at by
`serve-models` behind SageMaker's InvokeEndpoint. In each, every photo has to end as exactly one draft.

Environment: PROGRAM (skin-assist), FUNCTION (skin-assist-lambda), MINISTACK and SAM (the tools), FOLDER (an empty folder).
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3

STACK = "skin-assist"
ROOT = Path(__file__).resolve().parents[3]
FOLDER = Path(os.environ["FOLDER"])
# Those that a clinic has run. remove-expired is called once a day.
HANDLERS = (
    "discover-firms",
    "refresh-credentials",
    "poll-encounters",
    "poll-documents",
    "download-photo",
    "infer",
    "write-back",
    "propose-due",
)
# How long the clinic may take to end as drafts.
PATIENCE = 600
# Stands in front of the function: ends it in the midst of its first piece of work, once.
CRASHING = """#!/bin/sh
mark={folder}/crashed-$_HANDLER
if mkdir "$mark" 2>/dev/null; then
    "$LAMBDA_TASK_ROOT/function" & child=$!
    sleep {after}
    kill -9 $child
    exit 1
fi
exec "$LAMBDA_TASK_ROOT/function"
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Emulator:
    """ministack on a port of its own."""

    def __init__(self, auth):
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **os.environ,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "SAM_CLI_TELEMETRY": "0",
        }
        os.environ.update(self.environment)
        self.log = open(FOLDER / "ministack.log", "wb")
        self.process = subprocess.Popen(
            [os.environ["MINISTACK"]],
            env={
                **self.environment,
                "GATEWAY_PORT": str(self.port),
                "BIND_HOST": "127.0.0.1",
                "TMPDIR": str(FOLDER),
                "AUTH": "true" if auth else "false",
                "LAMBDA_EXECUTOR": "local",
            },
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )
        until(lambda: self.answers(), 60, "the emulator does not answer")

    def answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1):
                return True
        except OSError:
            return False

    def end(self):
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)


def until(condition, seconds, complaint):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.5)
    sys.exit(f"error: {complaint}")


def run(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"error: {' '.join(map(str, command[:4]))} failed\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout


def package(scenario):
    """The template beside the code, as in the repository, with what this scenario puts in front of the function."""
    shutil.copytree(ROOT / "deploy/aws", FOLDER / "deploy/aws")
    if scenario == "auth":
        # The emulator speaks no TLS here, and would refuse everything that the policies of bucket and queues ask it for.
        path = FOLDER / "deploy/aws/template.yaml"
        text = path.read_text().replace('"aws:SecureTransport": "false"', '"aws:SecureTransport": "true"')
        # Nor does it tell a policy the key of an object that is put, only that there is one.
        own_key = '"s3:x-amz-server-side-encryption-aws-kms-key-id": !GetAtt Key.Arn'
        path.write_text(text.replace(own_key, '"s3:x-amz-server-side-encryption": aws:kms'))
    code = FOLDER / "target/lambda/function"
    code.mkdir(parents=True)
    if scenario == "crashes":
        shutil.copy(os.environ["FUNCTION"], code / "function")
        (code / "bootstrap").write_text(CRASHING.format(folder=FOLDER, after=os.environ.get("CRASH_AFTER", "0.4")))
        (code / "bootstrap").chmod(0o755)
    else:
        shutil.copy(os.environ["FUNCTION"], code / "bootstrap")


# The endpoints of the two routes, as the template is told.
ENDPOINTS = {"SolitaryEndpoint": "lesions", "WidespreadEndpoint": "rashes"}


class Endpoints:
    """The part of SageMaker that matters: InvokeEndpoint in front of a container, here `serve-models`. An error of the container comes
    back as a ModelError that has it inside."""

    def __init__(self):
        self.log = open(FOLDER / "serve-models.log", "wb")
        self.process = subprocess.Popen(
            [os.environ["PROGRAM"], "serve-models", "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        line = self.process.stdout.readline()
        self.container = re.search(r"http://[^ ]+?(?=[. ]*\. )", line).group(0)
        self.invoked = set()
        owner = self

        class Front(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                found = re.fullmatch(r"/endpoints/([^/]+)/invocations", self.path.split("?")[0])
                if not found or found.group(1) not in ENDPOINTS.values():
                    return self.answer(400, b'{"Message": "Endpoint of account 000000000000 not found."}', "ValidationError")
                owner.invoked.add(found.group(1))
                attributes = self.headers.get("X-Amzn-SageMaker-Custom-Attributes", "")
                request = urllib.request.Request(f"{owner.container}/invocations", data=body, method="POST")
                request.add_header("X-Amzn-SageMaker-Custom-Attributes", attributes)
                try:
                    with urllib.request.urlopen(request, timeout=60) as reply:
                        self.answer(200, reply.read())
                except urllib.error.HTTPError as error:
                    inside = {"OriginalStatusCode": error.code, "OriginalMessage": error.read().decode()}
                    self.answer(424, json.dumps({"Message": "from primary", **inside}).encode(), "ModelError")

            def answer(self, status, body, code=None):
                self.send_response(status)
                if code:
                    self.send_header("x-amzn-ErrorType", code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.front = ThreadingHTTPServer(("127.0.0.1", 0), Front)
        threading.Thread(target=self.front.serve_forever, daemon=True).start()
        # Where the functions' SDK looks for it, and for it alone.
        os.environ["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"] = f"http://127.0.0.1:{self.front.server_address[1]}"

    def looks(self):
        with urllib.request.urlopen(f"{self.container}/metrics", timeout=10) as reply:
            lines = reply.read().decode().splitlines()
        counts = [line.split()[1] for line in lines if line.startswith("skin_assist_looks_total") and '"findings"' in line]
        return sum(map(int, counts))

    def end(self):
        self.front.shutdown()
        self.process.terminate()
        self.process.wait(20)


def deploy(base_url, token_url, endpoints):
    overrides = {
        **(ENDPOINTS if endpoints else {}),
        "EhrBaseUrl": base_url,
        "EhrTokenUrl": token_url,
        "EhrPhotoHosts": "127.0.0.1",
        "EhrAllowLoopbackHttp": "true",
        "EhrCallsPerMinute": "1000",
        # The clinic is quicker than real ones, and a call costs nothing here.
        "PollingLeastPrice": "0.00001",
        "Architecture": "x86_64",
    }
    run(
        [os.environ["SAM"], "deploy", "--template", FOLDER / "deploy/aws/template.yaml", "--stack-name", STACK]
        + ["--resolve-s3", "--capabilities", "CAPABILITY_IAM", "--no-confirm-changeset", "--no-progressbar"]
        + ["--parameter-overrides"]
        + [f"{name}={value}" for name, value in overrides.items()],
        cwd=FOLDER,
    )


class Practice:
    """The practice EHR, with a clinic of some minutes."""

    def __init__(self):
        self.folder, self.report_file = FOLDER / "practice", FOLDER / "report.json"
        self.process = None

    def start(self):
        self.log = open(FOLDER / "practice.log", "w")
        command = ["practice-ehr", "--firms", "2", "--visits", "4", "--minutes", "20", "--speed", "6"]
        self.process = subprocess.Popen(
            [os.environ["PROGRAM"], *command, "--connect", str(self.folder), "--report", str(self.report_file)],
            stdout=self.log,
            stderr=self.log,
        )
        until(self.report_file.exists, 60, "the practice EHR does not come up")
        config = (self.folder / "skin-assist.toml").read_text()
        value = lambda key: re.search(rf'{key} = "([^"]*)"', config).group(1)
        self.base_url, self.token_url = value("base_url"), value("token_url")
        self.api_key = (self.folder / "api.key").read_text().strip()
        self.steps = [
            line.split()[1:]
            for line in (FOLDER / "practice.log").read_text().splitlines()
            if line.startswith(("  skin-assist firm add", "  skin-assist categories set"))
        ]

    def report(self):
        return json.loads(self.report_file.read_text())

    def end(self):
        if self.process:
            self.process.terminate()
            self.process.wait(20)


def operator(practice, arguments):
    """A command of the program, on the deployment's tables."""
    environment = {
        **os.environ,
        "SKIN_ASSIST_CONFIG": str(practice.folder / "skin-assist.toml"),
        "SKIN_ASSIST_STATE__STORE": "dynamodb",
        "SKIN_ASSIST_AWS__TABLE_PREFIX": f"{STACK}-",
        "SKIN_ASSIST_AWS__FIRM_KEYS_SECRET": f"{STACK}/firm-keys",
        "SKIN_ASSIST_AWS__ENDPOINT": os.environ["AWS_ENDPOINT_URL"],
    }
    return run([os.environ["PROGRAM"], *arguments], env=environment)


def connect(practice):
    intended = FOLDER / "intended-use.txt"
    intended.write_text("for this test")
    for step in practice.steps:
        operator(practice, step)
    for firm in sorted({step[2] for step in practice.steps}):
        record = ["--intended-use", str(intended), "--recorded-by", "Test Operator"]
        operator(practice, ["firm", "mode", firm, "draft", *record])


def twice():
    """Every record of a stream once more: a second mapping beside the first."""
    client = boto3.client("lambda")
    for mapping in client.list_event_source_mappings()["EventSourceMappings"]:
        name = mapping["FunctionArn"].split(":")[6]
        client.create_event_source_mapping(
            EventSourceArn=mapping["EventSourceArn"],
            FunctionName=name,
            StartingPosition="TRIM_HORIZON",
            FunctionResponseTypes=["ReportBatchItemFailures"],
            FilterCriteria=mapping["FilterCriteria"],
        )


def open_photos(report):
    return [
        photo
        for photo in report["report"]["photos"]
        if photo["route"] != "Ignored" and not photo["retracted_at"] and not photo["replaced_by"] and not photo["removed_at"]
        and not photo["drafts"]
    ]


def main(scenario):
    # Asked to end, it ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: it was ended"))
    practice, emulator, endpoints = Practice(), None, None
    try:
        began = time.monotonic()
        if scenario == "endpoints":
            endpoints = Endpoints()
        emulator = Emulator(auth=scenario == "auth")
        package(scenario)
        practice.start()
        deploy(practice.base_url, practice.token_url, endpoints)
        print(f"deployed after {time.monotonic() - began:.0f} s", flush=True)
        boto3.client("secretsmanager").put_secret_value(
            SecretId=f"{STACK}/ehr-api-key", SecretString=json.dumps({"api_key": practice.api_key})
        )
        connect(practice)
        if scenario == "twice":
            twice()

        def settled():
            report = practice.report()
            return report["is_over"] and not open_photos(report)

        try:
            until(settled, PATIENCE, "not every photo became a draft")
        except SystemExit:
            report = practice.report()
            waiting = open_photos(report)
            print(operator(practice, ["status", "--json"]))
            sys.exit(f"error: {len(waiting)} of {len(report['report']['photos'])} photos have no draft: {waiting[:2]}")
        report = practice.report()["report"]
        drafts = [photo for photo in report["photos"] if photo["drafts"]]
        doubled = [photo["document"] for photo in report["photos"] if len(photo["drafts"]) > 1]
        assert not doubled, f"more than one draft: {doubled}"
        assert not report["unmatched_drafts"], "a draft names no photo"
        assert len(drafts) >= 4, f"only {len(drafts)} photos: that proves nothing"
        assert json.loads(operator(practice, ["dead-letters", "list", "--json"])) == []
        left = boto3.client("s3").list_objects_v2(Bucket=f"{STACK}-photos-000000000000-us-east-1").get("KeyCount")
        assert left == 0, f"{left} photos were not deleted"
        if scenario == "crashes":
            crashed = sorted(path.name.removeprefix("crashed-") for path in FOLDER.glob("crashed-*"))
            assert crashed == sorted(HANDLERS), f"only these crashed: {crashed}"
        if endpoints:
            assert endpoints.looks() >= len(drafts), f"{endpoints.looks()} looks for {len(drafts)} drafts"
            assert endpoints.invoked == set(ENDPOINTS.values()), f"only these were asked: {endpoints.invoked}"
        print(f"{scenario}: {len(drafts)} photos, one draft each, after {time.monotonic() - began:.0f} s")
    finally:
        practice.end()
        if emulator:
            emulator.end()
        if endpoints:
            endpoints.end()


main(sys.argv[1])
