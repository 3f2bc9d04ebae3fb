// The conversation with the Rust test: one JSON command per line on stdin, one JSON answer per line on stdout.
import { createInterface } from 'node:readline';
import { writeFileSync } from 'node:fs';

/** @typedef {{ id: number, op: string, [key: string]: any }} Command */

/**
 * Runs commands in order until stdin ends, then closes the browser.
 * @param {Record<string, (command: Command) => Promise<any>>} ops
 * @param {() => Promise<void>} close
 */
export async function serve(ops, close) {
  /** @param {object} answer */
  const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);
  say({ ready: true });
  for await (const line of createInterface({ input: process.stdin })) {
    const command = /** @type {Command} */ (JSON.parse(line));
    try {
      const run = ops[command.op];
      if (!run) throw new Error(`unknown op ${command.op}`);
      say({ id: command.id, ok: true, value: (await run(command)) ?? null });
    } catch (error) {
      say({ id: command.id, ok: false, error: String(error instanceof Error ? error.stack : error) });
    }
  }
  await close();
  process.exit(0);
}

/**
 * Polls until `check` gives something other than null.
 * @template T
 * @param {() => Promise<T | null>} check
 * @param {number} ms
 * @param {() => Promise<string>} what
 * @returns {Promise<T>}
 */
export async function poll(check, ms, what) {
  const until = Date.now() + ms;
  for (;;) {
    const value = await check();
    if (value !== null) return value;
    if (Date.now() > until) throw new Error(`after ${ms} ms still not: ${await what()}`);
    await new Promise((done) => setTimeout(done, 30));
  }
}

/**
 * Writes 16-bit mono samples as a WAV file.
 * @param {string} file
 * @param {Buffer} pcm
 * @param {number} rate
 */
export function writeWav(file, pcm, rate) {
  const head = Buffer.alloc(44);
  head.write('RIFF', 0);
  head.writeUInt32LE(36 + pcm.length, 4);
  head.write('WAVEfmt ', 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(1, 22);
  head.writeUInt32LE(rate, 24);
  head.writeUInt32LE(rate * 2, 28);
  head.writeUInt16LE(2, 32);
  head.writeUInt16LE(16, 34);
  head.write('data', 36);
  head.writeUInt32LE(pcm.length, 40);
  writeFileSync(file, Buffer.concat([head, pcm]));
}

/**
 * Saves what `__e2e.stop()` returned and sums it up.
 * @param {string} file
 * @param {string} base64
 */
export function saveRecording(file, base64) {
  const pcm = Buffer.from(base64, 'base64');
  writeWav(file, pcm, 48000);
  let peak = 0;
  for (let at = 0; at + 1 < pcm.length; at += 2) peak = Math.max(peak, Math.abs(pcm.readInt16LE(at)));
  return { seconds: pcm.length / 96000, peak };
}
