"""Uses the console as its users do, in a real browser, and looks at every page with axe.

The program serves a practice EHR and runs beside it; a practice is connected in the browser, step by step, until a draft is read
there. What is looked for besides: that every page passes axe's rules for WCAG 2.2 AA, light, dark and on a phone; that nothing is
asked of another host; that pages change by themselves; that whoever may not is refused; that nothing stays on a screen when a session has ended.
"""

import argparse
import json
import pathlib
import re
import shutil
import sys
import tempfile
import time

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from installation import Installation

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
WIDE = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
PATIENCE_MS = 120_000


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--chromium", required=True)
    parser.add_argument("--pictures", help="a folder for screenshots")
    return parser.parse_args()


class Served(Installation):
    """The program connected to nothing yet, and how one signs in."""

    def __init__(self, program, folder):
        super().__init__(program, folder, ["--firms", "2", "--visits", "10", "--minutes", "4"])
        practice = re.search(r"practice +(\S+) \(.*\), client_id (\S+)", self.said)
        self.practice, self.client_id = practice.group(1), practice.group(2)
        self.uses = dict(
            pair.rsplit("=", 1)
            for pair in re.search(rf"categories set {self.practice} (.*)", self.said).group(1).split()
        )
        self.address = self.run(
            '\n[console]\nlisten = "127.0.0.1:0"\n[assessments]\nwidespread_window_seconds = 2\n'
        )
        self.code = None
        deadline = time.monotonic() + 60
        while self.code is None:
            told = self.attempt(["console", "--json"])
            if told.returncode == 0 and json.loads(told.stdout):
                self.code = json.loads(told.stdout)[0]["code"]
            assert time.monotonic() < deadline, told.stderr
            time.sleep(0.2)


class Walk:
    """A person with a browser."""

    def __init__(self, browser, installation, pictures):
        self.installation, self.pictures = installation, pictures
        self.context = browser.new_context(viewport=WIDE, base_url=installation.address)
        self.page = self.context.new_page()
        self.seen, self.problems = set(), []
        self.page.on("request", self.watch)
        self.page.on("console", lambda message: self.problems.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))

    def watch(self, request):
        if not request.url.startswith((self.installation.address + "/", "data:")):
            self.problems.append(f"asked another host: {request.url}")

    def check(self, name, pictures=()):
        """What is shown now passes axe: light and dark, wide and on a phone, where nothing is wider than the screen."""
        for scheme, size in (("light", WIDE), ("dark", WIDE), ("light", PHONE)):
            self.page.emulate_media(color_scheme=scheme)
            self.page.set_viewport_size(size)
            found = Axe().run(self.page, options=RULES).response["violations"]
            for violation in found:
                nodes = "; ".join(node["html"][:160] for node in violation["nodes"][:3])
                self.problems.append(f"{name}, {scheme}, {size['width']}: {violation['id']}: {violation['help']}: {nodes}")
            width = self.page.evaluate("document.documentElement.scrollWidth")
            if width > size["width"]:
                self.problems.append(f"{name} is {width} pixels wide on a screen of {size['width']}")
            kind = "phone" if size is PHONE else scheme
            if self.pictures and kind in pictures:
                self.page.screenshot(path=f"{self.pictures}/console-{name}-{kind}.png")
        self.page.emulate_media(color_scheme="light")
        self.page.set_viewport_size(WIDE)
        self.seen.add(name)

    def open(self, path, name, pictures=()):
        reply = self.page.goto(path)
        assert reply.status == 200, f"{path}: {reply.status}"
        self.check(name, pictures)

    def sign_in(self, name, token):
        self.page.goto("/sign-in")
        self.page.get_by_label("Your name").fill(name)
        self.page.get_by_label("Token or code").fill(token)
        self.page.get_by_role("button", name="Sign in").click()


