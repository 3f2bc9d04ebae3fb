// A page that uses JsSIP as its documentation says; `docs/CLIENTS.md` shows the same settings.
import JsSIP from 'jssip';
import { install } from './client_page.mjs';

/** @typedef {import('jssip/lib/RTCSession.js').RTCSession} RTCSession */

/** @type {import('jssip/lib/UA.js').UA} */
let ua;
/** @type {RTCSession} */
let session;
/** @type {import('./client_page.mjs').Client} */
let page;

const media = { mediaConstraints: { audio: true, video: false }, pcConfig: { iceServers: [] } };

/** @param {RTCSession} next @param {import('./client_page.mjs').Client} client */
function watch(next, client) {
  session = next;
  /** @type {number | undefined} */
  let timer;
  // No more than half a second for gathering: the gateway needs none of the page's candidates.
  next.on('icecandidate', ({ ready }) => {
    timer ??= window.setTimeout(ready, client.gather);
  });
  next.on('sdp', (event) => {
    if (event.originator === 'local') event.sdp = client.change(event.sdp);
  });
  next.on('progress', (/** @type {any} */ { originator, response }) => {
    if (originator === 'remote') client.say(`progress ${response.status_code}`);
  });
  next.on('confirmed', () => client.say('confirmed'));
  next.on('ended', ({ cause }) => client.say(`ended ${cause}`));
  next.on('failed', ({ cause }) => client.say(`failed ${cause}`));
  next.on('newDTMF', (/** @type {any} */ { originator, dtmf }) => {
    if (originator === 'remote') client.say(`dtmf ${dtmf.tone}`);
  });
}

install({
  register(client, { url, user, password, domain }) {
    page = client;
    ua = new JsSIP.UA({
      sockets: [new JsSIP.WebSocketInterface(url)],
      uri: `sip:${user}@${domain}`,
      password,
      register_expires: 300,
      connection_recovery_min_interval: 1,
      connection_recovery_max_interval: 2,
    });
    ua.on('registered', () => client.say('registered'));
    ua.on('registrationFailed', ({ cause }) => client.say(`registration failed ${cause}`));
    ua.on('disconnected', () => client.say('disconnected'));
    ua.on('newRTCSession', (/** @type {any} */ event) => {
      watch(event.session, client);
      if (event.originator === 'remote') client.say(`incoming ${event.request.from.uri.user}`);
    });
    ua.start();
  },
  call: (number) => void ua.call(number, media),
  answer: () => session.answer(media),
  hangUp: () => session.terminate(),
  dtmf: (tones, way) => {
    const { INFO, RFC2833 } = JsSIP.C.DTMF_TRANSPORT;
    session.sendDTMF(tones, { duration: 160, interToneGap: 200, transportType: way === 'info' ? INFO : RFC2833 });
  },
  // Its `hold` event comes before the gateway's answer; until that a second re-INVITE is refused by JsSIP itself.
  hold: () => void session.hold({}, () => page.say('hold local')),
  resume: () => void session.unhold({}, () => page.say('unhold local')),
  restart: () => void session.renegotiate({ rtcOfferConstraints: { iceRestart: true } }),
  refer: (target) => void session.refer(target),
});
