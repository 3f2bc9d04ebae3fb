// @ts-check
/** The phone page: joins the SDK, the keypad, the ringtone and the view. */

import { Keypad } from './keypad.js';
import { plot } from './plot.js';
import { Ringtone } from './ringtone.js';
import { Phone, PhoneError, whyNot } from './sdk/webtrunk.js';
import * as view from './view.js';

/** @typedef {import('./sdk/call.js').Call} Call */
/** @typedef {import('./sdk/call.js').CallState} CallState */

const { page } = view;
const USERNAME_KEY = 'webtrunk.username';
const LAST_KEY = 'webtrunk.last-number';
/** A zero held this long is a plus, as on every phone. */
const PLUS_MS = 600;

const phone = new Phone();
const ringtone = new Ringtone();

/** The call on the screen. @type {Call | null} */
let current = null;
/** The call whose other side waits while `current` asks whether to transfer it. @type {Call | null} */
let first = null;
/** It was on hold before that already. */
let firstHeld = false;
/** Callers that ring while another call is on. @type {Call[]} */
let waiting = [];
let sent = '';
let received = '';
/** How the transfer under way is called. */
let transferWords = '';

const keypad = new Keypad(page.keypad, (digit, ms) => (current ? sendDigit(current, digit, ms) : typeDigit(digit, ms)));

function start() {
  page.username.value = localStorage.getItem(USERNAME_KEY) ?? '';
  signedOut('');
  const reason = whyNot();
  if (!reason) return;
  view.status('Sign-in is not possible here', 'off');
  view.notice(reason.message);
  for (const control of [page.username, page.password, page.signInButton]) control.disabled = true;
}

/** @param {string} why shown above the form */
function signedOut(why) {
  page.account.hidden = true;
  page.password.value = '';
  view.notice(why);
  view.status('Signed out', 'off');
  view.show('sign-in');
}

async function signIn() {
  const username = page.username.value.trim();
  const password = page.password.value;
  if (!username || !password) {
    view.notice('Please enter your user name and your password.');
    (username ? page.password : page.username).focus();
    return;
  }
  ringtone.unlock();
  page.signInButton.disabled = true;
  view.notice('');
  view.status('Signing in…', 'busy');
  try {
    await phone.connect({ username, password });
    page.password.value = '';
    localStorage.setItem(USERNAME_KEY, username);
  } catch (error) {
    view.status('Signed out', 'off');
    view.notice(error instanceof PhoneError ? error.message : String(error));
    page.password.select();
  } finally {
    page.signInButton.disabled = false;
  }
}

