// @ts-check
/**
 * webtrunk browser SDK: sign in, call, be called. Protocol: docs/SIGNALLING.md, version 1. No dependencies.
 *
 *     import { Phone } from '/sdk/webtrunk.js';
 *     const phone = new Phone();
 *     await phone.connect({ username: 'alice', password: '…' });
 *     const call = phone.call('+12025550100');
 *     call.addEventListener('state', () => console.log(call.state));
 *
 * @module webtrunk
 */

import { Call, text } from './call.js';
import { PhoneError, openMicrophone, whyNot } from './errors.js';

export { Call, PhoneError, whyNot };

const PROTOCOL_VERSION = 1;
const SUBPROTOCOL = 'webtrunk.v1';
const PING_MS = 25_000;
const PONG_MS = 10_000;
const CONNECT_MS = 10_000;
/** Waits before the next attempt to reconnect; the last one repeats. A quarter of chance is added. */
const BACK_OFF_MS = [500, 1_000, 2_000, 5_000, 10_000, 20_000];
/** Refusals of a sign-in that a further attempt would meet again: the person is asked instead. */
const ASK_AGAIN = ['wrong-password', 'unsupported-version'];

/** @typedef {import('./call.js').CallState} CallState */
/** @typedef {import('./call.js').Link} Link */
/** @typedef {import('./call.js').Message} Message */
/** Who is signed in. `record`: this user may record calls. @typedef {{ user: string, extension: string | null, record: boolean }} Identity */
/** @typedef {{ url?: string, username: string, password: string }} SignIn */

/**
 * A signed-in user. Events:
 * - `incoming` (`CustomEvent<Call>`): someone calls.
 * - `closed` (`CustomEvent<{code: string, message: string, retryInMs: number | null}>`): the connection is gone and
 *   with it every call. `retryInMs` is null when no attempt follows (then sign in again).
 * - `connected` (`CustomEvent<Identity>`): signed in, at first and after each reconnection.
 */
export class Phone extends EventTarget {
  /** @type {WebSocket | null} */ #socket = null;
  /** @type {SignIn | null} */ #signIn = null;
  /** @type {Identity | null} */ #identity = null;
  /** @type {Map<string, Call>} */ #calls = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #retryTimer;
  /** @type {ReturnType<typeof setInterval> | undefined} */ #pingTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #pongTimer;
  #attempt = 0;
  /** Relays, as the gateway told them last. @type {RTCIceServer[]} */ #relays = [];
  /** @type {MediaTrackConstraints} */ #audio;
  /** @type {MediaTrackConstraints} */
  static defaultAudio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

