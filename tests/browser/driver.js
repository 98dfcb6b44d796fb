// Drives one page: reads a JSON object a line from stdin, does it, and answers with one. See driving.py.
"use strict";

let server = null;
let browser = null;
let page = null;
let told = null;

const ways = {
  async launch({ path, playwright }) {
    const { chromium } = require(playwright);
    const args = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"];
    server = await chromium.launchServer({ executablePath: path, args });
    browser = await chromium.connect(server.wsEndpoint());
    return server.process().pid;
  },
  async open({ url, width, height, scheme }) {
    if (page) await page.context().close();
    const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme });
    page = await context.newPage();
    page.setDefaultTimeout(15000);
    told = { errors: [], hosts: [] };
    page.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warning") told.errors.push(message.text());
    });
    page.on("pageerror", (error) => told.errors.push(error.message));
    page.on("request", (request) => told.hosts.push(new URL(request.url()).host || request.url().split(":")[0]));
    await page.goto(url);
  },
  async call({ method, args }) {
    const value = await page[method](...args);
    return typeof value === "object" && method === "screenshot" ? undefined : value;
  },
  async wait({ script, timeout }) {
    // Not waitForFunction: it needs eval, which the Content-Security-Policy of the page forbids.
    const until = Date.now() + timeout;
    while (!(await page.evaluate(script))) {
      if (Date.now() > until) throw new Error(`never true: ${script}; the page shows ${await page.innerText("body")}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  },
  async violations({ axe }) {
    // Evaluated in the page by the browser: the Content-Security-Policy of the page lets no script in.
    await page.evaluate(`${require("fs").readFileSync(axe, "utf8")}; 0`);
    const found = await page.evaluate("axe.run({ resultTypes: ['violations'] }).then((told) => told.violations)");
    return found.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`).join("; ")}`);
  },
  async told() {
    return { errors: told.errors, hosts: [...new Set(told.hosts)] };
  },
};

async function main() {
  for await (const line of require("readline").createInterface({ input: process.stdin })) {
    const asked = JSON.parse(line);
    let answer;
    try {
      answer = { value: (await ways[asked.do](asked)) ?? null };
    } catch (error) {
      answer = { error: String(error.message || error) };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  if (server) await server.close();
}

main();
