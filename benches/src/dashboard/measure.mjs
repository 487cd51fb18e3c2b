// The dashboard as a person's browser has it: measure.mjs URL KEY CALLS SECONDS, in a folder with Playwright.
// Prints one line of JSON.

import { createRequire } from "node:module";
import { join } from "node:path";

const { chromium } = createRequire(join(process.cwd(), "package.json"))("playwright-core");
const [url, key, calls, seconds] = process.argv.slice(2);
const LOADS = 5;

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });

/** A browser that was never here, whose tab has the key. */
async function open() {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  const page = await context.newPage();
  page.on("pageerror", (error) => { throw error; });
  await page.addInitScript((key) => sessionStorage.setItem("tandem-key", key), key);
  await page.goto(url);
  return page;
}

/** How long the frames of so many seconds took, in milliseconds. */
function frames(page) {
  return page.evaluate((seconds) => new Promise((resolve) => {
    const [times, end] = [[], performance.now() + seconds * 1000];
    let last = performance.now();
    const frame = (now) => {
      times.push(now - last);
      last = now;
      if (now < end) requestAnimationFrame(frame);
      else resolve(times.slice(1));
    };
    requestAnimationFrame(frame);
  }), Number(seconds));
}

const paints = [];
const loaded = [];
let page;
for (let load = 0; load < LOADS; load += 1) {
  await page?.context().close();
  page = await open();
  // All calls are known, of which there are a few more or less all the time.
  await page.waitForFunction(async (least) => {
    const { live } = await import("/web/live.js");
    return live.calls.size >= least;
  }, Number(calls) * 0.9, { timeout: 30_000 });
  const now = await page.evaluate(() => [
    performance.getEntriesByName("first-contentful-paint")[0].startTime,
    performance.now(),
  ]);
  paints.push(now[0]);
  loaded.push(now[1]);
}

const overview = await frames(page);
await page.getByRole("link", { name: "Calls", exact: true }).click();
await page.locator("tbody tr").nth(100).waitFor();
const list = await frames(page);
const known = await page.evaluate(async () => (await import("/web/live.js")).live.calls.size);
await browser.close();
console.log(JSON.stringify({ paints, loaded, overview, list, known }));
