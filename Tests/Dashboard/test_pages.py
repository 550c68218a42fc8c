"""The dashboard as a person uses it: each page, with mouse and keyboard."""
import json
import re
import time

from browser import PAGES, BrowserTest
from playwright.sync_api import expect
from server import PATIENCE


class PageTests(BrowserTest):
    def test_the_address_signs_in_once_and_shows_no_token(self):
        self.assertNotIn("token", self.page.url)
        self.assertEqual(self.page.title(), "Overview · Spindle")
        cookies = self.page.context.cookies()
        self.assertTrue(all(cookie["httpOnly"] and cookie["sameSite"] == "Strict" for cookie in cookies), cookies)
        self.assertEqual(
            self.page.locator("nav a").all_inner_texts(), ["Overview", "Timeline", "Jobs", "Try", "Compare", "Errors"])
        policy = self.server.get("/").headers["content-security-policy"]
        self.assertIn("default-src 'none'", policy)
        self.assertNotIn("unsafe", policy)

    def test_who_is_not_signed_in_is_told_how(self):
        context = self.browser.new_context()
        page = context.new_page()
        page.goto(self.server.url + "/")
        expect(page.locator("main")).to_contain_text("Open the address that the server printed")
        context.close()

    def test_a_form_submits_a_job_whose_progress_moves_to_its_result(self):
        self.go("/try/steps")
        self.page.get_by_label("count").fill("20")
        self.page.get_by_label("pause").fill("0.1")
        expect(self.page.get_by_label("The same with curl")).to_contain_text('{"count":20,"pause":0.1}')
        self.page.get_by_role("button", name="Run").click()
        state = self.page.locator(".job .state")
        expect(state).to_have_text("running")
        seen = set()
        bar = self.page.locator(".job progress").first
        while state.inner_text() == "running":
            seen.add(bar.evaluate("bar => bar.value"))
        expect(state).to_have_text("succeeded")
        self.assertGreater(len(seen), 3, seen)
        expect(self.page.get_by_label("Result", exact=True)).to_contain_text('"steps": 20')

    def test_what_does_not_fit_is_shown_at_its_field(self):
        self.go("/try/typed")
        self.page.get_by_role("group", name="point").get_by_label("x", exact=True).fill("1")
        self.page.get_by_label("more").fill('["no number"]')
        self.page.get_by_role("button", name="Run").click()
        expect(self.page.locator(".problem")).to_contain_text("/input/more")
        expect(self.page.get_by_label("more")).to_have_attribute("aria-invalid", "true")
        # The browser tells of every refusal.
        self.assertEqual(len(self.problems), 1)
        self.assertIn("422", self.problems.pop())

    def test_a_picture_is_shown_as_one(self):
        self.go("/try/mandelbrot")
        for name, value in (("width", "64"), ("height", "48"), ("iterations", "50")):
            self.page.get_by_label(name).fill(value)
        self.page.get_by_role("button", name="Run").click()
        expect(self.page.locator(".job .state")).to_have_text("succeeded")
        picture = self.page.get_by_alt_text("the picture in the result").last
        self.page.wait_for_function("picture => picture.complete && picture.naturalWidth === 64", arg=picture.element_handle())

    def test_a_job_is_suspended_resumed_and_cancelled_and_says_what_that_did(self):
        job = self.server.submit("steps", {"count": 10**6, "pause": 0.02}, pool="process")
        self.go(f"/jobs/{job}")
        state = self.page.locator(".job .state")
        expect(state).to_have_text("running")
        self.page.get_by_role("button", name="Suspend").click()
        expect(state).to_have_text("suspended")
        self.page.get_by_role("button", name="Resume").click()
        expect(state).to_have_text("running")
        self.page.get_by_role("button", name="Cancel").click()
        expect(state).to_have_text("cancelled")
        expect(self.page.locator(".job")).to_contain_text("Cancelled: it listened, after")
        self.assertEqual(self.server.get(f"/v1/jobs/{job}").json["state"], "cancelled")
        expect(self.page.locator(".events")).to_contain_text("suspended")

    def test_a_program_is_written_to_and_its_log_comes_as_it_is_said(self):
        job = self.server.submit("repeat")
        self.go(f"/jobs/{job}")
        line = self.page.get_by_label("A line for its standard input")
        log = self.page.get_by_label("Log", exact=True)
        for words in ("one", "two & <three>"):
            line.fill(words)
            self.page.keyboard.press("Enter")
            expect(log).to_contain_text(words)
        self.page.get_by_role("button", name="Close input").click()
        expect(self.page.locator(".job .state")).to_have_text("succeeded")
        expect(self.page.get_by_label("Result", exact=True)).to_contain_text("one\\ntwo & <three>")

    def test_a_failed_job_shows_its_traceback_log_and_attempts(self):
        job = self.server.submit("failing", {"why": "<b>bold</b>"})
        self.server.wait(job)
        self.go(f"/jobs/{job}")
        expect(self.page.locator(".job p.failed")).to_contain_text("ValueError: <b>bold</b>")
        expect(self.page.get_by_label("Traceback")).to_contain_text("in failing")
        expect(self.page.get_by_label("Log", exact=True)).to_contain_text("about to fail\nabout to fail")
        self.assertEqual(self.page.locator("table tbody tr").count(), 2)
        self.assertEqual(self.page.locator("main b").count(), 0)

    def test_failures_that_look_alike_are_one_group_and_can_be_tried_again(self):
        for number in range(3):
            self.server.wait(self.server.submit("failing", {"why": f"group {number}", "never": True}))
        self.go("/errors")
        group = self.page.locator(".groups > li", has_text="failing: Never")
        expect(group).to_contain_text("3 jobs")
        expect(group.locator("code")).to_contain_text("in failing")
        # The page is pushed: one more is counted while somebody looks.
        self.server.wait(self.server.submit("failing", {"why": "group 7", "never": True}))
        expect(group).to_contain_text("4 jobs")
        group.get_by_role("button").click()
        expect(self.page.locator("#toast")).to_contain_text("4 of 4 submitted again")
        expect(group).to_contain_text("8 jobs")

    def test_the_list_is_pushed_filtered_by_address_and_acts_on_many(self):
        mine = {"who": "list"}
        self.go("/jobs?q=label.who:list")
        expect(self.page.get_by_text("No jobs match.")).to_be_visible()
        jobs = [self.server.submit("sleep", {"seconds": 600}, labels=mine) for _ in range(3)]
        other = self.server.submit("sleep", {"seconds": 600}, labels={"who": "other"})
        rows = self.page.locator("tbody tr")
        expect(rows).to_have_count(3)
        self.assertEqual([row.get_attribute("data-job") for row in rows.all()], sorted(jobs, reverse=True))
        self.page.get_by_label("Select all shown").check()
        self.page.get_by_role("button", name="Cancel").click()
        expect(self.page.locator("tbody .cancelled")).to_have_count(3)
        self.page.get_by_label("Filter").fill("label.who:list state:running")
        self.page.keyboard.press("Enter")
        expect(self.page).to_have_url(re.compile(r"#/jobs\?q=label\.who%3Alist%20state%3Arunning"))
        expect(rows).to_have_count(0)
        self.server.ask("DELETE", f"/v1/jobs/{other}")
        self.go("/jobs?q=nonsense")
        expect(self.page.get_by_role("alert").first).to_contain_text("nonsense")

    def test_the_timeline_zooms_moves_tells_opens_and_exports(self):
        for pool in ("thread", "process", "loop"):
            self.server.wait(self.server.submit("sleep", {"seconds": 0.3}, pool=pool))
        long = self.server.submit("sleep", {"seconds": 600}, pool="loop")
        self.go("/timeline")
        canvas = self.page.locator("canvas")
        words = self.page.locator("#timeline-words")
        expect(words).to_contain_text("sleep")
        expect(self.page.locator(".legend")).to_contain_text("sleep")
        trace = self.page.get_by_role("link", name="Export trace")

        def window():
            query = dict(part.split("=") for part in trace.get_attribute("href").split("?")[1].split("&"))
            return int(query["from"]), int(query["to"])
        self.page.get_by_role("button", name="10 s").click()
        start, end = window()
        self.assertAlmostEqual(end - start, 10_000, delta=2)
        box = canvas.bounding_box()
        self.page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 60)
        self.page.mouse.wheel(0, -300)
        self.page.wait_for_function("before => Number(/to=(\\d+)/.exec(document.querySelector('a[download]').href)[1] - /from=(\\d+)/.exec(document.querySelector('a[download]').href)[1]) < before", arg=end - start)
        canvas.focus()
        self.page.keyboard.press("-")
        self.page.keyboard.press("ArrowLeft")
        follow = self.page.get_by_role("button", name="Follow")
        expect(follow).to_have_attribute("aria-pressed", "false")
        self.page.keyboard.press("End")
        expect(follow).to_have_attribute("aria-pressed", "true")
        # What still runs reaches to the right edge of its row: one of these bars is the job's.
        opened = set()
        deadline = time.monotonic() + PATIENCE
        while long not in opened and time.monotonic() < deadline:
            for y in range(30, int(box["height"]), 11):
                self.page.mouse.click(box["x"] + box["width"] - 3, box["y"] + y)
                if "#/jobs/" in self.page.url:
                    opened.add(self.page.url.rpartition("/")[2])
                    self.go("/timeline")
                    expect(words).to_contain_text("running")
        self.assertIn(long, opened)
        self.server.ask("DELETE", f"/v1/jobs/{long}")
        trace = json.loads(self.server.get("/v1/timeline?format=trace").body)
        bars = [event for event in trace["traceEvents"] if event["ph"] == "X" and event["name"] == "sleep"]
        self.assertTrue(any(250_000 < bar["dur"] < 5_000_000 for bar in bars))
        names = {event["args"]["name"] for event in trace["traceEvents"] if event["ph"] == "M"}
        self.assertLessEqual({"thread", "process", "loop", "thread 1"}, names)

    def test_the_overview_counts(self):
        self.go("/")
        row = self.page.locator("tr[data-name=squares]")
        before = int(row.locator("td").nth(2).inner_text()) if row.count() else 0
        for _ in range(25):
            self.server.ask("POST", "/v1/run/squares")
        expect(row.locator("td").nth(2)).to_have_text(str(before + 25))
        self.assertIn("Throughput, last minute", self.page.locator(".spark").first.get_attribute("aria-label"))
        pools = self.page.locator("tr[data-name=process]")
        expect(pools).to_contain_text("of 2")

    def test_a_comparison_ends_in_advice(self):
        self.go("/compare/burn")
        self.page.get_by_label("numbers of workers").fill("1, 2")
        self.page.get_by_label("jobs in each run").fill("8")
        self.page.get_by_role("button", name="Compare").click()
        expect(self.page.locator(".advice")).to_contain_text(re.compile(r"\d+ % CPU.*use (threads|processes|the loop), \d of them"))
        expect(self.page.get_by_role("status").nth(1)).to_have_text("Done.")
        self.assertEqual(self.page.locator("section table tbody tr").count(), 4)
        expect(self.page.locator(".laws")).to_contain_text("Amdahl")
        pools = {pool["name"]: pool["capacity"] for pool in self.server.get("/v1/pools").json["pools"]}
        self.assertEqual((pools["thread"], pools["process"]), (2, 2))

    def test_pause_stops_the_stream_and_resume_shows_what_was_missed(self):
        self.go("/")
        self.page.get_by_role("button", name="Pause").click()
        expect(self.page.locator("#link")).to_have_text("paused")
        self.server.ask("POST", "/v1/run/pi", {"samples": 10})
        self.assertEqual(self.page.locator("tr[data-name=pi]").count(), 0)
        self.page.get_by_role("button", name="Resume").click()
        expect(self.page.locator("tr[data-name=pi] td").nth(2)).to_have_text("1")


class PhoneTests(BrowserTest):
    window = {"viewport": {"width": 390, "height": 780}, "has_touch": True, "is_mobile": True}

    def test_nothing_is_cut_off(self):
        self.server.wait(self.server.submit("failing", {"why": "x" * 300}))
        for path in PAGES:
            with self.subTest(path):
                self.go(path)
                self.page.wait_for_function("() => document.querySelector('main').innerText.length > 20")
                self.assertLessEqual(self.page.evaluate("document.documentElement.scrollWidth"), 390)
                for name in self.page.locator("nav a").all_inner_texts():
                    self.page.locator("nav a", has_text=name).scroll_into_view_if_needed()
