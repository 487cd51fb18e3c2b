// What a person does with the dashboard: node dashboard.mjs URL KEY PICTURES
// A call from 100 is up meanwhile. Each step is told in a line; what fails ends it.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";

// Playwright is in the folder that this is started in.
const { chromium } = createRequire(join(process.cwd(), "package.json"))("playwright-core");
const [url, key, pictures] = process.argv.slice(2);
const tell = (text) => console.log(text);

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });

/** A page in which no script may fail, and nothing may be asked of anybody but the node. */
async function open(options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.on("pageerror", (error) => { throw error; });
  page.on("console", (message) => {
    // A refused key or edit, and a call that is over, are answers and no faults.
    if (message.type() === "error" && !/status of 4(01|04|09|22)/.test(message.text())) throw new Error(message.text());
  });
  page.on("request", (request) => assert(request.url().startsWith(url) || request.url().startsWith("blob:"), request.url()));
  return page;
}

async function signIn(page) {
  await page.goto(url);
  await page.getByLabel("Key").fill(key);
  await page.keyboard.press("Enter");
  await page.getByRole("navigation").waitFor();
}

const page = await open({ viewport: { width: 1280, height: 800 } });
const began = Date.now();
await page.goto(url);
await page.getByRole("heading", { name: "Sign in" }).waitFor();
tell(`painted in ${Date.now() - began} ms`);
await page.getByLabel("Key").fill("no-such-key");
await page.getByRole("button", { name: "Sign in" }).click();
await page.getByText("this is no key").waitFor();
await signIn(page);
await page.locator("#state.good").waitFor();
tell("signed in");

const cards = page.locator(".card");
await cards.filter({ hasText: "Live calls" }).getByText("1", { exact: true }).waitFor();
await cards.filter({ hasText: "Trunks" }).getByText("1 of 1").waitFor();
await cards.filter({ hasText: "Datapath" }).waitFor();
await page.screenshot({ path: `${pictures}/overview.png`, fullPage: true });
tell("overview");

await page.getByRole("link", { name: "Calls", exact: true }).click();
const row = page.locator("tbody tr").filter({ hasText: "answered" });
await row.waitFor();
await page.keyboard.press("/");
await page.keyboard.type("nobody");
await page.getByText("0 of 1 calls").waitFor();
await page.keyboard.press("Control+A");
await page.keyboard.press("Delete");
await page.screenshot({ path: `${pictures}/calls.png` });
await row.getByRole("link").click();
await page.getByRole("button", { name: /: INVITE / }).first().click();
await page.getByText("CSeq:").waitFor();
await page.getByRole("region", { name: "Media" }).waitFor();
await page.screenshot({ path: `${pictures}/call.png`, fullPage: true });
tell("ladder");

const keys = page.getByLabel("Telephone keys");
await keys.fill("12");
const drawn = await page.getByRole("button", { name: "End", exact: true }).elementHandle();
const muted = await page.evaluate(async ([key, id]) => {
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
  return (await fetch(`/v1/calls/${id}/mute`, { method: "POST", headers, body: JSON.stringify({ party: "caller", on: true }) })).status;
}, [key, page.url().split("/").pop()]);
assert.equal(muted, 200);
// The page is drawn anew, and what was half typed is still there.
await drawn.waitForElementState("hidden");
assert.equal(await keys.inputValue(), "12");
await keys.pressSequentially("#");
await page.getByRole("button", { name: "Press", exact: true }).click();
// The phone of this call has none.
await page.getByText("has not agreed to telephone events").waitFor();
await page.getByText("MOS since").waitFor();
tell("keys and quality");

await page.getByRole("button", { name: "End", exact: true }).click();
await page.getByRole("button", { name: "End it" }).click();
await page.getByText("Ended by", { exact: true }).waitFor();
await page.getByRole("button", { name: /: BYE / }).first().waitFor();
await page.screenshot({ path: `${pictures}/ended.png`, fullPage: true });
tell("hung up");

await page.getByRole("link", { name: "Records" }).click();
await page.locator("tbody tr").first().waitFor();
await page.screenshot({ path: `${pictures}/records.png` });
tell("records");

await page.getByRole("link", { name: "Users" }).click();
await page.getByRole("button", { name: "New user" }).click();
const dialog = page.getByRole("dialog");
await dialog.getByLabel("user *").fill("carol@example.test");
await dialog.getByLabel("password *").fill("a long one");
await page.screenshot({ path: `${pictures}/user.png` });
await dialog.getByRole("button", { name: "Save" }).click();
await page.getByRole("button", { name: "carol@example.test", exact: true }).click();
await page.getByRole("dialog").getByLabel("display").fill("Carol");
await page.getByRole("button", { name: "Save" }).click();
await page.locator("tbody tr").filter({ hasText: "carol" }).getByText("Carol", { exact: true }).waitFor();
tell("user edited");

await page.getByRole("link", { name: "Numbers" }).click();
await page.getByRole("button", { name: "New number" }).click();
const number = page.getByRole("dialog");
await number.getByLabel("number *").fill("+15550100");
await number.getByLabel("group", { exact: true }).fill("no-such-group");
await number.getByRole("button", { name: "Save" }).click();
await number.locator(".bad").first().waitFor();
await page.screenshot({ path: `${pictures}/refused.png` });
await page.keyboard.press("Escape");
tell("a number that leads nowhere is refused");

const phone = await open({ viewport: { width: 390, height: 844 }, colorScheme: "dark", isMobile: true, hasTouch: true });
await signIn(phone);
await phone.locator("#state.good").waitFor();
await phone.locator(".card").first().waitFor();
const width = await phone.evaluate(() => document.documentElement.scrollWidth);
assert(width <= 390, `the page is ${width} px wide on a phone of 390`);
await phone.screenshot({ path: `${pictures}/phone.png`, fullPage: true });
tell("on a phone, in the dark");

const operator = { name: "ann@example.test", password: "correct horse battery", role: "viewer" };
const added = await page.evaluate(async ([key, body]) => {
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
  return (await fetch("/v1/operators", { method: "POST", headers, body: JSON.stringify(body) })).status;
}, [key, operator]);
assert.equal(added, 201);
const desk = await open({ viewport: { width: 1280, height: 800 } });
await desk.goto(url);
await desk.getByLabel("Name").fill(operator.name);
await desk.getByLabel("Password").fill("not the one");
await desk.keyboard.press("Enter");
await desk.getByText("no operator of this name and password").waitFor();
await desk.getByLabel("Password").fill(operator.password);
await desk.keyboard.press("Enter");
await desk.getByRole("navigation").waitFor();
await desk.locator("#state.good").waitFor();
const kept = await desk.evaluate(() => sessionStorage.getItem("tandem-key"));
await desk.getByRole("button", { name: "Sign out" }).click();
await desk.getByRole("heading", { name: "Sign in" }).waitFor();
const opens = await page.evaluate(async (kept) => (await fetch("/v1/calls", { headers: { authorization: `Bearer ${kept}` } })).status, kept);
assert.equal(opens, 401, "who signed out is out");
tell("signed in by name, and out");

await browser.close();