def looks_only(walk):
    """Who did not sign in sees how everything stands, and can change nothing."""
    walk.open("/", "first-overview")
    expect(walk.page.get_by_text("No practice is connected yet")).to_be_visible()
    walk.page.keyboard.press("Tab")
    expect(walk.page.get_by_role("link", name="To the content")).to_be_focused()
    walk.open("/connect", "connect-as-viewer")
    expect(walk.page.get_by_text("Connecting needs the role admin")).to_be_visible()
    forms = walk.page.locator("main form[method=post]")
    assert forms.count() == 0, "a viewer is offered a change"
    refused = walk.context.request.post("/connect", form={"id": "x"}, headers={"sec-fetch-site": "same-origin"})
    assert refused.status == 403, refused.status
    foreign = walk.context.request.post("/sign-in", form={"name": "x"}, headers={"sec-fetch-site": "cross-site"})
    assert foreign.status == 403, foreign.status
    walk.open("/sign-in", "sign-in")
    walk.sign_in("Eve", "not the code")
    expect(walk.page.get_by_role("alert")).to_contain_text("nobody has this token")
    walk.check("sign-in-refused")
    # The browser itself calls an answer of 401 an error.
    walk.problems = [problem for problem in walk.problems if "401" not in problem]


def connects(walk):
    """The wizard: from a credential to categories."""
    page, installation = walk.page, walk.installation
    walk.sign_in("Ada Roe", installation.code)
    expect(page.get_by_text("Ada Roe, admin")).to_be_visible()
    page.get_by_role("link", name="Connect one").click()
    walk.check("connect")
    page.get_by_label("Its name here").fill(installation.practice)
    page.get_by_label("Its part of the EHR's addresses").fill(installation.practice)
    page.get_by_label("Client id").fill(installation.client_id)
    secret = (installation.connection / f"{installation.practice}.secret").read_text().strip()
    page.get_by_label("Client secret").fill(secret)
    page.get_by_role("button", name="Connect").click()
    expect(page.get_by_text(f"{installation.practice} is connected, in silent mode.")).to_be_visible()
    walk.check("connected")
    page.get_by_role("button", name="Ask its EHR what it does").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("What the EHR of", timeout=PATIENCE_MS)
    walk.check("probe")
    page.get_by_role("link", name="Next: choose its categories").click()
    for code, use in installation.uses.items():
        page.locator(f"select[name='use.{code}']").select_option(use)
    walk.check("categories")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(installation.practice)
    expect(page.get_by_text("No document permits drafts yet")).to_be_visible()
    expect(page.get_by_role("heading", name="What its EHR does")).to_be_visible()
    expect(page.locator("main")).to_contain_text("silent")


def permits(walk):
    """A document that permits drafts changes the mode; who and by what is shown."""
    page = walk.page
    page.get_by_label("The document that permits drafts").set_input_files(
        {"name": "intended-use.txt", "mimeType": "text/plain", "buffer": b"for this test"}
    )
    page.get_by_label("Who records it").fill("Dr. Roe")
    page.get_by_role("button", name="Write drafts from now on").click()
    expect(page.get_by_text("Drafts were permitted by Dr. Roe")).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()


def sees_a_photo_come(walk):
    """The overview changes by itself; a photo has its way, and who says why reads its draft."""
    page = walk.page
    page.goto("/")
    figure = page.locator("dl.figures div", has_text="Drafts written, 24 h").locator("dd")
    # Nothing is reloaded: the page does it.
    expect(figure).not_to_contain_text("0", timeout=PATIENCE_MS)
    walk.check("overview", ("light", "dark", "phone"))
    walk.open(f"/practices/{walk.installation.practice}", "practice", ("light",))
    walk.open("/photos", "photos")
    row = page.locator("tbody tr", has_text="delivered").first
    row.get_by_role("link").first.click()
    walk.check("photo", ("light",))
    assert page.locator("article.draft").count() == 0, "a draft is shown to who gave no reason"
    page.get_by_label("Because").select_option("quality-review")
    page.get_by_label("Ticket").fill("QA-7")
    page.get_by_role("button", name="Read", exact=True).click()
    expect(page.locator("article.draft h3")).to_be_visible()
    assert page.locator("img.photo").count() == 0, "a photo is read that nobody asked for"
    page.go_back()
    page.get_by_label("Because").select_option("quality-review")
    page.get_by_label("Ticket").fill("QA-7")
    page.get_by_role("button", name="Read, with the photo").click()
    picture = page.locator("img.photo")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") > 100, "the photo is not shown"
    walk.check("draft", ("light",))
    page.goto(f"/trust/entries?practice={walk.installation.practice}&text=result-read")
    expect(page.locator("tbody")).to_contain_text("console admin Ada Roe")
    expect(page.locator("tbody")).to_contain_text("because quality-review QA-7")
    walk.check("entries")


