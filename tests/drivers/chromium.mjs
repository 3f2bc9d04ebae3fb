// Drives Chromium through the page's accessible names, as a person with a screen reader would.
import { chromium } from 'playwright-core';
import { poll, saveRecording, serve } from './serve.mjs';
import { STATUSES, install } from './hooks.mjs';
import { libraryScript } from './library.mjs';

const options = JSON.parse(process.argv[2] ?? '{}');
delete process.env.PULSE_SERVER;

const args = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required',
  '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream',
];
if (options.flags) args.push(...options.flags);
if (options.microphone) args.push(`--use-file-for-fake-audio-capture=${options.microphone}%noloop`);
const browser = await chromium.launch({
  executablePath: options.executable ?? '/usr/bin/chromium',
  headless: true,
  args,
  ignoreDefaultArgs: ['--mute-audio'],
});

/** @typedef {{ page: import('playwright-core').Page, cursor: number, console: string[] }} Tab */
/** @type {Map<string, Tab>} */
const tabs = new Map();

/** @param {import('./serve.mjs').Command} command */
function tab(command) {
  const found = tabs.get(command.page ?? 'main');
  if (!found) throw new Error(`no page ${command.page ?? 'main'}; open it first`);
  return found;
}

/** @param {import('./serve.mjs').Command} command */
async function open(command) {
  const context = await browser.newContext({
    viewport: { width: command.width ?? 1280, height: command.height ?? 860 },
    colorScheme: command.dark ? 'dark' : 'light',
    ignoreHTTPSErrors: true,
    permissions: ['microphone'],
  });
  const page = await context.newPage();
  /** @type {Tab} */
  const made = { page, cursor: 0, console: [] };
  page.on('console', (message) => made.console.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => made.console.push(`pageerror: ${error.stack}`));
  await page.addInitScript(install, { ports: command.ports, candidates: command.candidates });
  if (command.library) await page.addInitScript({ content: await libraryScript(command.library) });
  await page.goto(command.url);
  tabs.set(command.page ?? 'main', made);
}

/** @param {Tab} on @param {string} role @param {string} name */
function byName(on, role, name) {
  return on.page.getByRole(/** @type {any} */ (role), { name, exact: true }).first();
}

/** @param {Tab} on @param {string} expression @returns {Promise<any>} */
const evaluate = (on, expression) => on.page.evaluate(expression);

/** @type {Parameters<typeof serve>[0]} */
const ops = {
  open,
  signIn: async (command) => {
    const on = tab(command);
    await on.page.getByLabel('Username', { exact: true }).fill(command.username);
    await on.page.getByLabel('Password', { exact: true }).fill(command.password);
    await byName(on, 'button', 'Sign in').click();
  },
  dial: async (command) => {
    const on = tab(command);
    await byName(on, 'textbox', 'Number').fill(command.number);
    await byName(on, 'button', 'Call').click();
  },
  press: async (command) => byName(tab(command), 'button', command.name).click({ timeout: command.ms ?? 10000 }),
  visible: async (command) => byName(tab(command), command.role ?? 'button', command.name).isVisible(),
  text: async (command) => tab(command).page.locator('body').innerText(),
  keypad: async (command) => {
    const on = tab(command);
    const pad = on.page.getByRole('group', { name: 'Keypad' });
    for (const [key, ms] of command.keys) {
      await pad.getByRole('button', { name: key, exact: true }).hover();
      await on.page.mouse.down();
      await on.page.waitForTimeout(ms);
      await on.page.mouse.up();
      await on.page.waitForTimeout(command.gap ?? 80);
    }
  },
  waitStatus: async (command) => {
    const on = tab(command);
    const pattern = new RegExp(command.pattern);
    const read = async () => /** @type {string[]} */ (JSON.parse(await evaluate(on, STATUSES)));
    const at = await poll(
      async () => {
        const index = (await read()).findIndex((text, one) => one >= on.cursor && pattern.test(text));
        return index < 0 ? null : index;
      },
      command.ms,
      async () => `status ${pattern}; seen ${JSON.stringify(await read())}; console ${on.console.slice(-10).join('\n')}`,
    );
    on.cursor = at + 1;
    return (await read())[at];
  },
  statuses: async (command) => JSON.parse(await evaluate(tab(command), STATUSES)),
  record: async (command) => evaluate(tab(command), `window.__e2e.record(${command.itself ?? false})`),
  stopRecord: async (command) => saveRecording(command.file, await evaluate(tab(command), `window.__e2e.stop(${command.itself ?? false})`)),
  stats: async (command) => evaluate(tab(command), 'window.__e2e.stats()'),
  evaluate: async (command) => evaluate(tab(command), command.expression),
  screenshot: async (command) => void (await tab(command).page.screenshot({ path: command.file })),
  /** Changes the window's size and the colour scheme. */
  look: async (command) => {
    const { page } = tab(command);
    await page.setViewportSize({ width: command.width, height: command.height });
    await page.emulateMedia({ colorScheme: command.dark ? 'dark' : 'light' });
  },
  console: async (command) => tab(command).console,
  key: async (command) => tab(command).page.keyboard.press(command.key),
  reload: async (command) => {
    const on = tab(command);
    await on.page.reload();
    on.cursor = 0;
  },
  closePage: async (command) => {
    await tab(command).page.context().close();
    tabs.delete(command.page ?? 'main');
  },
  version: async () => browser.version(),
};

await serve(ops, () => browser.close());
