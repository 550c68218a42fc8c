"""How live it is: from an event to pixels, through a restart, after a sleep, under load; and what it weighs."""
import http.client
import json
import os
import threading
import time

from browser import BrowserTest
from playwright.sync_api import expect
from server import PATIENCE, Server

#: Seconds of load with the timeline open; 60 to see that memory stays flat.
LOAD_SECONDS = float(os.environ.get("SPINDLE_DASHBOARD_SECONDS", "4"))


def load(server, rate, seconds, connections=16):
    """Runs `rate` small jobs a second; how many were answered."""
    done = [0] * connections
    body = json.dumps({"n": 100})
    headers = {"Authorization": "Bearer " + server.token, "Content-Type": "application/json"}
    end = time.monotonic() + seconds

    def client(number):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        due = time.monotonic()
        while time.monotonic() < end:
            # As many at once as are due: a small machine keeps its rate by larger steps.
            late = max(1, min(50, int((time.monotonic() - due) * rate / connections)))
            for _ in range(late):
                connection.request("POST", "/v1/run/squares", body, headers)
                connection.getresponse().read()
                done[number] += 1
            due += late * connections / rate
            time.sleep(max(0, due - time.monotonic()))
        connection.close()
    threads = [threading.Thread(target=client, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    return threads, done


class LiveTests(BrowserTest):
    def test_an_event_is_soon_pixels(self):
        self.go("/jobs?q=label.who:pixels")
        # When the picture after a change of state is drawn.
        self.page.evaluate("""() => {
          window.seen = {};
          new MutationObserver(() => requestAnimationFrame(() => requestAnimationFrame(() => {
            for (const row of document.querySelectorAll('tbody tr')) {
              if (row.querySelector('.succeeded')) window.seen[row.dataset.job] ??= Date.now();
            }
          }))).observe(document.querySelector('tbody'), { subtree: true, childList: true, characterData: true, attributes: true });
        }""")
        jobs = []
        for _ in range(40):
            jobs.append(self.server.submit("burn", {"milliseconds": 20}, labels={"who": "pixels"}))
            self.server.wait(jobs[-1])
        self.page.wait_for_function("count => Object.keys(window.seen).length >= count", arg=len(jobs))
        seen = self.page.evaluate("window.seen")
        took = sorted(seen[job] - millis(self.server.get(f"/v1/jobs/{job}").json["finished_at"]) for job in jobs)
        p95 = took[int(len(took) * 0.95) - 1]
        print(f"p50 {took[len(took) // 2]:.0f} ms, p95 {p95:.0f} ms: ", end="", flush=True)
        # What is wanted is 100 ms; a machine that does other things as well may take longer.
        self.assertLess(p95, 1000)

    def test_the_timeline_is_smooth_under_load(self):
        self.go("/timeline")
        client = self.page.context.new_cdp_session(self.page)
        heap = lambda: client.send("Runtime.getHeapUsage")["usedSize"]
        threads, done = load(self.server, 2000, LOAD_SECONDS + 1)
        self.page.wait_for_function("() => document.querySelector('#timeline-words').textContent.includes('squares')")
        client.send("HeapProfiler.collectGarbage")
        before, frames, begun = heap(), self.page.evaluate("document.querySelector('canvas').frames"), time.monotonic()
        for thread in threads:
            thread.join()
        rate = (self.page.evaluate("document.querySelector('canvas').frames") - frames) / (time.monotonic() - begun)
        client.send("HeapProfiler.collectGarbage")
        grown = (heap() - before) / 2**20
        print(f"{sum(done) / (LOAD_SECONDS + 1):.0f} jobs/s, {rate:.0f} pictures/s, {grown:+.1f} MiB: ", end="", flush=True)
        # What is wanted is 50 a second, on a machine with nothing else to do.
        self.assertGreater(rate, 5)
        self.assertLess(grown, 40)

    def test_after_a_restart_the_picture_is_exact_with_nothing_reloaded(self):
        server = Server("--threads", "1", "--processes", "1")
        self.addCleanup(server.stop)
        page = self.open(server)
        for _ in range(5):
            server.wait(server.submit("squares"))
        self.go("/jobs", page)
        expect(page.locator("tbody tr")).to_have_count(5)
        loads = page.evaluate("window.unchanged = performance.timeOrigin")
        # The same address, as behind a service manager.
        server.line = [part.replace("127.0.0.1:0", f"127.0.0.1:{server.port}") for part in server.line]
        server.kill()
        expect(page.locator("#link")).to_have_text("disconnected, trying again")
        server.start()
        begun = time.monotonic()
        made = server.submit("squares")
        expect(page.locator("tbody tr").first).to_have_attribute("data-job", made)
        expect(page.locator("#link")).to_have_text("live")
        expect(page.locator("tbody tr")).to_have_count(6)
        print(f"{time.monotonic() - begun:.1f} s: ", end="", flush=True)
        self.go("/", page)
        expect(page.locator("tr[data-name=squares] td").nth(2)).to_have_text("1")
        self.assertEqual(page.evaluate("window.unchanged"), loads)
        # A lost connection is the one thing that a browser itself complains about.
        self.problems[:] = [text for text in self.problems if "ERR_" not in text]
        page.context.close()

    def test_after_a_sleep_the_picture_is_exact(self):
        self.go("/")
        self.server.ask("POST", "/v1/run/squares")
        count = self.page.locator("tr[data-name=squares] td").nth(2)
        # As the server has it: a frame from before the end shows one less.
        name = 'spindle_jobs_ended_total{task="squares",state="succeeded"} '
        before = next(int(line.removeprefix(name)) for line in self.server.get("/metrics").body.decode().splitlines()
                      if line.startswith(name))
        expect(count).to_have_text(str(before))
        client = self.page.context.new_cdp_session(self.page)
        client.send("Page.setWebLifecycleState", {"state": "frozen"})
        for _ in range(10):
            self.server.ask("POST", "/v1/run/squares")
        client.send("Page.setWebLifecycleState", {"state": "active"})
        expect(count).to_have_text(str(before + 10), timeout=10_000)

    def test_nobody_who_looks_costs_nothing(self):
        streams = lambda: next(
            float(line.split()[1]) for line in self.server.get("/metrics").body.decode().splitlines()
            if line.startswith("spindle_streams_open "))
        deadline = time.monotonic() + PATIENCE
        while streams() < 1:
            self.assertLess(time.monotonic(), deadline)
        self.page.context.close()
        while streams() > 0:
            self.assertLess(time.monotonic(), deadline)
        self.page = self.open()

    def test_it_weighs_little_and_paints_soon(self):
        weight = 0
        for path in ["/", "/spindle.css"] + [f"/{name}.js" for name in (
                "app api charts colours compare dom errors fit form job jobs live overview timeline try").split()]:
            answer = self.server.get(path)
            self.assertEqual(answer.status, 200, path)
            weight += len(answer.body)
        context = self.browser.new_context()
        page = context.new_page()
        page.goto(self.address(self.server))
        page.wait_for_function("() => performance.getEntriesByName('first-contentful-paint').length")
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        context.close()
        print(f"{weight / 1024:.0f} KiB, first paint after {paint:.0f} ms: ", end="", flush=True)
        self.assertLess(weight, 150 * 1024)
        self.assertLess(paint, 3000)


def millis(text):
    """Milliseconds since 1970 of `2026-11-22T14:00:00.123Z`."""
    import datetime
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000
