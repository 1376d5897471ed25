/* Opens pages in a browser and prints, as JSON lines, what holds and what does not.

   check.js BROWSER PLAN.json: the plan lists pages, each with a name, a file and what it is. */
"use strict";
const { readFileSync } = require("fs");
const { createHash } = require("crypto");
const { createRequire } = require("module");
const { pathToFileURL } = require("url");

const need = createRequire(`${process.cwd()}/x.js`);
const puppeteer = need("puppeteer-core");
const axe = readFileSync(need.resolve("axe-core/axe.min.js"), "utf8");
const [browserPath, planFile] = process.argv.slice(2);
const plan = JSON.parse(readFileSync(planFile, "utf8"));

const LOOKS = [
  { name: "light", width: 1280, scheme: "light" },
  { name: "dark", width: 1280, scheme: "dark" },
  { name: "at 320 pixels", width: 320, scheme: "light" },
  { name: "at 320 pixels, dark", width: 320, scheme: "dark" },
  { name: "without scripts", width: 1280, scheme: "light", scripts: false },
  { name: "in print", width: 900, scheme: "light", media: "print" },
];
const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

const say = (name, good, detail) => console.log(JSON.stringify({ name, good, detail: good ? "" : String(detail) }));

/* A page of the browser that remembers what it asked for and what went wrong. */
async function open(browser, file, look) {
  const page = await browser.newPage();
  const wrong = [];
  const asked = [];
  page.on("pageerror", (error) => wrong.push(`error: ${error.message}`));
  page.on("console", (message) => wrong.push(`console: ${message.text()}`));
  page.on("request", (request) => asked.push(request.url()));
  await page.setViewport({ width: look.width, height: 900 });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: look.scheme }]);
  if (look.media) await page.emulateMediaType(look.media);
  if (look.scripts === false) await page.setJavaScriptEnabled(false);
  const url = pathToFileURL(file).href;
  const start = Date.now();
  await page.goto(url, { waitUntil: "load", timeout: 120000 });
  const took = Date.now() - start;
  return { page, wrong, asked: asked.filter((one) => one !== url), took };
}

const violations = (page) => page.evaluate(async (tags) => {
  const found = await axe.run(document, { runOnly: { type: "tag", values: tags }, resultTypes: ["violations"] });
  return found.violations.map((one) => `${one.id}: ${one.nodes.slice(0, 3).map((node) => node.target.join(" ")).join(", ")}`);
}, TAGS);

async function looks(browser, one) {
  for (const look of LOOKS) {
    const { page, wrong, asked, took } = await open(browser, one.file, look);
    const name = `${one.name}, ${look.name}`;
    say(`${name}: nothing goes wrong and nothing is asked for`, wrong.length + asked.length === 0, [...wrong, ...asked].slice(0, 3));
    if (look.scripts !== false) { /* axe waits, which it cannot do then; elements are the same */
      await page.evaluate(axe);
      const found = await violations(page);
      say(`${name}: axe finds nothing`, found.length === 0, found.slice(0, 5).join(" | "));
    }
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    say(`${name}: it is not wider than its window`, wide <= 0, `${wide} pixels too wide`);
    const text = await page.evaluate(() => document.body.innerText);
    const missing = one.words.filter((word) => !text.includes(word));
    say(`${name}: it says what it must`, missing.length === 0, missing.join(", "));
    if (look.name === "light") console.log(JSON.stringify({ took: one.name, milliseconds: took }));
    await page.close();
  }
}

/* What scripts add: sorting, filtering, saving. */
async function acts(browser, one) {
  const { page } = await open(browser, one.file, LOOKS[0]);
  const sorted = await page.evaluate(() => {
    const table = document.querySelector("#allowed table");
    const press = table.tHead.rows[0].cells[3].querySelector("button");
    const values = () => [...table.tBodies].flatMap((body) => [...body.rows]).map((row) => Number(row.cells[3].textContent));
    press.click();
    const up = values();
    const label = press.parentElement.getAttribute("aria-sort");
    press.click();
    const down = values();
    const rising = (list) => list.every((value, index) => index === 0 || list[index - 1] <= value);
    return rising(up) && rising([...down].reverse()) && up.length > 1 && label === "ascending";
  });
  say(`${one.name}: a column sorts both ways`, sorted, "it does not");
  if (one.filter) {
    const shown = await page.evaluate((word) => {
      const input = document.querySelector("#denied .filter input");
      input.value = word;
      input.dispatchEvent(new Event("input"));
      return [...document.querySelectorAll("#denied .cards:first-of-type > li, #denied .cards.folded > li")].filter((item) => item.offsetParent).length;
    }, one.filter.word);
    say(`${one.name}: a filter shows what fits`, shown === one.filter.shown, `${shown}`);
  }
  for (const [index, expected] of (one.digests || []).entries()) {
    const text = await page.evaluate(async (place) => {
      const make = URL.createObjectURL;
      let blob;
      URL.createObjectURL = (given) => { blob = given; return "#"; };
      document.querySelectorAll(".download button")[place].click();
      URL.createObjectURL = make;
      return blob.text();
    }, index);
    const digest = createHash("sha256").update(text).digest("hex");
    say(`${one.name}: document ${index} is saved to the byte`, digest === expected, digest);
  }
  await page.close();
}

const elements = async (browser, file) => {
  const { page } = await open(browser, file, LOOKS[4]);
  const counts = await page.evaluate(() => {
    const counts = {};
    for (const element of document.querySelectorAll("*")) {
      const key = `${element.localName}[${element.getAttributeNames().sort().join(",")}]`;
      counts[key] = (counts[key] || 0) + 1;
    }
    return Object.entries(counts).sort();
  });
  await page.close();
  return JSON.stringify(counts);
};

/* That the checks above can fail. */
async function controls(browser, one) {
  const { page, wrong } = await open(browser, one.file, LOOKS[0]);
  await page.evaluate(axe);
  const found = await page.evaluate(() => {
    document.querySelector("main").insertAdjacentHTML("beforeend", "<img src=''><p class=more>x</p>");
    document.querySelector("h1").removeAttribute("class");
    document.querySelector("nav ul").setAttribute("role", "nothing");
  }).then(() => violations(page));
  say("axe notices an image without a text", found.some((line) => line.startsWith("image-alt")), found.join(" | "));
  wrong.length = 0;
  await page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "document.title = 'taken'";
    document.body.append(script);
    const style = document.createElement("style");
    style.textContent = "body { display: none }";
    document.body.append(style);
    const image = document.createElement("img");
    image.src = "http://127.0.0.1:9/x.png";
    document.body.append(image);
  });
  await new Promise((done) => setTimeout(done, 300));
  const title = await page.title();
  const hidden = await page.evaluate(() => getComputedStyle(document.body).display === "none");
  say("the policy of the page stops a script, a style and an image", title !== "taken" && !hidden && wrong.length >= 3, wrong.join(" | "));
  await page.close();
}

async function main() {
  const browser = await puppeteer.launch({ executablePath: browserPath, args: ["--no-sandbox", "--disable-gpu"], headless: true, protocolTimeout: 600000 });
  try {
    for (const one of plan.pages) {
      await looks(browser, one);
      if (one.acts) await acts(browser, one);
    }
    const plain = await elements(browser, plan.plain);
    for (const { name, file } of plan.hostile) {
      say(`hostile words change no element: ${name}`, (await elements(browser, file)) === plain, file);
    }
    await controls(browser, plan.pages[0]);
  } finally {
    await browser.close();
  }
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
