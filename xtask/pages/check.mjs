// Walks through the page of a template in English and Korean, light and dark, narrow and wide: node check.mjs TEMPLATE ADDRESS PICTURES
// Accessibility by axe, nothing wider than the window, no error on the console; pictures to look at.
import { chromium } from "playwright-core";
import { createRequire } from "node:module";
import { mkdirSync } from "node:fs";

const [, , template, address, pictures] = process.argv;
const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
mkdirSync(pictures, { recursive: true });
const walks = { team, shop };
const faults = [];

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
for (const locale of ["en-GB", "ko-KR"]) {
  for (const colorScheme of ["light", "dark"]) {
    for (const width of [320, 1280]) {
      const name = `${template}-${locale.slice(0, 2)}-${colorScheme}-${width}`;
      // The policy of the page lets no script in that is not its own; axe is one.
      const context = await browser.newContext({ locale, colorScheme, viewport: { width, height: 900 }, reducedMotion: "reduce", bypassCSP: true });
      const page = await context.newPage();
      const fault = (what) => faults.push(`${name}: ${what}`);
      page.on("pageerror", (error) => fault(error.message));
      page.on("console", (message) => message.type() === "error" && !message.text().includes("status of 4") && fault(message.text()));
      const look = async (part) => {
        await page.waitForTimeout(200);
        await page.screenshot({ path: `${pictures}/${name}-${part}.png` });
        const wide = await page.evaluate(() => document.documentElement.scrollWidth);
        if (wide > width) fault(`${part} is ${wide} wide`);
        await page.addScriptTag({ path: axe });
        const { violations } = await page.evaluate(() => window.axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"] }));
        for (const { id, nodes } of violations) fault(`${part}: ${id} at ${nodes.map(({ target }) => target).join(", ")}`);
        if (locale === "ko-KR") {
          const english = await page.evaluate(() => [...document.querySelectorAll("label, h1, h2, h3, th, button:not([lang])")].map((one) => one.innerText.trim()).filter((text) => /^[A-Z][a-z]+( [a-z]+)*\.?$/.test(text)));
          const said = english.filter((text) => template !== "shop" || !/tea|cup|bowl|kettle|fan|stone|brush|cloth|lantern|box|notebook/i.test(text)).filter((text) => !["Moon base", "Dig the first tunnel", "Order oxygen"].includes(text));
          if (said.length) fault(`${part}: in English: ${said.join(", ")}`);
        }
      };
      await page.goto(address);
      try {
        await walks[template](page, look, name);
      } catch (error) {
        await page.screenshot({ path: `${pictures}/${name}-failed.png` });
        fault(error.message);
      }
      await context.close();
    }
  }
}
await browser.close();
for (const fault of faults) console.log(fault);
console.log(`${template}: ${faults.length} findings; pictures in ${pictures}`);
process.exit(faults.length ? 1 : 0);

async function signUp(page, look, name) {
  await page.locator("form").waitFor();
  await look("sign-in");
  await page.locator(".center button").click();
  await page.locator("[name=name]").fill("Kim");
  await page.locator("[name=email]").fill(`${name}@example.com`);
  await page.locator("[name=password]").fill("seven purple otters dance");
  await page.locator("form button.main").click();
}

async function team(page, look, name) {
  await signUp(page, look, name);
  await page.locator("nav form input").waitFor();
  await page.locator(".project h1").waitFor();
  await look("empty");
  await page.locator("nav form input").fill("Moon base");
  await page.locator("nav form button").click();
  await page.locator(".add input").waitFor();
  for (const title of ["Order oxygen", "한국어로 쓴 할 일", "Dig the first tunnel"]) {
    await page.locator(".add input").fill(title);
    await page.locator(".add input").press("Enter");
    await page.getByRole("button", { name: title }).waitFor();
  }
  await look("tasks");
  await page.getByRole("button", { name: "Dig the first tunnel" }).click();
  const dialog = page.locator("dialog");
  await dialog.locator("[name=state]").selectOption("doing");
  await dialog.locator("[name=priority]").selectOption("high");
  await dialog.locator("[name=due]").fill("2030-01-02");
  await dialog.locator("button.main").click();
  await dialog.locator("textarea").fill("Two shovels.");
  await dialog.locator(".talk button").click();
  await dialog.locator(".comments li").waitFor();
  await look("task");
  await page.keyboard.press("Escape");
  await page.locator(".heading button").click();
  await page.locator("dialog .people li").first().waitFor();
  await look("people");
}

async function shop(page, look, name) {
  await page.locator(".products li").first().waitFor();
  await look("catalogue");
  await page.locator("[name=search]").fill("tea");
  await page.waitForFunction(() => document.querySelectorAll(".products li").length === 2);
  await page.locator(".top button").last().click();
  await signUp(page, look, name);
  await page.locator(".products li").first().waitFor();
  for (const at of [0, 3]) {
    await page.locator(".products button").nth(at).click();
    await page.waitForFunction((at) => document.querySelector(".status").textContent.length > 4, at);
    await page.waitForTimeout(300);
  }
  await page.locator(".top a").nth(1).click();
  await page.locator(".lines li").nth(1).waitFor();
  await page.locator(".lines input").first().fill("3");
  await page.locator(".lines input").first().press("Tab");
  await page.locator("textarea").fill("1 Harbour Street\nBusan");
  await look("cart");
  await page.locator("form button.main").click();
  await page.locator(".orders li.card").waitFor();
  await look("orders");
  await page.locator(".orders button").last().click();
  await page.locator(".tag.cancelled").waitFor();
}
