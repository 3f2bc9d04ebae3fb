// What the tests add to the page before its own scripts run. It watches; the page's behaviour stays its own.

/**
 * @typedef {object} HookOptions
 * @property {string} [speech] base64 of a WAV file that stands in for the microphone, where the browser has no way of its own
 * @property {string} [candidates] of the gateway's candidates the page sees those alone that this expression matches
 * @property {Record<string, number>} [ports] candidate port to relay port: media goes through the test's relay on this machine
 */

/**
 * Runs inside the page; must not refer to anything outside itself.
 * @param {HookOptions} options
 */
export function install(options) {
  /** @type {any} */
  const e2e = { pcs: [], tracks: [], statuses: [], messages: [], sockets: [], sounds: [], recorders: {}, requests: 0 };
  /** @type {any} */ (window).__e2e = e2e;

  const Native = window.RTCPeerConnection;
  /** Ways to the gateway are named one by one, for the next connection: its candidates, whether it must use a relay,
   * and whether its offers make the gateway the DTLS client. */
  e2e.way = { candidates: options.candidates, relay: false, passive: false };
  /** @param {string} sdp @param {string} [candidates] */
  const relayed = (sdp, candidates) => {
    if (candidates) {
      const seen = new RegExp(candidates);
      const kept = sdp.split('\r\n').filter((line) => !line.startsWith('a=candidate:') || seen.test(line));
      return kept.join('\r\n');
    }
    const ports = options.ports;
    if (!ports) return sdp;
    const lines = sdp.split('\r\n').flatMap((line) => {
      if (!line.startsWith('a=candidate:')) return [line];
      const words = line.split(' ');
      // Not loopback: Firefox never connects to it, and a relay's answers to Chromium would come from another address.
      const usable = words[2] === 'udp' && !words[4].includes(':') && words[4] !== '127.0.0.1';
      if (!usable || !ports[words[5]]) return [];
      words[5] = String(ports[words[5]]);
      return [words.join(' ')];
    });
    return lines.join('\r\n');
  };
  window.RTCPeerConnection = class extends Native {
    /** @param {RTCConfiguration} [config] */
    constructor(config) {
      super(e2e.way.relay ? { ...config, iceTransportPolicy: 'relay' } : config);
      this.way = e2e.way;
      e2e.pcs.push(this);
      this.addEventListener('track', (event) => e2e.tracks.push(event.track));
    }
    /** @param {RTCConfiguration} [config] */
    setConfiguration(config) {
      super.setConfiguration(this.way.relay ? { ...config, iceTransportPolicy: 'relay' } : config);
    }
    /** @param {RTCSessionDescriptionInit} description */
    setRemoteDescription(description) {
      return super.setRemoteDescription({ type: description.type, sdp: relayed(description.sdp ?? '', this.way.candidates) });
    }
  };

  const NativeSocket = window.WebSocket;
  window.WebSocket = class extends NativeSocket {
    /** @param {string | URL} url @param {string | string[]} [protocols] */
    constructor(url, protocols) {
      super(url, protocols);
      e2e.sockets.push(this);
      const sip = protocols === 'sip' || protocols?.includes('sip');
      this.addEventListener('message', (event) => e2e.messages.push(sip ? event.data : JSON.parse(event.data)));
    }
    /** @param {any} data */
    send(data) {
      const passive = e2e.way.passive && typeof data === 'string';
      super.send(passive ? data.replaceAll('a=setup:actpass', 'a=setup:passive') : data);
    }
  };

  // What the page itself plays (its ringtone) is measured beside the loudspeaker.
  const connect = AudioNode.prototype.connect;
  /** @type {WeakSet<BaseAudioContext>} */
  const own = new WeakSet();
  /** @param {...any} where */
  AudioNode.prototype.connect = /** @type {any} */ (
    /** @this {AudioNode} */
    function (/** @type {any[]} */ ...where) {
      if (where[0] === this.context.destination && !own.has(this.context)) {
        const analyser = new AnalyserNode(this.context, { fftSize: 2048 });
        connect.apply(this, /** @type {any} */ ([analyser]));
        e2e.sounds.push(analyser);
      }
      return connect.apply(this, /** @type {any} */ (where));
    }
  );
  /** Peak of what the page plays right now, 0 to 1. */
  e2e.loudness = () => {
    const samples = new Float32Array(2048);
    const peaks = e2e.sounds.map((/** @type {AnalyserNode} */ one) => {
      one.getFloatTimeDomainData(samples);
      return samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
    });
    return Math.max(0, ...peaks);
  };

  const look = () => {
    for (const region of document.querySelectorAll('[role=status], output')) {
      const text = (region.textContent ?? '').trim();
      const last = e2e.statuses.findLast((/** @type {any} */ seen) => seen.region === region);
      if (text && last?.text !== text) e2e.statuses.push({ region, text, at: performance.now() });
    }
  };
  const watch = () => {
    look();
    new MutationObserver(look).observe(document, { childList: true, subtree: true, characterData: true });
  };
  if (document.documentElement) watch();
  else document.addEventListener('readystatechange', watch, { once: true });

  // The tests score the gateway: echo cancellers and gain control would eat an echo and colour the rest.
  const open = navigator.mediaDevices?.getUserMedia.bind(navigator.mediaDevices);
  if (open) {
    navigator.mediaDevices.getUserMedia = (constraints) => {
      const wanted = typeof constraints?.audio === 'object' ? constraints.audio : {};
      const plain = { ...wanted, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
      return open({ ...constraints, audio: plain });
    };
  }
  if (options.speech && navigator.mediaDevices) {
    const bytes = Uint8Array.from(atob(options.speech), (char) => char.charCodeAt(0));
    navigator.mediaDevices.getUserMedia = async () => {
      e2e.requests += 1;
      const context = new AudioContext({ sampleRate: 48000 });
      own.add(context);
      await context.resume();
      const source = context.createBufferSource();
      source.buffer = await context.decodeAudioData(bytes.slice().buffer);
      const out = context.createMediaStreamDestination();
      source.connect(out);
      source.start();
      e2e.microphone = context;
      return out.stream;
    };
  }

  // A call of the browser with itself, over what the microphone of the newest call says: what its own codec, jitter buffer
  // and losses cost, without a gateway. The listener answers with these parameters of Opus; gives where it listens.
  e2e.callItself = async (/** @type {string} */ opus) => {
    const [speaker, listener] = [new Native(), new Native()];
    const track = e2e.pcs.at(-1).getSenders().find((/** @type {RTCRtpSender} */ one) => one.track).track;
    speaker.addTrack(track, new MediaStream([track]));
    listener.addEventListener('track', (event) => void (e2e.own = event.track));
    const gathered = new Promise((done) => {
      listener.addEventListener('icecandidate', (event) => {
        if (event.candidate?.protocol === 'udp' && !event.candidate.address?.includes(':')) done(event.candidate);
      });
    });
    await speaker.setLocalDescription();
    await listener.setRemoteDescription({ type: 'offer', sdp: bare(speaker.localDescription?.sdp ?? '') });
    await listener.setLocalDescription();
    const where = await gathered;
    const sdp = bare(listener.localDescription?.sdp ?? '');
    const pt = /a=rtpmap:(\d+) opus/.exec(sdp)?.[1];
    e2e.answer = sdp.replace(new RegExp(`a=fmtp:${pt} .*`), `a=fmtp:${pt} ${opus}`);
    e2e.itself = [speaker, listener];
    // A name of `.local` hides the machine's own address, at which the call's other end is too.
    const given = /a=candidate:\S+ 1 \w+ \d+ (?!127\.)([\d.]+) /.exec(e2e.pcs.at(-1).remoteDescription.sdp)?.[1];
    return `${where.address.endsWith('.local') ? given : where.address}:${where.port}`;
  };
  /** @param {string} sdp */
  const bare = (sdp) => sdp.split('\r\n').filter((line) => !/^a=(candidate|end-of-candidates)/.test(line)).join('\r\n');
  // The other half: the speaker is told this port.
  e2e.connectItself = async (/** @type {string} */ address, /** @type {number} */ port) => {
    const [speaker] = e2e.itself;
    await speaker.setRemoteDescription({ type: 'answer', sdp: e2e.answer });
    await speaker.addIceCandidate({ candidate: `candidate:1 1 udp 2122260223 ${address} ${port} typ host`, sdpMLineIndex: 0 });
    while (speaker.connectionState !== 'connected') await new Promise((done) => setTimeout(done, 20));
  };

  // Of the newest call, or of the browser's call with itself.
  e2e.record = async (itself = false) => {
    const track = itself ? e2e.own : e2e.tracks.findLast((/** @type {MediaStreamTrack} */ one) => one.kind === 'audio' && one.readyState === 'live');
    if (!track) throw new Error('no live remote audio track');
    const stream = new MediaStream([track]);
    // Chromium decodes a remote track only while an element plays it.
    const element = new Audio();
    element.muted = true;
    element.srcObject = stream;
    await element.play();
    const context = new AudioContext({ sampleRate: 48000 });
    own.add(context);
    await context.resume();
    // An AudioWorklet would need a module from the page's own origin; large buffers make up for the main thread.
    const node = context.createScriptProcessor(16384, 1, 1);
    /** @type {Float32Array[]} */
    const blocks = [];
    node.onaudioprocess = (event) => void blocks.push(event.inputBuffer.getChannelData(0).slice());
    context.createMediaStreamSource(stream).connect(node).connect(context.destination);
    e2e.recorders[String(itself)] = { context, blocks, element, node };
    return context.state;
  };
  e2e.stop = async (itself = false) => {
    const { context, blocks, element } = e2e.recorders[String(itself)];
    await context.close();
    element.srcObject = null;
    const pcm = new Int16Array(blocks.length * 16384);
    blocks.forEach((/** @type {Float32Array} */ block, /** @type {number} */ index) => {
      for (let at = 0; at < 16384; at += 1) {
        pcm[index * 16384 + at] = Math.max(-32768, Math.min(32767, Math.round(block[at] * 32767)));
      }
    });
    const bytes = new Uint8Array(pcm.buffer);
    let text = '';
    for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
    return btoa(text);
  };
  e2e.stats = async () => {
    /** @type {any[]} */
    const all = [];
    for (const pc of e2e.pcs) {
      if (pc.connectionState === 'closed') continue;
      const reports = [...(await pc.getStats()).values()];
      all.push({ connection: pc.connectionState, local: pc.localDescription?.sdp, remote: pc.remoteDescription?.sdp, reports });
    }
    return all;
  };
}

/** Expression that reads the statuses seen so far. */
export const STATUSES = 'JSON.stringify(window.__e2e.statuses.map((one) => one.text))';
