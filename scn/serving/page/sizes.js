"use strict";

// The size of photographs that a browser can't show, read from the few bytes that have it.

async function sizeOf(file) { // eslint-disable-line no-unused-vars -- page.js
  const start = await part(file, 0, 16);
  const order = String.fromCharCode(start.getUint8(0), start.getUint8(1));
  if (order === "II" || order === "MM") return sizeOfTiff(file, start, order === "II");
  return sizeOfHeic(await part(file, 0, 65536)); // its boxes come first
}

const part = async (file, from, length) => new DataView(await file.slice(from, from + length).arrayBuffer());

// Of the first image that is no preview; TIFF 6.0, section 2, and BigTIFF.
async function sizeOfTiff(file, start, little) {
  const big = start.getUint16(2, little) === 43;
  const number = (view, at) => (big ? Number(view.getBigUint64(at, little)) : view.getUint32(at, little));
  const [counted, entry, offset] = big ? [8, 20, 8] : [2, 12, 4];
  let largest = null;
  let at = number(start, big ? 8 : 4);
  for (let page = 0; at && page < 16; page++) {
    const head = await part(file, at, counted);
    const count = big ? number(head, 0) : head.getUint16(0, little);
    const entries = await part(file, at + counted, count * entry + offset);
    const found = {};
    for (let each = 0; each < count * entry; each += entry) {
      const short = entries.getUint16(each + 2, little) === 3;
      const value = each + 4 + offset;
      found[entries.getUint16(each, little)] = short ? entries.getUint16(value, little) : entries.getUint32(value, little);
    }
    const [width, height] = [found[256] || 0, found[257] || 0];
    if (!largest || width * height > largest.width * largest.height) largest = { width, height };
    at = number(entries, count * entry);
  }
  return largest;
}

// The largest of its "ispe" boxes (ISO/IEC 23008-12, 6.5.3): others are of tiles and of the preview.
function sizeOfHeic(view) {
  let largest = null;
  for (let at = 0; at + 16 <= view.byteLength; at++) {
    if (view.getUint32(at) !== 0x69737065) continue;
    const [width, height] = [view.getUint32(at + 8), view.getUint32(at + 12)];
    if (!largest || width * height > largest.width * largest.height) largest = { width, height };
  }
  return largest;
}
