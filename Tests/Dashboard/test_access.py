"""Whether everybody can use it: names on all controls, contrast, the way of the keyboard."""
from browser import PAGES, BrowserTest

# Controls without a name, as the accessibility tree has it.
NAMELESS = """() => [...document.querySelectorAll('a,button,input,select,textarea,canvas,progress,[role=img],[tabindex="0"]')]
  .filter(e => e.checkVisibility())
  .filter(e => !(e.ariaLabel || e.innerText?.trim() || [...(e.labels ?? [])].some(l => l.innerText.trim())
    || (e.getAttribute('aria-labelledby') ?? '').split(' ').some(id => document.getElementById(id))
    || e.alt || e.title || e.matches('svg *')))
  .map(e => e.outerHTML.slice(0, 120))"""

# Texts whose colour differs too little from what lies behind them. Source: WCAG 2.2, 1.4.3.
FAINT = """() => {
  const channel = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  const faint = [];
  for (const e of document.querySelectorAll('body *')) {
    if (!e.checkVisibility() || ![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    if (e.matches(':disabled, option, script, style')) continue;
    const style = getComputedStyle(e);
    const colour = e instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(parse(colour)), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) faint.push(`${e.tagName} ${e.className} "${e.textContent.slice(0, 30)}": ${ratio.toFixed(2)}`);
  }
  return faint;
}"""


class AccessTests(BrowserTest):
    def fill(self):
        self.server.wait(self.server.submit("failing", {"why": "for all to see"}))
        self.server.wait(self.server.submit("squares"))
        job = self.server.submit("steps", {"count": 3})
        self.server.wait(job)
        return PAGES + (f"/jobs/{job}",)

    def test_every_control_has_a_name_and_every_text_enough_contrast(self):
        paths = self.fill()
        for scheme in ("light", "dark"):
            page = self.open(color_scheme=scheme)
            for path in paths:
                with self.subTest(f"{path}, {scheme}"):
                    self.go(path, page)
                    page.wait_for_function("() => document.querySelector('main').innerText.length > 20")
                    self.assertEqual(page.evaluate(NAMELESS), [])
                    self.assertEqual(page.evaluate(FAINT), [])
                    self.assertEqual(page.locator("h1").count(), 1)
            page.context.close()

    def test_the_keyboard_alone_reaches_every_page_and_runs_a_task(self):
        page = self.page
        page.keyboard.press("Tab")
        self.assertEqual(page.evaluate("document.activeElement.className"), "skip")
        for name in ("Spindle", "Overview", "Timeline", "Jobs", "Try"):
            page.keyboard.press("Tab")
            self.assertEqual(page.evaluate("document.activeElement.innerText"), name)
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            self.assertEqual(outline, "solid")
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.activeElement.id === 'main' && document.title.startsWith('Try')")
        page.wait_for_selector(".tasks a")
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.innerText") == "squares":
                break
        page.keyboard.press("Enter")
        page.wait_for_function("() => location.hash === '#/try/squares'")
        page.wait_for_selector("h2:has-text('squares')")
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.innerText") == "Run":
                break
        page.keyboard.press("Enter")
        page.wait_for_selector(".job .state.succeeded")

    def test_a_browser_signs_out_and_in_again(self):
        page = self.page
        page.click("#leave")
        page.wait_for_selector("h1:has-text('Sign in')")
        # The cookie is worthless now, whoever has it.
        page.goto(self.server.url)
        page.wait_for_selector("h1:has-text('Sign in')")
        page.fill("input[type=password]", self.server.token)
        page.keyboard.press("Enter")
        page.wait_for_selector("#link.live")
        self.assertNotIn(self.server.token, page.url)
        # Chromium notes each 401 on its console.
        self.problems[:] = [problem for problem in self.problems if "401" not in problem]