  /** @param {{ audio?: MediaTrackConstraints }} [options] `audio`: what is asked of the microphone */
  constructor(options = {}) {
    super();
    this.#audio = options.audio ?? Phone.defaultAudio;
    globalThis.addEventListener('online', () => {
      this.#retryNow();
      for (const call of this.calls) call._networkChanged();
    });
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'visible') this.#retryNow();
    });
  }

  /** Who is signed in; null while not connected. */
  get identity() {
    return this.#identity;
  }

  /** The calls that have not ended. */
  get calls() {
    return [...this.#calls.values()];
  }

  /**
   * Signs in. Afterwards a lost connection is restored by itself until `disconnect`.
   * @param {SignIn} signIn `url` defaults to `/ws` of the page's own server
   * @returns {Promise<Identity>} rejects with a {@link PhoneError}, e.g. `wrong-password`, `unreachable`
   */
  async connect(signIn) {
    const reason = whyNot();
    if (reason) throw reason;
    this.disconnect();
    this.#signIn = signIn;
    try {
      return await this.#open(signIn);
    } catch (error) {
      if (this.#signIn === signIn) this.#signIn = null;
      throw error;
    }
  }

  /** Signs out: ends all calls, closes the connection, does not come back. */
  disconnect() {
    this.#signIn = null;
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    for (const call of this.calls) {
      // A ringing call goes on ringing on the person's other devices: no `decline`.
      if (call.state === 'incoming') call._end('signalling-lost', 'You signed out.');
      else call.hangUp();
    }
    const socket = this.#socket;
    this.#drop();
    socket?.close(1000, 'signed out');
    for (const call of this.calls) call._end('hung-up', 'You signed out.');
  }

  /**
   * Calls a number or a user. Never throws for what happens later: watch the call's events.
   * @param {string} to
   * @returns {Call}
   */
  call(to) {
    if (!this.#identity) throw new PhoneError('not-signed-in', 'You are not signed in.');
    const call = new Call(this._link(newId(), to, '', 'calling'));
    this.#calls.set(call.id, call);
    void call._dial();
    return call;
  }

  /** @param {SignIn} signIn @returns {Promise<Identity>} */
  #open(signIn) {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(signIn.url ?? defaultUrl(), SUBPROTOCOL);
      this.#socket = socket;
      /** @type {PhoneError | null} */ let refusal = null;
      const timer = setTimeout(() => fail(new PhoneError('unreachable', 'The gateway does not answer.')), CONNECT_MS);
      /** @param {PhoneError} error */
      const fail = (error) => {
        clearTimeout(timer);
        refusal ??= error;
        if (this.#socket === socket) this.#drop();
        socket.close();
        reject(refusal);
      };
      socket.onopen = () => {
        const { username, password } = signIn;
        socket.send(JSON.stringify({ type: 'hello', version: PROTOCOL_VERSION, username, password }));
      };
      socket.onclose = () => {
        fail(new PhoneError('unreachable', 'The gateway can not be reached. Is it running?'));
      };
      socket.onmessage = (event) => {
        const message = parse(event.data);
        if (message?.type === 'error') return fail(new PhoneError(text(message.code), text(message.message)));
        if (message?.type !== 'welcome') return undefined;
        clearTimeout(timer);
        const extension = typeof message.extension === 'string' ? message.extension : null;
        const identity = { user: text(message.user), extension, record: message.record === true };
        this.#signedIn(socket, identity);
        return resolve(identity);
      };
    });
  }

  /** @param {WebSocket} socket @param {Identity} identity */
  #signedIn(socket, identity) {
    this.#identity = identity;
    this.#attempt = 0;
    socket.onmessage = (event) => this.#received(parse(event.data));
    socket.onclose = (event) => this.#lost(event);
    this.#pingTimer = setInterval(() => {
      this._send({ type: 'ping' });
      clearTimeout(this.#pongTimer);
      this.#pongTimer = setTimeout(() => {
        // A dead network shows no close event for minutes: do not wait for it.
        socket.onclose = null;
        socket.close();
        this.#lost(null);
      }, PONG_MS);
    }, PING_MS);
    this.#emit('connected', identity);
  }

  #drop() {
    clearInterval(this.#pingTimer);
    clearTimeout(this.#pongTimer);
    if (this.#socket) {
      this.#socket.onclose = null;
      this.#socket.onmessage = null;
    }
    this.#socket = null;
    this.#identity = null;
  }

  /** @param {CloseEvent | null} event */
  #lost(event) {
    this.#drop();
    const message = event?.reason ? `The gateway closed the connection: ${event.reason}.` : 'The connection was lost.';
    for (const call of this.calls) call._end('signalling-lost', 'The connection to the gateway was lost.');
    this.#retryLater('connection-lost', message);
  }

  /** @param {string} code @param {string} message */
  #retryLater(code, message) {
    const step = BACK_OFF_MS[Math.min(this.#attempt, BACK_OFF_MS.length - 1)] ?? 0;
    this.#attempt += 1;
    const retryInMs = this.#signIn ? Math.round(step * (1 + Math.random() / 4)) : null;
    if (retryInMs !== null) this.#retryTimer = setTimeout(() => this.#retryNow(), retryInMs);
    this.#emit('closed', { code, message, retryInMs });
  }

  #retryNow() {
    const signIn = this.#signIn;
    if (!signIn || this.#socket || this.#retryTimer === undefined) return;
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    this.#open(signIn).catch((/** @type {PhoneError} */ error) => {
      if (this.#signIn !== signIn) return;
      if (ASK_AGAIN.includes(error.code)) this.#signIn = null;
      this.#retryLater(error.code, error.message);
    });
  }

  /** @param {Message | null} message */
  #received(message) {
    if (!message) return;
    // Whatever comes, the line is alive.
    clearTimeout(this.#pongTimer);
    if (message.type === 'incoming') {
      if (this.#calls.has(text(message.call))) return;
      const call = new Call(this._link(text(message.call), text(message.from), text(message.name), 'incoming'));
      this.#calls.set(call.id, call);
      void call._preconnect();
      this.#emit('incoming', call);
      return;
    }
    if (message.type === 'turn') {
      const urls = Array.isArray(message.urls) ? message.urls.map(text) : [];
      this.#relays = [{ urls, username: text(message.username), credential: text(message.credential) }];
      return;
    }
    this.#calls.get(text(message.call))?._received(message);
  }

  /**
   * @param {string} id @param {string} party @param {string} name @param {CallState} state
   * @returns {Link}
   */
  _link(id, party, name, state) {
    return {
      id, party, name, state,
      send: (message) => this._send(message),
      forget: () => this.#calls.delete(id),
      microphone: () => openMicrophone(this.#audio),
      connection: () => ({ bundlePolicy: 'max-bundle', iceServers: this.#relays }),
    };
  }

  /** @param {Message} message */
  _send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  /** @param {string} type @param {unknown} detail */
  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function defaultUrl() {
  return `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/ws`;
}

/** 24 characters that are not used twice. */
function newId() {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** @param {unknown} data @returns {Message | null} */
function parse(data) {
  try {
    const message = JSON.parse(String(data));
    return typeof message?.type === 'string' ? message : null;
  } catch {
    return null;
  }
}
