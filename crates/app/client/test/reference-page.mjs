// The reference page in a real browser: every operation is shown, "try it out" shows the service's real answer, and the
// console stays empty. Started by the Rust test `client.rs` (BASE_URL, COOKIE_RECEPTIONIST, CHROMIUM, SCREENSHOT).
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const { BASE_URL, COOKIE_RECEPTIONIST, CHROMIUM, SCREENSHOT } = process.env;
const browser = await chromium.launch({
  executablePath: CHROMIUM,
  // Chromium's own sandbox refuses to run as root; the page is ours, and nothing but loopback is reached.
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update"],
});
try {
  const context = await browser.newContext({ viewport: { width: 1200, height: 1600 } });
  const separator = COOKIE_RECEPTIONIST.indexOf("=");
  const [name, value] = [COOKIE_RECEPTIONIST.slice(0, separator), COOKIE_RECEPTIONIST.slice(separator + 1)];
  await context.addCookies([{ name, value, url: BASE_URL, httpOnly: true, sameSite: "Lax" }]);
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    const { protocol, origin } = new URL(request.url());
    if (protocol !== "data:" && origin !== BASE_URL) complaints.push(`a request to ${origin}`);
  });

  await page.goto(`${BASE_URL}/api/docs`);
  const described = await (await fetch(`${BASE_URL}/api/openapi.json`)).json();
  const operations = Object.entries(described.paths).flatMap(([path, item]) =>
    Object.keys(item).map((method) => `${method.toUpperCase()} ${path}`),
  );
  await page.locator(".opblock").nth(operations.length - 1).waitFor();
  const shown = await page.locator(".opblock-summary").evaluateAll((summaries) =>
    summaries.map((summary) => {
      const method = summary.querySelector(".opblock-summary-method").textContent.trim();
      return `${method} ${summary.querySelector("[data-path]").getAttribute("data-path")}`;
    }),
  );
  assert.deepEqual(shown.toSorted(), operations.toSorted());

  // By its anchor, as a colleague would share it.
  const block = page.locator("#operations-tags-list_tags");
  await block.locator(".opblock-summary-control").click();
  await block.getByRole("button", { name: "Try it out" }).click();
  await block.getByRole("button", { name: "Execute" }).click();
  const live = block.locator(".live-responses-table .response").first();
  await live.waitFor();
  assert.equal((await live.locator(".response-col_status").innerText()).trim().split(/\s/)[0], "200");
  const body = JSON.parse(await live.locator(".highlight-code code, .highlight-code pre").first().innerText());
  assert.equal(body.success, true);
  assert.deepEqual(body.data.tags.map((tag) => tag.name), ["VIP"]);
  await block.scrollIntoViewIfNeeded();
  await page.screenshot({ path: SCREENSHOT });
  assert.deepEqual(complaints, []);
  console.log(`the page shows ${shown.length} operations`);
} finally {
  await browser.close();
}
