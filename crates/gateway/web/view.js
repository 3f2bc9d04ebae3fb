// @ts-check
/** What is on the screen. Knows the document and nothing of calls on the wire. */

/** @typedef {import('./sdk/call.js').Call} Call */
/** @typedef {import('./sdk/meter.js').Levels} Levels */
/** @typedef {import('./sdk/meter.js').Quality} Quality */

/** Which of the four faces the page shows. @typedef {'sign-in' | 'dial' | 'incoming' | 'call'} Face */

/** Quietest level that still shows (decibels below full scale). */
const METER_FLOOR_DB = -54;

/**
 * @template {Element} T
 * @param {string} id @param {{ new (): T }} type
 * @returns {T}
 */
function element(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`the page has no ${type.name} #${id}`);
  return found;
}

/** The parts of the page that listen or change. */
export const page = {
  account: element('account', HTMLDivElement),
  user: element('user', HTMLSpanElement),
  extension: element('extension', HTMLSpanElement),
  signOut: element('sign-out', HTMLButtonElement),
  notice: element('notice', HTMLParagraphElement),
  waiting: element('waiting', HTMLElement),
  waitingText: element('waiting-text', HTMLParagraphElement),
  waitingAnswer: element('waiting-answer', HTMLButtonElement),
  waitingDecline: element('waiting-decline', HTMLButtonElement),
  card: element('card', HTMLDivElement),
  party: element('party', HTMLDivElement),
  initials: element('initials', HTMLSpanElement),
  partyName: element('party-name', HTMLHeadingElement),
  partyNumber: element('party-number', HTMLParagraphElement),
  firstParty: element('first-party', HTMLParagraphElement),
  lead: element('lead', HTMLHeadingElement),
  status: element('status', HTMLParagraphElement),
  timer: element('timer', HTMLSpanElement),
  recorded: element('recorded', HTMLSpanElement),
  signIn: element('sign-in', HTMLFormElement),
  username: element('username', HTMLInputElement),
  password: element('password', HTMLInputElement),
  signInButton: element('sign-in-button', HTMLButtonElement),
  audioPanel: element('audio-panel', HTMLDivElement),
  meterLocal: element('meter-local', HTMLDivElement),
  meterRemote: element('meter-remote', HTMLDivElement),
  quality: element('quality', HTMLSpanElement),
  plot: element('plot', SVGSVGElement),
  score: element('score', HTMLSpanElement),
  dial: element('dial', HTMLFormElement),
  number: element('number', HTMLInputElement),
  erase: element('erase', HTMLButtonElement),
  keypad: element('keypad', HTMLDivElement),
  digits: element('digits', HTMLParagraphElement),
  transferPanel: element('transfer-panel', HTMLFormElement),
  transferTo: element('transfer-to', HTMLInputElement),
  askFirst: element('ask-first', HTMLButtonElement),
  transferCancel: element('transfer-cancel', HTMLButtonElement),
  dialActions: element('dial-actions', HTMLDivElement),
  call: element('call', HTMLButtonElement),
  redial: element('redial', HTMLButtonElement),
  redialNumber: element('redial-number', HTMLSpanElement),
  incomingActions: element('incoming-actions', HTMLDivElement),
  answer: element('answer', HTMLButtonElement),
  decline: element('decline', HTMLButtonElement),
  callActions: element('call-actions', HTMLDivElement),
  mute: element('mute', HTMLButtonElement),
  hold: element('hold', HTMLButtonElement),
  record: element('record', HTMLButtonElement),
  transfer: element('transfer', HTMLButtonElement),
  back: element('back', HTMLButtonElement),
  complete: element('complete', HTMLButtonElement),
  hangUp: element('hang-up', HTMLButtonElement),
};

/**
 * Shows one face and hides the others. The focus goes along when it was on something now hidden.
 * @param {Face} face
 */
