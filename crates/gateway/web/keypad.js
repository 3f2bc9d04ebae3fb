// @ts-check
/** Presses on the keypad and on digit keys of the keyboard, with their lengths. */

/**
 * A press that is over.
 * @callback Pressed
 * @param {string} digit one of `0-9*#`
 * @param {number} ms how long it was held
 */

/** Arrow keys walk through the pad, three keys to a row; Tab passes it in one step. */
const STEPS = new Map([['ArrowLeft', -1], ['ArrowRight', 1], ['ArrowUp', -3], ['ArrowDown', 3]]);

/** A press by a screen reader or a script has no length. */
const PRESS_MS = 100;

export class Keypad {
  /** @type {Map<string, HTMLElement>} */ #keys = new Map();
  /** @type {{ digit: string, since: number } | null} */ #held = null;
  /** @type {Pressed} */ #pressed;
  /** Clicks that follow a pointer or key press were counted already. */ #ignoreClickUntil = 0;

  /** @param {HTMLElement} group @param {Pressed} pressed */
  constructor(group, pressed) {
    this.#pressed = pressed;
    const keys = [...group.querySelectorAll('button')];
    group.addEventListener('keydown', (event) => {
      const at = keys.findIndex((key) => key === document.activeElement);
      const next = keys[at + (STEPS.get(event.key) ?? NaN)];
      if (at < 0 || !next) return;
      event.preventDefault();
      next.focus();
    });
    group.addEventListener('focusin', (event) => {
      for (const key of keys) key.tabIndex = key === event.target ? 0 : -1;
    });
    for (const [index, key] of keys.entries()) {
      key.tabIndex = index === 0 ? 0 : -1;
      const digit = key.dataset['digit'] ?? '';
      this.#keys.set(digit, key);
      key.addEventListener('pointerdown', (event) => {
        if (event.button !== 0) return;
        key.setPointerCapture(event.pointerId);
        this.press(digit);
      });
      key.addEventListener('pointerup', () => this.release(digit));
      key.addEventListener('pointercancel', () => this.#abandon());
      key.addEventListener('contextmenu', (event) => event.preventDefault());
      key.addEventListener('keydown', (event) => {
        if ((event.key === 'Enter' || event.key === ' ') && !event.repeat) this.press(digit);
      });
      key.addEventListener('keyup', (event) => {
        if (event.key === 'Enter' || event.key === ' ') this.release(digit);
      });
      key.addEventListener('click', () => {
        if (this.#held || performance.now() < this.#ignoreClickUntil) return;
        this.#pressed(digit, PRESS_MS);
      });
    }
    globalThis.addEventListener('blur', () => this.#abandon());
  }

  /**
   * A key goes down. One that is still down is over now, so digits keep the order of their presses.
   * @param {string} digit
   */
  press(digit) {
    if (this.#held) this.release(this.#held.digit);
    this.#held = { digit, since: performance.now() };
    this.#keys.get(digit)?.classList.add('down');
  }

  /**
   * A key goes up. Ignored for a key that is not down.
   * @param {string} digit
   */
  release(digit) {
    if (this.#held?.digit !== digit) return;
    const ms = performance.now() - this.#held.since;
    this.#abandon();
    this.#ignoreClickUntil = performance.now() + 50;
    this.#pressed(digit, ms);
  }

  #abandon() {
    if (this.#held) this.#keys.get(this.#held.digit)?.classList.remove('down');
    this.#held = null;
  }
}
