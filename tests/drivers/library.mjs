// Unchanged SIP libraries from npm, each with the script that the tests drive it by.
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

/**
 * The script for a page that is to use a library.
 * @param {string} name `jssip` or `sipjs`
 */
export async function libraryScript(name) {
  const entry = fileURLToPath(new URL(`./${name}_page.mjs`, import.meta.url));
  const made = await build({ entryPoints: [entry], bundle: true, write: false, format: 'iife', platform: 'browser' });
  return made.outputFiles[0].text;
}