/** @param {HTMLInputElement} field */
function dialled(field) {
  const typed = field.value.trim();
  // `+1 (202) 555-0100` is how people write what is dialled +12025550100; names stay as they are.
  return /^[+\d*#\s().\-/]+$/.test(typed) ? typed.replace(/[\s().\-/]/g, '') : typed;
}

function dial() {
  const to = dialled(page.number);
  if (!to) {
    // As on a desk phone: Call without a number brings back the last one.
    page.number.value = sessionStorage.getItem(LAST_KEY) ?? '';
    showDialler();
    page.number.focus();
    return;
  }
  if (current || !phone.identity) return;
  sessionStorage.setItem(LAST_KEY, to);
  view.notice('');
  follow(phone.call(to));
}

/** Makes a call the one on the screen. @param {Call} call */
function follow(call) {
  bring(call);
  /** Only the call on the screen shows. @param {string} type @param {(event: Event) => void} show */
  const listen = (type, show) => call.addEventListener(type, (event) => {
    if (call === current) show(event);
  });
  listen('levels', (event) => view.levels(detail(event)));
  listen('stats', (event) => view.quality(detail(event)));
  listen('quality', () => plot(call));
  listen('restored', () => view.notice(''));
  listen('dtmf', (event) => {
    received += detail(event).digit;
    view.digits(sent, received);
  });
  listen('party', () => view.party(call));
  listen('state', () => showState(call));
  listen('held', () => showState(call));
  listen('recording', () => showState(call));
  call.addEventListener('problem', (event) => view.notice(detail(event).message));
  call.addEventListener('transfer', (event) => transferGoes(call, detail(event)));
  call.addEventListener('ended', (event) => ended(call, detail(event)));
}

/** @param {Call} call */
function bring(call) {
  current = call;
  sent = '';
  received = '';
  view.party(call);
  view.quality(null);
  plot(call);
  view.levels({ local: 0, remote: 0 });
  view.muted(call.muted);
  view.digits('', '');
  showState(call);
}

/** @param {Call} call */
function showState(call) {
  if (call !== current || call.state === 'ended') return;
  const [words, tone, face] = faceOf(call);
  view.status(words, tone);
  view.show(face);
  view.timer(call.answeredAt);
  if (call.state === 'incoming') ringtone.start();
  else ringtone.stop();
  view.held(call.held);
  view.recording(call.recording, call.state === 'in-call' && phone.identity?.record === true);
  view.transferable({ transfer: call.state === 'in-call' && !call.transferring && !first, first });
  view.title(call.state === 'incoming' || call.state === 'in-call' ? words : '');
}

/**
 * @param {Call} call
 * @returns {[string, 'busy' | 'talking' | 'held' | 'ended', 'call' | 'incoming']}
 */
function faceOf(call) {
  switch (call.state) {
    case 'calling':
    case 'early-media':
      return ['Calling…', 'busy', 'call'];
    case 'ringing':
      return ['Ringing', 'busy', 'call'];
    case 'incoming':
      return [`Incoming call from ${view.partyWords(call)}`, 'busy', 'incoming'];
    case 'answering':
      return ['Connecting…', 'busy', 'call'];
    case 'in-call':
      if (call.transferring) return [transferWords, 'busy', 'call'];
      if (call.held.local) return ['On hold', 'held', 'call'];
      if (call.held.remote) return ['On hold by the other side', 'held', 'call'];
      return ['In call', 'talking', 'call'];
    case 'ending':
    case 'ended':
      return ['Ending…', 'ended', 'call'];
  }
}

/** @param {Call} call @param {{ reason: string, text: string }} why */
function ended(call, { reason, text }) {
  if (call === first) {
    first = null;
    if (reason !== 'transferred') view.notice(`${view.partyWords(call)}: ${text}`);
    if (current) showState(current);
    return;
  }
  if (call !== current) return;
  if (first) return backToFirst(reason === 'transferred' || reason === 'hung-up' ? '' : text, reason !== 'transferred');
  current = null;
  ringtone.stop();
  view.title('');
  view.notice('');
  const next = waiting.shift();
  view.waiting(waiting[0]);
  if (next) {
    follow(next);
    return;
  }
  page.number.value = '';
  showDialler();
  view.status(`Call ended: ${text}`, 'ended');
  return undefined;
}

/** Nobody is asked any more. @param {string} why shown above the call @param {boolean} resume */
function backToFirst(why, resume) {
  const call = first;
  if (!call) return;
  first = null;
  ringtone.stop();
  bring(call);
  view.notice(why);
  view.waiting(waiting[0]);
  if (resume && !firstHeld) call.hold(false);
}

/** @param {Call} call @param {import('./sdk/call.js').Transfer} transfer */
function transferGoes(call, { state, text }) {
  transferWords = state === 'ringing' ? 'Transferring: it rings there' : 'Transferring…';
  if (state === 'failed') view.notice(`The transfer failed: ${text}`);
  if (call === current) showState(call);
}

/** Hands the call over unasked. */
function transferNow() {
  const to = transferNumber();
  if (!to || !current) return;
  current.transfer(to);
  view.transferPanel(false);
}

/** Puts the call on hold and calls whom it is to be handed over to. */
function askFirst() {
  const to = transferNumber();
  if (!to || !current || !phone.identity) return;
  first = current;
  firstHeld = first.held.local;
  if (!firstHeld) first.hold(true);
  view.transferPanel(false);
  follow(phone.call(to));
}

function transferNumber() {
  const to = dialled(page.transferTo);
  view.notice(to ? '' : 'Please enter whom to transfer the call to.');
  if (!to) page.transferTo.focus();
  return to;
}


function showDialler() {
  view.show('dial');
  showRedial();
}

function showRedial() {
  view.redial(sessionStorage.getItem(LAST_KEY) ?? '');
}

/** @param {Call} call */
function incoming(call) {
  if (!current) {
    view.notice('');
    follow(call);
    return;
  }
  waiting.push(call);
  view.waiting(waiting[0]);
  ringtone.ringOnce();
  call.addEventListener('ended', () => {
    waiting = waiting.filter((other) => other !== call);
    view.waiting(waiting[0]);
  });
}

/** @param {Call} call */
async function answer(call) {
  view.notice('');
  try {
    await call.answer();
  } catch (error) {
    view.notice(error instanceof PhoneError ? error.message : String(error));
  }
}

/** Ends the call on the screen and takes the caller that waits. */
function switchCalls() {
  const next = waiting[0];
  if (!next || !current) return;
  const leaving = current;
  // `ended` of the call that is left brings the next one to the screen.
  leaving.addEventListener('ended', () => void answer(next), { once: true });
  leaving.hangUp();
}

/** @param {Call} call @param {string} digit @param {number} ms */
function sendDigit(call, digit, ms) {
  if (call.state === 'incoming' || call.state === 'answering') return;
  call.sendDigit(digit, ms).catch((/** @type {PhoneError} */ error) => view.notice(error.message));
  sent += digit;
  view.digits(sent, received);
}

/** @param {string} digit @param {number} ms */
function typeDigit(digit, ms) {
  const { number } = page;
  const at = number.selectionStart ?? number.value.length;
  number.setRangeText(digit === '0' && ms >= PLUS_MS ? '+' : digit, at, number.selectionEnd ?? at, 'end');
  showRedial();
}

/** @param {Event} event */
function detail(event) {
  return /** @type {CustomEvent} */ (event).detail;
}

/** @param {EventTarget | null} target */
function isTextField(target) {
  return target instanceof HTMLInputElement || target instanceof HTMLTextAreaElement;
}

/** @param {KeyboardEvent} event */
function keyDown(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  // Enter held down on Hang up must not go on to call again.
  if (event.key === 'Enter' && event.repeat) return event.preventDefault();
  if (event.key === 'Escape' && !page.transferPanel.hidden) return view.transferPanel(false);
  const isDigit = /^[0-9*#]$/.test(event.key);
  if (current && isDigit && !isTextField(event.target)) {
    if (!event.repeat) keypad.press(event.key);
    event.preventDefault();
  } else if (!current && (isDigit || event.key === '+') && !isTextField(event.target)) {
    // Typing a number needs no click into the field first; the key itself then lands there.
    if (!page.dial.hidden) page.number.focus();
  } else if (event.key === 'Escape' && current?.direction === 'out' && current.state !== 'in-call') {
    // Gives up an unanswered call. An answered one is too dear for a slip of the hand.
    current.hangUp();
  }
  return undefined;
}

page.signIn.addEventListener('submit', (event) => {
  event.preventDefault();
  void signIn();
});
page.signOut.addEventListener('click', () => {
  phone.disconnect();
  signedOut('');
});
page.dial.addEventListener('submit', (event) => {
  event.preventDefault();
  dial();
});
page.number.addEventListener('input', showRedial);
page.erase.addEventListener('click', () => {
  page.number.value = page.number.value.slice(0, -1);
  showRedial();
  page.number.focus();
});
page.redial.addEventListener('click', () => {
  page.number.value = sessionStorage.getItem(LAST_KEY) ?? '';
  dial();
});
page.answer.addEventListener('click', () => {
  if (current) void answer(current);
});
page.decline.addEventListener('click', () => current?.decline());
page.hangUp.addEventListener('click', () => current?.hangUp());
page.mute.addEventListener('click', () => {
  if (!current) return;
  current.mute(!current.muted);
  view.muted(current.muted);
});
page.hold.addEventListener('click', () => current?.hold(!current.held.local));
page.record.addEventListener('click', () => current?.record(!current.recording.mine));
page.transfer.addEventListener('click', () => view.transferPanel(page.transferPanel.hidden));
page.transferPanel.addEventListener('submit', (event) => {
  event.preventDefault();
  transferNow();
});
page.askFirst.addEventListener('click', askFirst);
page.transferCancel.addEventListener('click', () => view.transferPanel(false));
page.back.addEventListener('click', () => current?.hangUp());
page.complete.addEventListener('click', () => {
  if (first && current) first.transferTo(current);
});
page.waitingAnswer.addEventListener('click', switchCalls);
page.waitingDecline.addEventListener('click', () => waiting[0]?.decline());
document.addEventListener('keydown', keyDown);
document.addEventListener('keyup', (event) => {
  if (!isTextField(event.target)) keypad.release(event.key);
});
globalThis.addEventListener('beforeunload', (event) => {
  if (first || current?.state === 'in-call') event.preventDefault();
});
setInterval(() => {
  if (current?.state === 'in-call') view.timer(current.answeredAt);
}, 500);

phone.addEventListener('incoming', (event) => incoming(detail(event)));
phone.addEventListener('connected', (event) => {
  const { user, extension } = detail(event);
  page.user.textContent = user;
  page.extension.textContent = extension ? `Extension ${extension}` : '';
  page.account.hidden = false;
  page.call.disabled = false;
  view.notice('');
  if (current) return;
  showDialler();
  // After a lost connection the reason why a call ended stays to be read.
  if (!page.status.textContent?.startsWith('Call ended')) view.status('Ready', 'ready');
});
phone.addEventListener('closed', (event) => {
  const { message, retryInMs } = detail(event);
  if (retryInMs === null) {
    signedOut(message);
    return;
  }
  page.call.disabled = true;
  view.notice(`${message} Calls on it have ended. Reconnecting…`);
  if (page.status.textContent === 'Ready') view.status('Not connected', 'off');
});

start();
