// A page that uses SIP.js as its documentation says; `docs/CLIENTS.md` shows the same settings.
import { Inviter, Registerer, SessionState, UserAgent, Web } from 'sip.js';
import { install } from './client_page.mjs';

/** @typedef {import('sip.js').Session} Session */

/** @type {UserAgent} */
let ua;
/** @type {Session} */
let session;
/** @type {import('./client_page.mjs').Client} */
let page;
let domain = '';

/** @param {string} number */
function target(number) {
  const uri = UserAgent.makeURI(number.includes(':') ? number : `sip:${number}@${domain}`);
  if (!uri) throw new Error(`no SIP URI: ${number}`);
  return uri;
}

/** @param {Session} next */
function watch(next) {
  session = next;
  next.delegate = {
    onInfo: (info) => {
      void info.accept();
      page.say(`info ${info.request.body}`);
    },
  };
  next.stateChange.addListener((state) => {
    if (state === SessionState.Established) page.say('confirmed');
    if (state === SessionState.Terminated) page.say('ended');
  });
}

/**
 * SIP.js passes the gateway's answers through here too; those stay as they are.
 * @type {import('sip.js').SessionDescriptionHandlerModifier}
 */
const change = async (description) =>
  description.type === 'offer' ? { type: 'offer', sdp: page.change(description.sdp ?? '') } : description;

/** @param {boolean} hold @param {boolean} [iceRestart] */
async function reinvite(hold, iceRestart) {
  /** @type {any} */
  const options = { constraints: { audio: true, video: false }, hold, offerOptions: { iceRestart } };
  session.sessionDescriptionHandlerOptionsReInvite = options;
  await session.invite({
    sessionDescriptionHandlerOptions: options,
    requestDelegate: {
      onAccept: () => page.say(hold ? 'hold local' : iceRestart ? 'restarted' : 'unhold local'),
      onReject: (response) => page.say(`re-INVITE refused ${response.message.statusCode}`),
    },
  });
}

install({
  register(client, account) {
    page = client;
    domain = account.domain;
    const audio = { constraints: { audio: true, video: false } };
    ua = new UserAgent({
      uri: target(account.user),
      authorizationUsername: account.user,
      authorizationPassword: account.password,
      transportOptions: { server: account.url },
      sessionDescriptionHandlerFactoryOptions: {
        // The gateway needs none of the page's candidates.
        iceGatheringTimeout: client.gather,
        peerConnectionConfiguration: { iceServers: [] },
      },
      delegate: {
        onInvite: (invitation) => {
          invitation.sessionDescriptionHandlerOptions = audio;
          watch(invitation);
          client.say(`incoming ${invitation.remoteIdentity.uri.user}`);
        },
        onDisconnect: (error) => {
          client.say('disconnected');
          // The application reconnects and registers anew.
          if (error) void reconnect();
        },
      },
    });
    const registerer = new Registerer(ua, { expires: 300 });
    const register = () => registerer.register({ requestDelegate: { onAccept: () => client.say('registered') } });
    /** @returns {Promise<unknown>} */
    const reconnect = () =>
      ua.reconnect().then(register, () => new Promise((done) => setTimeout(done, 500)).then(reconnect));
    void ua.start().then(register);
  },
  call(number) {
    const inviter = new Inviter(ua, target(number), {
      earlyMedia: true,
      sessionDescriptionHandlerModifiers: [change],
      sessionDescriptionHandlerOptions: { constraints: { audio: true, video: false } },
    });
    watch(inviter);
    void inviter.invite({
      requestDelegate: {
        onProgress: (response) => page.say(`progress ${response.message.statusCode}`),
        onReject: (response) => page.say(`failed ${response.message.statusCode}`),
      },
    });
  },
  answer: () => void /** @type {import('sip.js').Invitation} */ (session).accept(),
  hangUp() {
    if (session.state === SessionState.Established) void session.bye();
    else if (session instanceof Inviter) void session.cancel();
    else void /** @type {import('sip.js').Invitation} */ (session).reject();
  },
  dtmf(tones, way) {
    if (way === 'rtp') {
      const handler = /** @type {Web.SessionDescriptionHandler} */ (session.sessionDescriptionHandler);
      handler.sendDtmf(tones, { duration: 160, interToneGap: 200 });
      return;
    }
    for (const tone of tones) {
      const content = `Signal=${tone}\r\nDuration=160`;
      const body = { contentDisposition: 'render', contentType: 'application/dtmf-relay', content };
      void session.info({ requestOptions: { body } });
    }
  },
  hold: () => void reinvite(true),
  resume: () => void reinvite(false),
  restart: () => void reinvite(false, true),
  refer: (number) => void session.refer(target(number)),
});
