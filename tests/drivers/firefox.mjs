// Drives Firefox over WebDriver BiDi, with a private sound server: without one its AudioContext never starts.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import puppeteer from 'puppeteer-core';
import { poll, saveRecording, serve } from './serve.mjs';
import { STATUSES, install } from './hooks.mjs';

const options = JSON.parse(process.argv[2] ?? '{}');
const dir = mkdtempSync(join(tmpdir(), 'webtrunk-firefox-'));
const socket = join(dir, 'sound.socket');
const env = { ...process.env, HOME: dir, XDG_RUNTIME_DIR: dir, PULSE_SERVER: `unix:${socket}` };
const pulse = spawn(
  'pulseaudio',
  [
    '--daemonize=no', '--exit-idle-time=-1', '-n', '--use-pid-file=no', '--disallow-exit',
    '--load=module-null-sink sink_name=speaker rate=48000', '--load=module-null-sink sink_name=mic rate=48000',
    `--load=module-native-protocol-unix auth-anonymous=1 socket=${socket}`,
  ],
  { env: { ...env, PULSE_SERVER: '' }, stdio: 'ignore' },
);
process.on('exit', () => {
  pulse.kill('SIGKILL');
  rmSync(dir, { recursive: true, force: true });
});
await poll(async () => (existsSync(socket) ? true : null), 10000, async () => 'PulseAudio has its socket');

const browser = await puppeteer.launch({
  browser: 'firefox',
  executablePath: options.executable ?? '/usr/bin/firefox-esr',
  headless: true,
  env,
  acceptInsecureCerts: true,
  extraPrefsFirefox: {
    'media.navigator.permission.disabled': true,
    'media.navigator.streams.fake': true,
    'media.autoplay.default': 0,
    'media.autoplay.blocking_policy': 0,
    ...(options.prefs ?? {}),
  },
});

/** @typedef {{ page: import('puppeteer-core').Page, cursor: number, console: string[] }} Tab */
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
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  await page.setViewport({ width: command.width ?? 1280, height: command.height ?? 860 });
  /** @type {Tab} */
  const made = { page, cursor: 0, console: [] };
  page.on('console', (message) => made.console.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => made.console.push(`pageerror: ${error}`));
  const speech = options.microphone && readFileSync(options.microphone).toString('base64');
  await page.evaluateOnNewDocument(install, { ports: command.ports, candidates: command.candidates, speech });
  await page.goto(command.url);
  tabs.set(command.page ?? 'main', made);
}

/** @param {Tab} on @param {string} role @param {string} name */
async function byName(on, role, name) {
  const found = await on.page.waitForSelector(`aria/${name}[role="${role}"]`, { visible: true, timeout: 10000 });
  if (!found) throw new Error(`no ${role} named ${name}`);
  return found;
}

/** @param {Tab} on @param {string} label @param {string} text */
async function fill(on, label, text) {
  const field = await on.page.waitForSelector(`aria/${label}`, { visible: true, timeout: 10000 });
  if (!field) throw new Error(`no field ${label}`);
  await field.click({ count: 3 });
  await field.type(text);
}

/** @param {Tab} on @param {string} expression @returns {Promise<any>} */
const evaluate = (on, expression) => on.page.evaluate(expression);

/** @type {Parameters<typeof serve>[0]} */
const ops = {
  open,
  signIn: async (command) => {
    const on = tab(command);
    await fill(on, 'Username', command.username);
    await fill(on, 'Password', command.password);
    await (await byName(on, 'button', 'Sign in')).click();
  },
  dial: async (command) => {
    const on = tab(command);
    await fill(on, 'Number', command.number);
    await (await byName(on, 'button', 'Call')).click();
  },
  press: async (command) => (await byName(tab(command), 'button', command.name)).click(),
  text: async (command) => evaluate(tab(command), 'document.body.innerText'),
  keypad: async (command) => {
    const on = tab(command);
    for (const [key, ms] of command.keys) {
      await (await byName(on, 'button', key)).click({ delay: ms });
      await new Promise((done) => setTimeout(done, command.gap ?? 80));
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
  stats: async (command) => JSON.parse(await evaluate(tab(command), 'window.__e2e.stats().then((all) => JSON.stringify(all))')),
  evaluate: async (command) => evaluate(tab(command), command.expression),
  screenshot: async (command) => void (await tab(command).page.screenshot({ path: command.file })),
  console: async (command) => tab(command).console,
  key: async (command) => tab(command).page.keyboard.press(/** @type {any} */ (command.key)),
  version: async () => browser.version(),
};

await serve(ops, async () => {
  await browser.close();
});