def looks_after(walk):
    """The other pages."""
    page = walk.page
    walk.open("/queues", "queues")
    walk.open("/subscriptions", "no-subscription")
    made = ["subscription", "add", "--endpoint", "https://subscriber.invalid/a-secret-path", "--format", "cloudevents"]
    for event in ([], ["--event", "given-up"]):
        walk.installation.command([*made, *event])
    walk.open("/subscriptions", "subscriptions", ("light",))
    expect(page.locator("main")).not_to_contain_text("a-secret-path")
    page.get_by_role("button", name="Pause").first.click()
    expect(page.locator("tbody tr").first).to_contain_text("off")
    page.get_by_role("button", name="Resume").first.click()
    expect(page.locator("tbody tr").first).to_contain_text("requested")
    page.get_by_role("button", name="Remove").first.click()
    walk.check("subscription-to-be-removed")
    page.get_by_role("button", name="Remove it").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    walk.open("/trust", "trust", ("light",))
    page.get_by_role("button", name="Check all chains").click()
    expect(page.get_by_text("Every chain is whole.")).to_be_visible()
    walk.check("verified")
    walk.open("/models", "models")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("region", name="by week").first).to_be_visible()
    walk.check("drift")
    page.get_by_label("The file of diagnoses").set_input_files(
        {"name": "coded.csv", "mimeType": "text/csv", "buffer": b"encounter,system,code\ne-1,icd-10-cm,D22.5\n"}
    )
    page.get_by_label("Because").select_option("quality-review")
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("region", name="Report")).to_contain_text("diagnoses by the file with SHA-256")
    walk.check("agreement")
    page.goto("/nothing")
    expect(page.get_by_text("there is no such page")).to_be_visible()
    walk.check("no-such-page")
    walk.problems = [problem for problem in walk.problems if "404" not in problem]
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()


def stays_on_no_screen(walk):
    """When a session has ended, whatever is shown goes, with nobody doing anything; and who signs in again is where they were."""
    page = walk.page

    def ends(then):
        walk.context.clear_cookies()
        page.clock.fast_forward(61_000)
        expect(page).to_have_url(walk.installation.address + then)

    # The browser's clock is the test's from here on.
    page.clock.install()
    for path in ("/photos", "/models"):
        walk.sign_in("Ada Roe", walk.installation.code)
        page.goto(path)
        ends(f"/sign-in?next=%2F{path[1:]}")
        page.get_by_label("Your name").fill("Ada Roe")
        page.get_by_label("Token or code").fill(walk.installation.code)
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(walk.installation.address + path)
    page.goto("/trust")
    page.get_by_role("button", name="Check all chains").click()
    expect(page.get_by_text("Every chain is whole.")).to_be_visible()
    # What answers a form has no address that leads to it again.
    ends("/sign-in")
    # Who never signed in looks on.
    page.goto("/")
    page.clock.fast_forward(120_000)
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    walk.problems = [problem for problem in walk.problems if "401" not in problem]


def main():
    options = arguments()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        installation = Served(options.program, pathlib.Path(folder))
        browser = playwright.chromium.launch(executable_path=shutil.which(options.chromium), args=["--no-sandbox"])
        walk = Walk(browser, installation, options.pictures)
        for part in (looks_only, connects, permits, sees_a_photo_come, looks_after, stays_on_no_screen):
            part(walk)
            print(f"{part.__name__}: done", flush=True)
        browser.close()
        installation.end()
        log = (installation.folder / "run.log").read_text()
        for secret in (installation.code, "Ada Roe"):
            assert secret not in log, "the log names who signed in, or with what"
    for problem in walk.problems:
        print(problem, file=sys.stderr)
    print(f"{len(walk.seen)} pages and answers were looked at, each in three ways: {len(walk.problems)} problems")
    return 1 if walk.problems else 0


if __name__ == "__main__":
    sys.exit(main())
