"""Pages of a server under test in a real Chromium, signed in, watched for errors."""
import os
import pathlib
import shutil
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "EndToEnd"))

from playwright.sync_api import sync_playwright  # noqa: E402
from server import PATIENCE, ROOT, Server  # noqa: E402

TASKS = str(ROOT / "Tests/Workers/tasks.py")
PAGES = ("/", "/timeline", "/jobs", "/try/typed", "/compare/burn", "/errors")


class BrowserTest(unittest.TestCase):
    arguments = ("--threads", "2", "--processes", "2", "--demo-faults", "--python", TASKS, "--config", "c.toml")
    files = {"c.toml": '[commands.repeat]\ncommand = ["cat"]\nstdin = true\n'}
    #: What a window is like; see Playwright's `new_context`.
    window = {"viewport": {"width": 1280, "height": 800}}

    @classmethod
    def setUpClass(cls):
        cls.playwright = sync_playwright().start()
        path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
        flags = ["--no-sandbox"] if os.getuid() == 0 else []
        cls.browser = cls.playwright.chromium.launch(executable_path=path, args=flags)
        cls.server = Server(*cls.arguments, files=cls.files)

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        cls.playwright.stop()
        cls.server.stop()

    def setUp(self):
        self.problems = []
        self.page = self.open()

    def tearDown(self):
        self.page.context.close()
        self.assertEqual(self.problems, [])

    def open(self, server=None, **window):
        """A window of its own, signed in by the one-time address."""
        server = server or self.server
        context = self.browser.new_context(**{**self.window, **window})
        context.set_default_timeout(PATIENCE * 1000)
        page = context.new_page()
        page.on("console", lambda message: message.type in ("error", "warning") and self.problems.append(message.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.goto(self.address(server))
        page.wait_for_selector("#link.live")
        return page

    def address(self, server):
        return f"{server.url}/?token={server.token}"

    def go(self, path, page=None):
        page = page or self.page
        page.evaluate("path => { location.hash = path }", path)
        page.wait_for_function("path => location.hash === '#' + path && document.querySelector('main h1')", arg=path)
        return page