export function show(face) {
  if (document.body.dataset['face'] === face) return;
  document.body.dataset['face'] = face;
  page.signIn.hidden = face !== 'sign-in';
  page.lead.hidden = face !== 'sign-in';
  page.dial.hidden = face !== 'dial';
  page.dialActions.hidden = face !== 'dial';
  page.keypad.hidden = face === 'sign-in' || face === 'incoming';
  page.party.hidden = face === 'sign-in' || face === 'dial';
  page.incomingActions.hidden = face !== 'incoming';
  page.callActions.hidden = face !== 'call';
  page.audioPanel.hidden = face !== 'call';
  page.digits.hidden = face !== 'call';
  page.digits.textContent = '';
  page.timer.hidden = true;
  page.recorded.textContent = '';
  page.transferPanel.hidden = true;
  page.transfer.setAttribute('aria-expanded', 'false');
  moveFocus(face);
}

/** @param {Face} face */
function moveFocus(face) {
  // A finger has no use for a focused field: it would only bring up the keyboard.
  const finger = matchMedia('(hover: none)').matches;
  if (face === 'sign-in') (page.username.value ? page.password : page.username).focus();
  else if (face === 'dial' && !finger) page.number.focus();
  // Not on a button: someone who is typing, or still holds Enter, must not answer or hang up by accident.
  else page.card.focus({ preventScroll: true });
}

/**
 * @param {string} words
 * @param {'off' | 'ready' | 'busy' | 'talking' | 'held' | 'ended'} tone colours the dot
 */
export function status(words, tone) {
  if (page.status.textContent !== words) page.status.textContent = words;
  document.body.dataset['tone'] = tone;
}

/** @param {string} words empty to take it away */
export function notice(words) {
  page.notice.textContent = words;
}

/**
 * Name and number of the other side, in words for people.
 * @param {Call} call
 */
export function partyWords(call) {
  return call.name && call.name !== call.party ? `${call.name} (${call.party})` : call.party || 'an unknown number';
}

/** @param {Call} call */
export function party(call) {
  const name = call.name || call.party || 'Unknown number';
  page.partyName.textContent = name;
  page.partyNumber.textContent = call.name && call.party !== name ? call.party : '';
  const words = name.match(/\p{L}+/gu) ?? [];
  page.initials.textContent = words.slice(0, 2).map((word) => word.slice(0, 1).toUpperCase()).join('') || '#';
}

/** @param {Levels} levels */
export function levels(levels) {
  meter(page.meterLocal, levels.local);
  meter(page.meterRemote, levels.remote);
}

/** @param {HTMLElement} target @param {number} level */
function meter(target, level) {
  const decibels = level > 0 ? 20 * Math.log10(level) : METER_FLOOR_DB;
  const percent = Math.round(100 * Math.min(1, Math.max(0, 1 - decibels / METER_FLOOR_DB)));
  target.setAttribute('aria-valuenow', String(percent));
  const bar = target.firstElementChild;
  if (bar instanceof HTMLElement) bar.style.setProperty('clip-path', `inset(0 ${100 - percent}% 0 0)`);
}

/** @param {Quality | null} quality null: nothing measured yet */
export function quality(quality) {
  const { codec, lossPercent, jitterMs, roundTripMs } = quality ?? {};
  const parts = [];
  if (codec) parts.push(codec);
  if (lossPercent !== undefined) parts.push(`loss ${lossPercent.toFixed(1)} %`);
  if (jitterMs !== undefined) parts.push(`jitter ${jitterMs.toFixed(0)} ms`);
  if (roundTripMs !== undefined) parts.push(`round trip ${roundTripMs.toFixed(0)} ms`);
  page.quality.replaceChildren(...(parts.length ? parts.flatMap(unbroken) : ['Measuring…']));
  page.quality.dataset['grade'] = grade(lossPercent, jitterMs, roundTripMs);
}

/** A part of the line that wraps only as a whole. @param {string} words @param {number} index */
function unbroken(words, index) {
  const part = document.createElement('span');
  part.className = 'part';
  part.textContent = words;
  return index === 0 ? [part] : [' · ', part];
}

/**
 * Where people begin to hear it: ITU-T G.114 for the round trip, some experience for the rest.
 * @param {number | undefined} loss @param {number | undefined} jitter @param {number | undefined} roundTrip
 */
