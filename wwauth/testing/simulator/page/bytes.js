// Bytes, their texts and their hashes; and time.

const CHUNK = 0x8000;

export const encodeB64 = (data) => {
  const bytes = data instanceof Uint8Array ? data : new Uint8Array(data);
  let text = '';
  for (let at = 0; at < bytes.length; at += CHUNK) text += String.fromCharCode(...bytes.subarray(at, at + CHUNK));
  return btoa(text);
};

export const decodeB64 = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

export const utf8 = (text) => new TextEncoder().encode(text);

export const sha256 = async (...parts) => {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return new Uint8Array(await crypto.subtle.digest('SHA-256', whole));
};

export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

// crypto.getRandomValues gives 64 kB at most.
export const random = (size) => {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 0x10000) crypto.getRandomValues(bytes.subarray(at, at + 0x10000));
  return bytes;
};

// The ratchet's value some steps further on.
export const advance = async (value, steps) => {
  for (let step = 0; step < steps; step++) value = await sha256(value);
  return value;
};

export const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));
