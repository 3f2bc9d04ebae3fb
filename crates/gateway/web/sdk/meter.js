// @ts-check
/** Loudness and quality of one peer connection. Part of the webtrunk SDK. */

const LEVEL_MS = 200;
/** Quality is told every fifth level sample (once a second), loss over the last five seconds. */
const SAMPLES_PER_QUALITY = 5;
const LOSS_WINDOW = 5;

/**
 * Quality of the audio that arrives here, once a second. Absent fields are not known (yet).
 * @typedef {object} Quality
 * @property {string} [codec] e.g. `Opus`, `PCMU`
 * @property {number} [lossPercent] packets lost in the last five seconds
 * @property {number} [jitterMs]
 * @property {number} [roundTripMs]
 * @property {number} packetsReceived since the call began
 * @property {number} packetsSent since the call began
 */

/**
 * Loudness from 0 (silence) to 1 (full scale).
 * @typedef {object} Levels
 * @property {number} local what the microphone sends
 * @property {number} remote what arrives
 */

/** Samples levels and quality of one peer connection and tells them as events of the call. */
export class Meter {
  /** @type {RTCPeerConnection} */ #peer;
  /** @type {EventTarget} */ #target;
  /** @type {ReturnType<typeof setInterval>} */ #timer;
  /** @type {{ lost: number, received: number }[]} */ #history = [];
  /** @type {MediaStream | null} */ #remote = null;
  /** @type {MediaStreamTrack | null} */ #local = null;
  /** @type {AudioContext | null} */ #context = null;
  /** @type {{ local: Analyser | null, remote: Analyser | null }} */ #analysers = { local: null, remote: null };
  #count = 0;
  #busy = false;

  /** @param {RTCPeerConnection} peer @param {EventTarget} target */
  constructor(peer, target) {
    this.#peer = peer;
    this.#target = target;
    this.#timer = setInterval(() => void this.#sample(), LEVEL_MS);
  }

  /** @param {MediaStream} stream */
  hear(stream) {
    this.#remote = stream;
  }

  /** @param {MediaStreamTrack} track */
  send(track) {
    this.#local = track;
  }

  stop() {
    clearInterval(this.#timer);
    void this.#context?.close();
    this.#context = null;
  }

  async #sample() {
    if (this.#busy || this.#peer.connectionState === 'closed') return;
    this.#busy = true;
    try {
      const report = readStats(await this.#peer.getStats());
      const remote = report.remoteLevel ?? this.#analyse('remote', this.#remote);
      const local = this.#local?.enabled ? report.localLevel ?? this.#analyse('local', this.#local) : 0;
      this.#target.dispatchEvent(new CustomEvent('levels', { detail: { local, remote } }));
      this.#count += 1;
      if (this.#count % SAMPLES_PER_QUALITY === 0) this.#quality(report);
    } catch {
      // The connection was closed meanwhile: nothing to tell.
    } finally {
      this.#busy = false;
    }
  }

  /** @param {Report} report */
  #quality(report) {
    const oldest = this.#history[0];
    this.#history.push({ lost: report.lost, received: report.received });
    if (this.#history.length > LOSS_WINDOW) this.#history.shift();
    /** @type {Quality} */
    const quality = { packetsReceived: report.received, packetsSent: report.sent };
    if (report.codec) quality.codec = report.codec;
    if (report.jitter !== undefined && report.received > 0) quality.jitterMs = report.jitter * 1000;
    if (report.roundTrip !== undefined) quality.roundTripMs = report.roundTrip * 1000;
    if (oldest) {
      const lost = Math.max(0, report.lost - oldest.lost);
      const expected = lost + report.received - oldest.received;
      if (expected > 0) quality.lossPercent = (100 * lost) / expected;
    }
    this.#target.dispatchEvent(new CustomEvent('stats', { detail: quality }));
  }

  /**
   * For browsers whose statistics have no level.
   * @param {'local' | 'remote'} side @param {MediaStream | MediaStreamTrack | null} source
   * @returns {number}
   */
  #analyse(side, source) {
    if (!source) return 0;
    const stream = source instanceof MediaStream ? source : new MediaStream([source]);
    this.#context ??= new AudioContext();
    if (this.#context.state === 'suspended') void this.#context.resume();
    const analyser = (this.#analysers[side] ??= new Analyser(this.#context, stream));
    return analyser.level();
  }
}

/** Loudness of a stream by WebAudio. */
class Analyser {
  /** @param {AudioContext} context @param {MediaStream} stream */
  constructor(context, stream) {
    this.node = context.createAnalyser();
    this.node.fftSize = 1024;
    this.samples = new Float32Array(this.node.fftSize);
    // Kept: some browsers collect a source that nothing else holds.
    this.source = context.createMediaStreamSource(stream);
    this.source.connect(this.node);
  }

  /** @returns {number} */
  level() {
    this.node.getFloatTimeDomainData(this.samples);
    return Math.min(1, this.samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0));
  }
}

/**
 * What is read of a statistics report.
 * @typedef {object} Report
 * @property {string} [codec]
 * @property {number} lost
 * @property {number} received
 * @property {number} sent
 * @property {number} [jitter] seconds
 * @property {number} [roundTrip] seconds
 * @property {number} [remoteLevel]
 * @property {number} [localLevel]
 */

/** @param {RTCStatsReport} stats @returns {Report} */
function readStats(stats) {
  /** @type {Report} */ const report = { lost: 0, received: 0, sent: 0 };
  /** @type {string | undefined} */ let inCodec;
  /** @type {string | undefined} */ let outCodec;
  /** @type {number | undefined} */ let pathRoundTrip;
  stats.forEach((entry) => {
    if (entry.type === 'inbound-rtp' && entry.kind === 'audio') {
      inCodec = entry.codecId;
      report.lost = entry.packetsLost ?? 0;
      report.received = entry.packetsReceived ?? 0;
      report.jitter = entry.jitter;
      report.remoteLevel = entry.audioLevel;
    } else if (entry.type === 'outbound-rtp' && entry.kind === 'audio') {
      outCodec = entry.codecId;
      report.sent = entry.packetsSent ?? 0;
    } else if (entry.type === 'media-source' && entry.kind === 'audio') {
      report.localLevel = entry.audioLevel;
    } else if (entry.type === 'remote-inbound-rtp' && entry.kind === 'audio') {
      report.roundTrip = entry.roundTripTime;
    } else if (entry.type === 'candidate-pair' && entry.nominated) {
      pathRoundTrip = entry.currentRoundTripTime ?? pathRoundTrip;
    }
  });
  report.roundTrip ??= pathRoundTrip;
  const codec = stats.get(inCodec ?? outCodec ?? '')?.mimeType;
  if (typeof codec === 'string') report.codec = codec.replace(/^audio\//, '').replace(/^opus$/, 'Opus');
  return report;
}
