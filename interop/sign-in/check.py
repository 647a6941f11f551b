"""Signs in to the console at an OpenID provider of others, with each kind of client and signature, and out again.

The program serves a practice EHR and runs beside it. What is looked for: who has a group gets in with its role, who has none does not,
and the provider takes what the console sends when somebody signs out.
"""

import argparse
import html
import http.cookiejar
import json
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from installation import Installation

GROUPS = {"ada": ["staff", "imaging"], "eve": ["staff"]}
# How the client proves itself, and how the provider signs.
WAYS = [("client_secret_basic", "RS256"), ("client_secret_post", "PS256"), ("none", "ES256"), ("none", "EdDSA")]
SECRET = "a secret: with % and + and a space"


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--provider", required=True, help="provider.mjs, beside the packages that it needs")
    return parser.parse_args()


def free_port():
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return chosen.getsockname()[1]


class Stay(urllib.request.HTTPRedirectHandler):
    """Follows nothing by itself."""

    def redirect_request(self, *_):
        return None


class Browser:
    """Keeps cookies, and follows where it is led, also by `Refresh`. The strictness of cookies it does not know: a browser's is in the console's own tests."""

    def __init__(self):
        self.opener = urllib.request.build_opener(
            Stay(), urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        )

    def open(self, url, form=None):
        """The address, status and text of where it ends."""
        for _ in range(20):
            data = urllib.parse.urlencode(form).encode() if form is not None else None
            request = urllib.request.Request(url, data, {"Accept": "text/html"})
            try:
                answer = self.opener.open(request, timeout=30)
            except urllib.error.HTTPError as error:
                answer = error
            text = answer.read().decode()
            next_one = answer.headers.get("Location") or (answer.headers.get("Refresh") or "").removeprefix("0; url=")
            if not next_one:
                return url, answer.status, text
            url, form = urllib.parse.urljoin(url, next_one), None
        raise AssertionError(f"led around without end: {url}")

    def submit(self, page, more):
        """Sends the first form of a page, with what a person fills in."""
        url, _, text = page
        form = re.search(r"<form[^>]*>.*?</form>", text, re.S).group(0)
        action = html.unescape(re.search(r'action="([^"]*)"', form).group(1))
        hidden = re.findall(r'<input[^>]*type="hidden"[^>]*name="([^"]*)"[^>]*value="([^"]*)"', form)
        return self.open(urllib.parse.urljoin(url, action), {**{k: html.unescape(v) for k, v in hidden}, **more})

    def sign_in(self, console, name):
        page = self.open(f"{console}/sign-in/openid-connect?next=%2Fqueues")
        while not page[0].startswith(console):
            assert page[1] == 200, page
            page = self.submit(page, {"login": name, "password": "any"} if 'name="login"' in page[2] else {})
        return page


def serve(options, folder, way, console):
    """The provider, and the section for it."""
    method, algorithm = way
    client = {
        "client_id": "console", "token_endpoint_auth_method": method, "redirect_uris": [f"{console}/sign-in/return"],
        "post_logout_redirect_uris": [f"{console}/"], "grant_types": ["authorization_code"], "response_types": ["code"],
    }
    section = f'client_id = "console"\nconsole_url = "{console}"\nscopes = ["groups"]\noperators = ["imaging"]\n'
    if method != "none":
        client["client_secret"] = SECRET
        secret = folder / "client.secret"
        secret.write_text(SECRET)
        section += f'client_secret_file = "{secret}"\n'
    settings = folder / "provider.json"
    settings.write_text(json.dumps({"clients": [client], "groups": GROUPS, "algorithm": algorithm}))
    log = (folder / "provider.log").open("w")
    provider = subprocess.Popen(["node", options.provider, settings], stdout=subprocess.PIPE, stderr=log, text=True)
    issuer = provider.stdout.readline().strip()
    assert issuer, (folder / "provider.log").read_text()
    return provider, f'\n[openid_connect]\nissuer = "{issuer}"\n{section}'


def play(options, folder, way):
    console = f"http://127.0.0.1:{free_port()}"
    provider, section = serve(options, folder, way, console)
    try:
        installation = Installation(options.program, folder, ["--firms", "1", "--visits", "0"])
        address = installation.run(f'\n[console]\nlisten = "{console.removeprefix("http://")}"{section}')
        assert address == console, address
        assert "answers; people come back to" in installation.attempt(["doctor"]).stdout
        ada, eve = Browser(), Browser()
        url, status, text = ada.sign_in(console, "ada")
        assert (url, status) == (f"{console}/queues", 200) and "sub:ada, operator" in text, (url, status, text)
        url, status, text = eve.sign_in(console, "eve")
        assert status == 403 and "you have no role here" in text, (url, status, text)
        assert ada.open(f"{console}/trust")[1] == 200, "the session holds"
        form = re.search(r'name="form" value="([^"]*)"', ada.open(f"{console}/")[2]).group(1)
        url, status, text = ada.open(f"{console}/sign-out", {"form": form})
        assert not url.startswith(console) and status == 200 and "sign-out" in text.lower(), (url, status, text)
        assert ada.open(f"{console}/")[0].startswith(f"{console}/sign-in"), "the session is over"
        installation.end()
        log = (folder / "run.log").read_text()
        assert "no-role" in log and SECRET not in log and "code=" not in log and "sub:ada" not in log, log
    finally:
        provider.terminate()
        provider.wait(timeout=60)


def main():
    options = arguments()
    for way in WAYS:
        with tempfile.TemporaryDirectory() as folder:
            play(options, pathlib.Path(folder), way)
        print(f"{way[0]}, {way[1]}: signed in and out", flush=True)


if __name__ == "__main__":
    main()
