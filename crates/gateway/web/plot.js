// @ts-check
/** The small plot of a call's quality: this side's connection as a line, the other side's dashed. */

import { page } from './view.js';

/** @typedef {import('./sdk/call.js').Call} Call */
/** @typedef {import('./sdk/call.js').Score} Score */

/** The plot begins with a minute's width. */
const SHORTEST_MS = 60_000;
/** As many points as there is room for; each is the worst of its stretch. */
const POINTS = 120;
const WORST = 1;
const BEST = 4.5;

/** @param {Call} call */
export function plot(call) {
  const begin = call.answeredAt ?? Date.now();
  const span = Math.max(SHORTEST_MS, Date.now() - begin);
  for (const side of /** @type {const} */ (['near', 'far'])) {
    const scores = call.scores.filter((score) => score.side === side);
    page.plot.querySelector(`.${side}`)?.setAttribute('d', line(scores, begin, span));
  }
  const last = call.scores.filter((score) => score.side === 'near').at(-1) ?? call.scores.at(-1);
  page.score.textContent = last ? last.mos.toFixed(1) : '';
  const words = inWords(call.scores);
  page.plot.setAttribute('aria-label', `Quality over the call: ${words}`);
  const title = page.plot.querySelector('title');
  if (title) title.textContent = words;
}

/**
 * @param {Score[]} scores @param {number} begin @param {number} span
 * @returns {string} the path, in hundredths of the plot
 */
function line(scores, begin, span) {
  /** @type {Map<number, number>} */ const worst = new Map();
  for (const { at, mos } of scores) {
    const place = Math.round((Math.min(Math.max(at - begin, 0), span) / span) * POINTS);
    worst.set(place, Math.min(mos, worst.get(place) ?? BEST));
  }
  const points = [...worst].map(([place, mos]) => {
    const height = (Math.min(Math.max(mos, WORST), BEST) - WORST) / (BEST - WORST);
    return `${((100 * place) / POINTS).toFixed(1)} ${(94 - 88 * height).toFixed(1)}`;
  });
  const first = points[0];
  // A single point is a dot: a line of no length.
  return first === undefined ? '' : `M${first}L${(points.length > 1 ? points.slice(1) : points).join('L')}`;
}

/** @param {Score[]} scores */
function inWords(scores) {
  const parts = [];
  for (const [side, name] of /** @type {const} */ ([['near', 'your side'], ['far', 'the other side']])) {
    const of = scores.filter((score) => score.side === side);
    const last = of.at(-1);
    if (!last) continue;
    const worst = of.reduce((least, score) => (score.mos < least.mos ? score : least), last);
    parts.push(`${name} ${last.mos.toFixed(1)} of ${BEST}, at worst ${worst.mos.toFixed(1)}${worst.reason && ` (${worst.reason})`}`);
  }
  return parts.join('; ') || 'nothing yet';
}
