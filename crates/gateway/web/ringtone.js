// @ts-check
/** The ringtone of an incoming call: two soft tones, made here. */

/** One ring: frequency (Hz), start (s), length (s). */
const NOTES = [
  [659.26, 0, 0.5],
  [523.25, 0.28, 0.9],
  [659.26, 1.1, 0.5],
  [523.25, 1.38, 0.9],
];
const REPEAT_MS = 3_500;
const LOUDNESS = 0.16;

export class Ringtone {
  /** @type {AudioContext | null} */ #context = null;
  /** @type {ReturnType<typeof setInterval> | undefined} */ #timer;
  /** @type {GainNode | null} */ #ringing = null;

  /** To be called from a click or key press: browsers let a page sound only after one. */
  unlock() {
    this.#context ??= new AudioContext();
    void this.#context.resume();
  }

  /** Rings until `stop`. */
  start() {
    this.stop();
    this.ringOnce();
    this.#timer = setInterval(() => this.ringOnce(), REPEAT_MS);
  }

  stop() {
    clearInterval(this.#timer);
    const context = this.#context;
    if (context && this.#ringing) this.#ringing.gain.setTargetAtTime(0, context.currentTime, 0.03);
    this.#ringing = null;
  }

  ringOnce() {
    const context = this.#context;
    if (context?.state !== 'running') return;
    const out = context.createGain();
    out.gain.value = LOUDNESS;
    out.connect(context.destination);
    this.#ringing = out;
    for (const [frequency = 0, start = 0, length = 0] of NOTES) {
      const at = context.currentTime + start;
      const tone = new OscillatorNode(context, { type: 'sine', frequency });
      const envelope = new GainNode(context, { gain: 0 });
      envelope.gain.setTargetAtTime(1, at, 0.02);
      envelope.gain.setTargetAtTime(0, at + 0.12, length / 4);
      tone.connect(envelope).connect(out);
      tone.start(at);
      tone.stop(at + length + 0.4);
    }
  }
}
