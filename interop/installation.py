"""A practice EHR, and the program beside it: what checks of the running program begin with and end."""

import os
import re
import subprocess
import time


class Installation:
    """Starts a practice EHR; its practices are connected by whoever wants them connected."""

    def __init__(self, program, folder, clinic):
        self.program, self.folder, self.children = program, folder, []
        self.connection = folder / "installation"
        self.said = self.start(["practice-ehr", *clinic, "--connect", str(self.connection)], "ehr.log", "Ctrl-C ends it.")

    def configure(self, more):
        config = self.connection / "skin-assist.toml"
        config.write_text(config.read_text() + more)

    def run(self, more):
        """Runs the program with this added to its configuration. Gives where the log says that its console is."""
        self.configure(more + '[log]\nlevel = "warn,skin_assist::console=info"\n')
        log = self.start(["run"], "run.log", "console.started")
        return "http://" + re.search(r"console\.started\S* address=(\S+)", log).group(1)

    def environment(self):
        return {**os.environ, "SKIN_ASSIST_CONFIG": str(self.connection / "skin-assist.toml")}

    def attempt(self, words):
        return subprocess.run([self.program, *words], env=self.environment(), capture_output=True, text=True)

    def command(self, words):
        done = self.attempt(words)
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