function grade(loss, jitter, roundTrip) {
  if (loss === undefined && roundTrip === undefined) return 'unknown';
  if ((loss ?? 0) > 8 || (jitter ?? 0) > 80 || (roundTrip ?? 0) > 800) return 'poor';
  if ((loss ?? 0) > 2 || (jitter ?? 0) > 30 || (roundTrip ?? 0) > 300) return 'fair';
  return 'good';
}

/** @param {number | null} since milliseconds since 1970 */
export function timer(since) {
  page.timer.hidden = since === null;
  if (since === null) return;
  const seconds = Math.max(0, Math.floor((Date.now() - since) / 1000));
  const parts = [Math.floor(seconds / 60) % 60, seconds % 60].map((part) => String(part).padStart(2, '0'));
  if (seconds >= 3600) parts.unshift(String(Math.floor(seconds / 3600)));
  page.timer.textContent = parts.join(':');
}

/** @param {string} sent @param {string} received */
export function digits(sent, received) {
  const parts = [];
  if (sent) parts.push(`Sent ${sent.slice(-16)}`);
  if (received) parts.push(`Received ${received.slice(-16)}`);
  page.digits.textContent = parts.join(' · ');
}

/** @param {boolean} muted */
export function muted(muted) {
  page.mute.setAttribute('aria-pressed', String(muted));
}

/** @param {import('./sdk/call.js').Held} held */
export function held(held) {
  page.hold.setAttribute('aria-pressed', String(held.local));
}

/**
 * Who is recorded sees it, whoever has it done; who has it done ends it.
 * @param {import('./sdk/call.js').Recording} recording @param {boolean} may this person may have calls recorded
 */
export function recording({ on, mine }, may) {
  const words = !on ? '' : mine ? 'Recording' : 'This call is recorded';
  if (page.recorded.textContent !== words) page.recorded.textContent = words;
  page.record.hidden = !may;
  page.record.disabled = on && !mine;
  page.record.setAttribute('aria-pressed', String(mine));
}

/**
 * The buttons of a call fit what can be done with it.
 * @param {{ transfer: boolean, first: Call | null }} now `transfer`: it may be handed over; `first`: whose other side
 *   waits while this call asks whether to transfer it
 */
export function transferable({ transfer, first }) {
  page.transfer.hidden = !transfer;
  page.back.hidden = first === null;
  page.complete.hidden = first === null;
  page.hold.hidden = first !== null;
  page.hangUp.hidden = first !== null;
  page.waitingAnswer.hidden = first !== null;
  page.firstParty.hidden = first === null;
  page.firstParty.textContent = first ? `${partyWords(first)} is on hold` : '';
  if (!transfer && !page.transferPanel.hidden) transferPanel(false);
  const active = document.activeElement;
  if (active instanceof HTMLButtonElement && active.hidden) page.card.focus({ preventScroll: true });
}

/** Opens or closes what asks for the transfer's number, in the keypad's place. @param {boolean} open */
export function transferPanel(open) {
  const hadFocus = page.transferPanel.contains(document.activeElement);
  page.transferPanel.hidden = !open;
  page.transfer.setAttribute('aria-expanded', String(open));
  page.keypad.hidden = open;
  page.digits.hidden = open;
  if (open) {
    page.transferTo.value = '';
    page.transferTo.focus();
  } else if (hadFocus) (page.transfer.hidden ? page.card : page.transfer).focus({ preventScroll: true });
}

/** @param {string} last what was dialled before, or empty */
export function redial(last) {
  const offered = last !== '' && page.number.value === '';
  page.redial.hidden = !offered;
  page.redialNumber.hidden = !offered;
  page.redialNumber.textContent = last;
  page.erase.hidden = page.number.value === '';
}

/** @param {Call | undefined} call */
export function waiting(call) {
  page.waiting.hidden = call === undefined;
  page.waitingText.textContent = call ? `${partyWords(call)} is calling too` : '';
}

/** @param {string} words */
export function title(words) {
  document.title = words ? `${words} – webtrunk phone` : 'webtrunk phone';
}
