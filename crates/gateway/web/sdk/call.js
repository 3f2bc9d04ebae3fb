// @ts-check
/** One call. Part of the webtrunk SDK. */

import { PhoneError, asPhoneError } from './errors.js';
import { Meter } from './meter.js';

/** How long a connection may be interrupted before a new way is looked for, and how long each attempt gets. */
const RECONNECT_MS = 2_000;
const RECONNECT_AGAIN_MS = 5_000;
/** How long a hang-up waits for the gateway's `ended` before the call is ended here. */
const ENDED_MS = 2_000;
const DIGIT_MIN_MS = 70;
const DIGIT_MAX_MS = 6_000;
const DIGIT_GAP_MS = 70;
const DIGIT_QUEUE = 32;

/**
 * State of a call. Outgoing: `calling`, then `ringing` or `early-media`, then `in-call`. Incoming: `incoming`,
 * `answering`, `in-call`. Both: `ending` after this side hung up, `ended` once and for all.
 * @typedef {'calling' | 'ringing' | 'early-media' | 'incoming' | 'answering' | 'in-call' | 'ending' | 'ended'} CallState
 */

/** @typedef {{ type: string, [field: string]: unknown }} Message */

/**
 * Who holds an answered call: this side, the other side, or both.
 * @typedef {{ local: boolean, remote: boolean }} Held
 */

/**
 * Whether an answered call is recorded, and whether by this side, which may then end it.
 * @typedef {{ on: boolean, mine: boolean }} Recording
 */

/**
 * How a transfer goes that this side asked for. After `failed`, whose `text` says why, the call is as it was before;
 * when it succeeds, the call ends with the reason `transferred`.
 * @typedef {{ state: 'trying' | 'ringing' | 'failed', reason: string, text: string }} Transfer
 */

/**
 * How one side's connection sounded during five seconds: `mos` is a mean opinion score from 1 to 4.5, `reason` says in a
 * few words what makes it worse than its codec, if anything does. `near` is this browser's way to the gateway.
 * @typedef {{ side: 'near' | 'far', mos: number, reason: string, at: number }} Score
 */

/**
 * What a call needs of its phone.
 * @typedef {object} Link
 * @property {string} id
 * @property {string} party
 * @property {string} name
 * @property {CallState} state
 * @property {(message: Message) => void} send
 * @property {() => void} forget
 * @property {() => Promise<MediaStreamTrack>} microphone
 * @property {() => RTCConfiguration} connection how connections are made
 */

/**
 * One call; made by {@link Phone.call} or the `incoming` event. Events:
 * - `state` (`CustomEvent<CallState>`)
 * - `held` (`CustomEvent<Held>`): who holds the call changed
 * - `recording` (`CustomEvent<Recording>`): whether the call is recorded changed
 * - `transfer` (`CustomEvent<Transfer>`): how the transfer goes
 * - `party` (`CustomEvent<string>`): the other side was transferred; its new number
 * - `ended` (`CustomEvent<{reason: string, text: string}>`): the last event
 * - `dtmf` (`CustomEvent<{digit: string, ms: number}>`): a digit from the far end
 * - `quality` (`CustomEvent<Score>`): how one side's connection sounded during the last five seconds; also in `scores`
 * - `stats` (`CustomEvent<Quality>`) once a second, `levels` (`CustomEvent<Levels>`) five times a second
 * - `track` (`CustomEvent<MediaStream>`): remote audio; the SDK plays it through `call.audio` itself
 * - `problem` (`CustomEvent<PhoneError>`): something to tell, the call goes on; `restored`: the audio is back after
 *   the problem `media-interrupted` or `far-media-interrupted`
 */
export class Call extends EventTarget {
  /** @type {Link} */ #link;
  /** @type {CallState} */ #state;
  /** @type {RTCPeerConnection | null} */ #peer = null;
  /** @type {RTCRtpSender | null} */ #sender = null;
  /** @type {MediaStreamTrack | null} */ #track = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #endTimer;
  /** @type {Meter | null} */ #meter = null;
  /** @type {{ digit: string, ms: number, done: () => void }[]} */ #digits = [];
  #sendingDigits = false;
  #muted = false;
  /** @type {Held} */ #held = { local: false, remote: false };
  /** @type {Recording} */ #recording = { on: false, mine: false };
  #transferring = false;
  /** Number or user name of the other side. */ #party = '';
  /** Its display name. */ #name = '';
  #interrupted = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #reconnectTimer;
  /** Gateway and browser both know of this call. */ #known = false;
  /** The gateway took our call: it said something about it. */ #confirmed = false;
  /** What is said should the gateway not say why the call ended. */ #lastWords = '';

