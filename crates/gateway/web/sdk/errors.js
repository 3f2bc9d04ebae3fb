// @ts-check
/** What can go wrong, in words; the microphone. Part of the webtrunk SDK. */

/** An error with a stable `code` for programs and a `message` for people. */
export class PhoneError extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.name = 'PhoneError';
    this.code = code;
  }
}

/**
 * Why this page can not make calls, in words, or null when it can.
 * @returns {PhoneError | null}
 */
export function whyNot() {
  if (!globalThis.isSecureContext) {
    return new PhoneError(
      'insecure-context',
      'This page was opened over plain HTTP from another machine. Browsers refuse the microphone to such pages, and '
        + 'your password would travel unprotected, so signing in is switched off. Open the page with https://, or on '
        + 'the machine that runs webtrunk as http://localhost.',
    );
  }
  if (!('RTCPeerConnection' in globalThis) || !navigator.mediaDevices?.getUserMedia) {
    return new PhoneError('no-webrtc', 'This browser can not make calls: it has no WebRTC, or it is switched off.');
  }
  return null;
}

/**
 * What the names of getUserMedia's errors mean.
 * @type {Record<string, string>}
 */
const MICROPHONE_WORDS = {
  NotAllowedError:
    'The microphone is not allowed for this page. Allow it in the browser\'s address bar (or in the system settings) '
    + 'and try again.',
  NotFoundError: 'No microphone was found. Plug one in, or switch it on, and try again.',
  NotReadableError: 'The microphone can not be opened: another program may be using it.',
  AbortError: 'The microphone stopped working while it was opened. Try again.',
  OverconstrainedError: 'No microphone fits what this page asks for.',
  SecurityError: 'The browser settings forbid the microphone to this page.',
};

/**
 * @param {MediaTrackConstraints} audio
 * @returns {Promise<MediaStreamTrack>} rejects with a {@link PhoneError}
 */
export async function openMicrophone(audio) {
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio });
    const track = stream.getAudioTracks()[0];
    if (track) return track;
  } catch (error) {
    throw asPhoneError(error);
  }
  throw new PhoneError('no-microphone', 'No microphone was found.');
}

/**
 * @param {unknown} error
 * @returns {PhoneError}
 */
export function asPhoneError(error) {
  if (error instanceof PhoneError) return error;
  const words = error instanceof Error ? MICROPHONE_WORDS[error.name] : undefined;
  if (words) return new PhoneError('no-microphone', words);
  return new PhoneError('browser-error', error instanceof Error ? error.message : String(error));
}
