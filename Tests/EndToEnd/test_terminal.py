"""What a job says cannot steer the terminal of whoever follows it; what goes elsewhere goes as it is."""
import json
import os
import pty
import select
import subprocess
import unittest

from server import BINARY, PATIENCE, Server

# Clears the screen, sets the title, asks the terminal to answer, colours, moves by C1, rings, goes back, and ends with a tab.
SAID = "\x1b[2J\x1b]0;owned\x07\x1b[6n\x1b[31mred\x1b[0m\x9b2J\x7f\rback\ttab"
SHOWN = "\\u001b[2J\\u001b]0;owned\\u0007\\u001b[6n\x1b[31mred\x1b[0m\\u009b2J\\u007f\\u000dback\ttab\x1b[0m"
TASKS = f"""
import spindle

@spindle.task
def says(fails: bool = False):
    spindle.log({SAID!r})
    if fails:
        raise spindle.Never({SAID!r})
    return {SAID!r}
"""


class TerminalTests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--python", "t.py", "--processes", "1", "--threads", "1", files={"t.py": TASKS})

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def on_terminal(self, *arguments):
        """What a command writes when both its outputs are one terminal."""
        leader, follower = pty.openpty()
        process = subprocess.Popen(
            [BINARY, *arguments], stdin=subprocess.DEVNULL, stdout=follower, stderr=follower, env=self.server.environment)
        os.close(follower)
        text = b""
        try:
            while select.select([leader], [], [], PATIENCE)[0] and (piece := os.read(leader, 4096)):
                text += piece
        except OSError:
            pass  # its last writer has gone
        os.close(leader)
        process.wait(PATIENCE)
        # The terminal's own: a line feed also goes back to the first column. The bar clears its line.
        return text.decode().replace("\r\n", "\n").replace("\r\x1b[2K", "")

    def test_on_a_terminal_a_log_an_error_and_a_result_have_colours_and_nothing_else(self):
        for fails in ("false", "true"):
            text = self.on_terminal("run", "says", f'{{"fails":{fails}}}')
            self.assertIn(SHOWN + "\n", text)
            self.assertNotIn("\x1b[2J", text)
            self.assertEqual({c for c in text if c < " " or "\x7f" <= c < "\xa0"} - {"\n", "\t", "\x1b"}, set(), text)
        job = self.server.submit("says", {"fails": True})
        self.assertIn(SHOWN, self.on_terminal("watch", job))

    def test_a_result_on_a_terminal_is_still_json(self):
        lines = self.on_terminal("run", "says").splitlines()
        self.assertEqual(json.loads(lines[-1]), SAID)

    def test_in_a_pipe_everything_is_as_it_was_said(self):
        done = subprocess.run([BINARY, "run", "says"], capture_output=True, env=self.server.environment, timeout=PATIENCE)
        self.assertEqual(done.stderr.decode(), SAID + "\n")
        self.assertEqual(json.loads(done.stdout), SAID)


if __name__ == "__main__":
    unittest.main()