  /** @param {Link} link */
  constructor(link) {
    super();
    this.#link = link;
    this.#state = link.state;
    /** @readonly */ this.id = link.id;
    this.#party = link.party;
    this.#name = link.name;
    /** @type {'in' | 'out'} @readonly */ this.direction = link.state === 'incoming' ? 'in' : 'out';
    this.#known = this.direction === 'in';
    /** Plays the other side. Add it to the document or leave it alone. @readonly */
    this.audio = document.createElement('audio');
    this.audio.autoplay = true;
    /** When it was answered (milliseconds since 1970); null before. @type {number | null} */
    this.answeredAt = null;
    /** What the gateway said of the quality, in order. @type {Score[]} @readonly */
    this.scores = [];
  }

  get state() {
    return this.#state;
  }

  get muted() {
    return this.#muted;
  }

  /** Number or user name of the other side. */
  get party() {
    return this.#party;
  }

  /** Display name of the other side, may be empty. */
  get name() {
    return this.#name;
  }

  /** Whether a transfer that this side asked for is under way. */
  get transferring() {
    return this.#transferring;
  }

  /** Who holds the call, as the gateway says it. */
  get held() {
    return this.#held;
  }

  /** Whether the call is recorded, as the gateway says it. */
  get recording() {
    return this.#recording;
  }

  /** The peer connection, for those who measure. Null before it exists and after the end. */
  get peer() {
    return this.#peer;
  }

