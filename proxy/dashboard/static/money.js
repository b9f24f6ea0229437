/* Prices, reckoned exactly: a decimal text becomes a whole number of its last place, as on the server (proxy/money.py). */

import { say } from "./app.js";

const PLACES = 9;

/** Dollars per second, as a decimal text, of a video of `size` (1280x720 or 16:9); null where it is not known.
    `silent`: ordered without sound. The words are those of `Model.price_of`. */
export function perSecond(model, size, silent) {
  const pixels = pixelsOf(size);
  let words = pixels ? [pixels, resolution(pixels)] : [];
  if (silent) words = [...words.map((word) => `${word} silent`), ...words, "silent"];
  const word = words.find((one) => Object.hasOwn(model.prices, one));
  return word === undefined ? model.price : model.prices[word];
}

/** What `seconds` cost, for people; "price not known" for a null price. */
export function price(perSecond, seconds) {
  if (perSecond === null || perSecond === "") return say("price not known");
  if (!Number.isInteger(seconds) || seconds < 1) return "–";
  const [whole, part = ""] = perSecond.split(".");
  const amount = rounded(BigInt(whole + part) * BigInt(seconds), part.length);
  if (amount === 0n) return say("free");
  const digits = amount.toString().padStart(PLACES + 1, "0");
  const places = digits.slice(-PLACES).replace(/0+$/, "").padEnd(2, "0");
  return `$${digits.slice(0, -PLACES)}.${places}`;
}

/** `units` of the given number of places -> of nine; halves go to the even one. */
function rounded(units, places) {
  if (places <= PLACES) return units * 10n ** BigInt(PLACES - places);
  const step = 10n ** BigInt(places - PLACES);
  const twice = (units % step) * 2n;
  const whole = units / step;
  return twice > step || (twice === step && whole % 2n === 1n) ? whole + 1n : whole;
}

/** A size in pixels; a ratio has 720 on its short side. Null for what is neither. */
export function pixelsOf(size) {
  if (/^[1-9]\d{1,4}x[1-9]\d{1,4}$/.test(size)) return size;
  const ratio = /^([1-9]\d?):([1-9]\d?)$/.exec(size);
  if (!ratio) return null;
  const [across, down] = [Number(ratio[1]), Number(ratio[2])];
  const side = (length) => 2 * even((length * 360) / Math.min(across, down));
  return `${side(across)}x${side(down)}`;
}

function even(number) {
  const low = Math.floor(number);
  if (number - low !== 0.5) return Math.round(number);
  return low % 2 === 0 ? low : low + 1;
}

function resolution(pixels) {
  const short = Math.min(...pixels.split("x").map(Number));
  return short === 2160 ? "4k" : `${short}p`;
}
