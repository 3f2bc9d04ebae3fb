// What the pages with JsSIP and SIP.js have in common: the names under which the tests drive them.

/**
 * @typedef {object} Client
 * @property {(text: string) => void} say what the test waits for
 * @property {number} gather longest time for candidates, ms
 * @property {(sdp: string) => string} change what the test does to the page's descriptions
 */

/**
 * @typedef {object} Account
 * @property {string} url
 * @property {string} user
 * @property {string} password
 * @property {string} domain
 */

/**
 * @typedef {object} Library
 * @property {(client: Client, account: Account) => void} register
 * @property {(number: string) => void} call
 * @property {() => void} answer
 * @property {() => void} hangUp
 * @property {(tones: string, way: 'info' | 'rtp') => void} dtmf
 * @property {() => void} hold
 * @property {() => void} resume
 * @property {() => void} restart
 * @property {(target: string) => void} refer
 */

/** Every candidate line of a description. */
const CANDIDATES = /^a=(candidate:|end-of-candidates).*\r\n/gm;

/** @type {Record<string, (sdp: string) => string>} */
const changes = {
  none: (sdp) => sdp,
  'no candidates': (sdp) => sdp.replace(CANDIDATES, ''),
  'mdns candidates': (sdp) =>
    sdp.replace(/^(a=candidate:\S+ \d+ \S+ \d+) \S+/gm, '$1 0f4a5c3e-8a5b-4c1d-9e2f-7a6b5c4d3e2f.local'),
};

/** @param {Library} library */
export function install(library) {
  const page = /** @type {any} */ (window);
  /** @type {Client} */
  const client = {
    say: (text) => void page.__e2e.statuses.push({ text, at: performance.now() }),
    gather: 500,
    change: (sdp) => sdp,
  };
  page.client = {
    ...library,
    register: (/** @type {Account} */ account) => library.register(client, account),
    /** @param {string} name */
    change: (name) => void (client.change = changes[name]),
    /** The network takes the newest WebSocket away. */
    drop: () => page.__e2e.sockets.at(-1).close(),
  };
}