  /**
   * Takes an incoming call: asks for the microphone, then answers.
   * @returns {Promise<void>} rejects with a {@link PhoneError} when there is no microphone; the call then still rings
   */
  async answer() {
    if (this.#state !== 'incoming') return;
    this.#setState('answering');
    try {
      await this.#useMicrophone(await this.#link.microphone());
    } catch (error) {
      if (this.#is('answering')) this.#setState('incoming');
      throw error;
    }
    if (this.#is('answering')) this.#link.send({ type: 'answer', call: this.id });
  }

  /** Refuses an incoming call. */
  decline() {
    if (this.#state === 'incoming' || this.#state === 'answering') this.#leave('decline', 'You declined the call.');
  }

  /** Ends the call, whatever its state. */
  hangUp() {
    if (this.#state === 'incoming') this.decline();
    else if (!this.#isOver()) this.#leave('bye', 'You hung up.');
  }

  /**
   * Stops or resumes sending what the microphone hears.
   * @param {boolean} muted
   */
  mute(muted) {
    this.#muted = muted;
    this.#letSpeak();
  }

  /**
   * Puts an answered call on hold, or takes it off: the other side hears music, this side nothing. The event `held`
   * says when it is so.
   * @param {boolean} held
   */
  hold(held) {
    if (this.#state === 'in-call') this.#link.send({ type: held ? 'hold' : 'resume', call: this.id });
  }

  /**
   * Begins or ends recording an answered call; both sides hear a notice when it begins, and each beginning makes a file of
   * the gateway's. The event `recording` says when it is so. See `record` of {@link Identity} for who may.
   * @param {boolean} on
   */
  record(on) {
    if (this.#state === 'in-call') this.#link.send({ type: 'record', call: this.id, on });
  }

  /**
   * Hands an answered call over to a number or a user without asking first (blind transfer). The event `transfer`
   * says how it goes.
   * @param {string} to
   */
  transfer(to) {
    if (this.#state === 'in-call') this.#link.send({ type: 'transfer', call: this.id, to });
  }

  /**
   * Joins the other side of this answered call with that of another call of ours, answered or still ringing (attended
   * transfer). Both calls end with the reason `transferred`.
   * @param {Call} other
   */
  transferTo(other) {
    if (this.#state === 'in-call') this.#link.send({ type: 'transfer', call: this.id, with: other.id });
  }

  #letSpeak() {
    if (this.#track) this.#track.enabled = !this.#muted && !this.#held.local;
  }

  /**
   * Presses a digit. Digits are sent in order, one after the other.
   * @param {string} digit one of `0-9*#A-D`
   * @param {number} [ms] how long it was pressed; brought into 70 to 6000
   * @returns {Promise<void>} when it has been sent
   */
  sendDigit(digit, ms = 100) {
    if (!/^[0-9*#A-D]$/.test(digit)) return Promise.reject(new PhoneError('bad-digit', `${digit} is not a digit.`));
    if (this.#isOver() || this.#digits.length >= DIGIT_QUEUE) {
      return Promise.reject(new PhoneError('not-now', 'The digit can not be sent now.'));
    }
    return new Promise((done) => {
      this.#digits.push({ digit, ms: Math.round(Math.min(Math.max(ms, DIGIT_MIN_MS), DIGIT_MAX_MS)), done });
      if (!this.#sendingDigits) void this.#sendDigits();
    });
  }

  async #sendDigits() {
    this.#sendingDigits = true;
    for (let next = this.#digits[0]; next; next = this.#digits[0]) {
      const { digit, ms, done } = next;
      const dtmf = this.#sender?.dtmf;
      if (dtmf?.canInsertDTMF) await insertDigit(dtmf, digit, ms);
      else this.#link.send({ type: 'dtmf', call: this.id, digit, ms });
      this.#digits.shift();
      done();
      if (this.#isOver()) this.#digits.splice(0).forEach((left) => left.done());
    }
    this.#sendingDigits = false;
  }

  async _dial() {
    try {
      const track = await this.#link.microphone();
      if (this.#isOver()) return track.stop();
      await this.#useMicrophone(track);
      const sdp = await this.#offer({});
      if (!sdp || this.#isOver()) return undefined;
      this.#known = true;
      this.#link.send({ type: 'call', call: this.id, to: this.party, sdp });
    } catch (error) {
      const { code, message } = asPhoneError(error);
      this._end(code, message);
    }
    return undefined;
  }

  /** Connects the audio path of an announced call while it rings, without a microphone, so that nothing is clipped. */
  async _preconnect() {
    try {
      this.#connection();
      const sdp = await this.#offer({});
      if (sdp && !this.#isOver()) this.#link.send({ type: 'offer', call: this.id, sdp });
    } catch (error) {
      this.#emit('problem', asPhoneError(error));
    }
  }

  #connection() {
    if (this.#peer) return this.#peer;
    const peer = new RTCPeerConnection(this.#link.connection());
    this.#peer = peer;
    this.#sender = peer.addTransceiver('audio', { direction: 'sendrecv' }).sender;
    this.#meter = new Meter(peer, this);
    peer.ontrack = ({ track, streams }) => {
      if (this.#isOver()) return;
      const stream = streams[0] ?? new MediaStream([track]);
      this.audio.srcObject = stream;
      this.#meter?.hear(stream);
      this.audio.play().catch((error) => {
        if (error instanceof DOMException && error.name === 'NotAllowedError') {
          this.#emit('problem', new PhoneError('sound-blocked', 'The browser blocks sound on this page. Click anywhere.'));
          document.addEventListener('click', () => void this.audio.play().catch(() => {}), { once: true });
        }
      });
      this.#emit('track', stream);
    };
    peer.onconnectionstatechange = () => {
      if (peer.connectionState === 'connected') this.#restored();
      // A moment's disturbance mends itself.
      if (peer.connectionState === 'disconnected') this.#reconnectIn(RECONNECT_MS);
      if (peer.connectionState === 'failed') this.#reconnect();
    };
    return peer;
  }

  #restored() {
    clearTimeout(this.#reconnectTimer);
    this.#reconnectTimer = undefined;
    if (!this.#interrupted) return;
    this.#interrupted = false;
    this.#emit('restored', null);
  }

  /** @param {number} ms */
  #reconnectIn(ms) {
    this.#reconnectTimer ??= setTimeout(() => {
      this.#reconnectTimer = undefined;
      this.#reconnect();
    }, ms);
  }

  /** Looks for a new way to the gateway (ICE restart), again and again until there is one; the call goes on meanwhile. */
  #reconnect() {
    if (this.#isOver()) return;
    clearTimeout(this.#reconnectTimer);
    this.#reconnectTimer = undefined;
    if (!this.#interrupted) {
      this.#interrupted = true;
      this.#emit('problem', new PhoneError('media-interrupted', 'The audio connection broke. Trying to restore it.'));
    }
    // One offer at a time.
    if (this.#peer?.signalingState === 'stable') void this.#restartIce();
    this.#reconnectIn(RECONNECT_AGAIN_MS);
  }

  /** The network has changed: the way to the gateway may have, too. */
  _networkChanged() {
    if (this.#known && this.#peer?.connectionState !== 'connected') this.#reconnect();
  }

  async #restartIce() {
    try {
      // What was told for relays may have expired since.
      this.#peer?.setConfiguration(this.#link.connection());
      const sdp = await this.#offer({ iceRestart: true });
      if (sdp && !this.#isOver()) this.#link.send({ type: 'offer', call: this.id, sdp });
    } catch (error) {
      this.#emit('problem', asPhoneError(error));
    }
  }

  /**
   * The offer goes out at once: the gateway is ICE-lite, learns our addresses from our checks and needs no candidates.
   * @param {RTCOfferOptions} options
   * @returns {Promise<string | undefined>}
   */
  async #offer(options) {
    const peer = this.#connection();
    const offer = await peer.createOffer(options);
    if (this.#isOver()) return undefined;
    await peer.setLocalDescription(offer);
    return offer.sdp;
  }

  /** @param {MediaStreamTrack} track */
  async #useMicrophone(track) {
    if (this.#isOver()) return track.stop();
    this.#track = track;
    this.#letSpeak();
    track.onended = () => {
      if (!this.#isOver()) {
        this.#emit('problem', new PhoneError('microphone-lost', 'The microphone was unplugged or taken away.'));
      }
    };
    this.#connection();
    this.#meter?.send(track);
    await this.#sender?.replaceTrack(track);
    return undefined;
  }

  /** @param {Message} message */
  _received(message) {
    if (this.#state === 'ended') return;
    if (message.type === 'ended') return this._end(text(message.reason), text(message.text));
    if (message.type === 'error') return this.#refused(text(message.code), text(message.message));
    this.#confirmed = true;
    if (message.type === 'sdp') void this.#answered(text(message.sdp));
    if (message.type === 'state') this.#progress(text(message.state));
    if (message.type === 'held') this.#setHeld({ local: message.local === true, remote: message.remote === true });
    if (message.type === 'recording') this.#setRecording({ on: message.on === true, mine: message.mine === true });
    if (message.type === 'transfer') this.#setTransfer(text(message.state), message);
    if (message.type === 'quality') this.#scored(message);
    if (message.type === 'party') this.#setParty(text(message.number));
    if (message.type === 'path') this.#pathIs(message.local === true, message.lost === true);
    if (message.type === 'dtmf') this.#emit('dtmf', { digit: text(message.digit), ms: Number(message.ms) });
  }

  /**
   * The gateway hears nothing any more, from here or from the other side's browser, or hears something again.
   * @param {boolean} local @param {boolean} lost
   */
  #pathIs(local, lost) {
    if (this.#isOver()) return;
    if (local && lost) this.#reconnect();
    else if (local) this.#restored();
    else if (!lost) this.#emit('restored', null);
    else {
      const words = 'Nothing is heard from the other side: their connection broke. Waiting for it to come back.';
      this.#emit('problem', new PhoneError('far-media-interrupted', words));
    }
  }

  /** @param {string} sdp */
  async #answered(sdp) {
    if (this.#peer?.signalingState !== 'have-local-offer') return;
    try {
      await this.#peer.setRemoteDescription({ type: 'answer', sdp });
    } catch (error) {
      if (this.#isOver()) return;
      this.#emit('problem', asPhoneError(error));
      this.hangUp();
    }
  }

  /** @param {string} state */
  #progress(state) {
    if (this.#state === 'ending') return;
    if (state === 'calling' || state === 'ringing' || state === 'early-media') {
      if (this.direction === 'out' && this.#state !== 'in-call') this.#setState(state);
    } else if (state === 'in-call') {
      this.answeredAt ??= Date.now();
      this.#setState('in-call');
    }
  }

  /** @param {Held} held */
  #setHeld(held) {
    if (this.#isOver()) return;
    this.#held = held;
    this.#letSpeak();
    this.#emit('held', held);
  }

  /** @param {Recording} recording */
  #setRecording(recording) {
    if (this.#isOver()) return;
    this.#recording = recording;
    this.#emit('recording', recording);
  }

  /** @param {string} state @param {Message} message */
  #setTransfer(state, message) {
    if (this.#isOver() || (state !== 'trying' && state !== 'ringing' && state !== 'failed')) return;
    this.#transferring = state !== 'failed';
    this.#emit('transfer', { state, reason: text(message.reason), text: text(message.text) });
  }

  /** @param {string} number */
  #setParty(number) {
    if (this.#isOver()) return;
    this.#party = number;
    this.#name = '';
    this.#emit('party', number);
  }

  /** @param {Message} message */
  #scored(message) {
    /** @type {Score} */
    const score = {
      side: message.side === 'far' ? 'far' : 'near', mos: Number(message.mos), reason: text(message.reason), at: Date.now(),
    };
    this.scores.push(score);
    this.#emit('quality', score);
  }

  /** @param {string} code @param {string} message */
  #refused(code, message) {
    // The gateway refused `call` itself, or no longer knows the call: no `ended` will come.
    const never = this.direction === 'out' && !this.#confirmed;
    if (never || code === 'unknown-call') this._end(code, this.#lastWords || message);
    else this.#emit('problem', new PhoneError(code, message));
  }

  /** @param {string} type @param {string} words */
  #leave(type, words) {
    this.#lastWords = words;
    this.#setState('ending');
    this.#silence();
    if (!this.#known) return this._end('hung-up', words);
    // The connection stays until `ended`: its DTLS farewell would overtake the `bye` and look like a lost line.
    this.#link.send({ type, call: this.id });
    this.#endTimer = setTimeout(() => this._end('hung-up', words), ENDED_MS);
    return undefined;
  }

  /** @param {string} reason @param {string} words */
  _end(reason, words) {
    if (this.#state === 'ended') return;
    clearTimeout(this.#endTimer);
    clearTimeout(this.#reconnectTimer);
    this.#silence();
    this.#peer?.close();
    this.#peer = null;
    this.#link.forget();
    this.#setState('ended');
    this.#emit('ended', { reason, text: words });
  }

  /** Nothing is heard or said any more; the microphone is free. */
  #silence() {
    this.#meter?.stop();
    this.#meter = null;
    this.#track?.stop();
    this.#track = null;
    this.#sender = null;
    this.audio.srcObject = null;
    this.audio.remove();
  }

  #isOver() {
    return this.#state === 'ended' || this.#state === 'ending';
  }

  /** @param {CallState} state */
  #is(state) {
    return this.#state === state;
  }

  /** @param {CallState} state */
  #setState(state) {
    if (this.#state === state) return;
    this.#state = state;
    this.#emit('state', state);
  }

  /** @param {string} type @param {unknown} detail */
  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/**
 * Plays one digit into the media stream (RFC 4733) and waits until it is over.
 * @param {RTCDTMFSender} dtmf @param {string} digit @param {number} ms
 * @returns {Promise<void>}
 */
function insertDigit(dtmf, digit, ms) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      dtmf.removeEventListener('tonechange', changed);
      resolve();
    };
    /** @param {Event} event */
    const changed = (event) => {
      if (/** @type {RTCDTMFToneChangeEvent} */ (event).tone === '') done();
    };
    // Should the browser never tell the end, the next digit must still go out.
    const timer = setTimeout(done, ms + DIGIT_GAP_MS + 1_000);
    dtmf.addEventListener('tonechange', changed);
    try {
      dtmf.insertDTMF(digit, ms, DIGIT_GAP_MS);
    } catch {
      done();
    }
  });
}

/**
 * A field of a message as text; anything else is empty.
 * @param {unknown} value
 */
export function text(value) {
  return typeof value === 'string' ? value : '';
}
