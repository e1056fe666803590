// The page's keys: made before it is linked, as on the real site, and kept by it from then on.

import { decodeB64, encodeB64, random, sha256, utf8 } from './bytes.js';
import { LOCAL_SEAL, read, write } from './places.js';

export const PREKEYS = 30;
export const DEVICE_PLATFORM = '1';

const SIGNING = { name: 'ECDSA', namedCurve: 'P-256' };
const HASH = { name: 'ECDSA', hash: 'SHA-256' };
const RAW_POINT = 65;

export const publicOf = (secret) => sha256(utf8('public'), secret);

const pair = async () => {
  const privKey = random(32);
  return { privKey, pubKey: await publicOf(privKey) };
};

export const makeKeys = async () => {
  const noise = await crypto.subtle.generateKey(SIGNING, false, ['sign', 'verify']);
  const raw = new Uint8Array(await crypto.subtle.exportKey('raw', noise.publicKey));
  return {
    noise,
    noiseRaw: raw,
    noisePub: raw.slice(1, 33), // the point's x: 32 bytes, as a code has
    storage: await crypto.subtle.generateKey({ name: 'AES-GCM', length: 256 }, false, ['encrypt', 'decrypt']),
    identity: await pair(),
    registrationId: new DataView(random(2).buffer).getUint16(0) & 0x3fff,
    adv: encodeB64(random(32)),
  };
};

// Before a login they are in the databases alone; localStorage has the login's copies.
export const storeKeys = async (databases, keys) => {
  await write(databases.wawc, {
    keys: [
      { name: 'noise', pair: keys.noise, raw: keys.noiseRaw },
      { name: 'storage', key: keys.storage },
    ],
    'user-prefs': [{ name: 'adv', secret: keys.adv }],
  });
  const prekeys = await Promise.all(Array.from({ length: PREKEYS }, async (_, id) => ({ id: id + 1, ...(await pair()) })));
  await write(databases['signal-storage'], {
    'identity-store': [{ name: 'identity', ...keys.identity, registrationId: keys.registrationId }],
    'prekey-store': prekeys,
  });
};

// Throws, naming it, at what is missing.
export const loadKeys = async (databases) => {
  const need = async (name, store, key, part) => {
    const record = await read(databases[name], store, key);
    if (record?.[part] === undefined) throw new Error(`${name}: no ${key} in ${store}`);
    return record;
  };
  const noise = await need('wawc', 'keys', 'noise', 'pair');
  const storage = await need('wawc', 'keys', 'storage', 'key');
  const adv = await need('wawc', 'user-prefs', 'adv', 'secret');
  const identity = await need('signal-storage', 'identity-store', 'identity', 'privKey');
  return {
    noise: noise.pair,
    noiseRaw: noise.raw,
    noisePub: noise.raw.slice(1, 33),
    storage: storage.key,
    identity: { privKey: identity.privKey, pubKey: identity.pubKey },
    registrationId: identity.registrationId,
    adv: adv.secret,
  };
};

const sign = async (keys, data) => new Uint8Array(await crypto.subtle.sign(HASH, keys.noise.privateKey, data));

// What the server asks for at each login: its nonce, the device and the ratchet, signed with the stored key.
export const prove = async (keys, nonce, { device, index, value }) => {
  const text = [utf8('wwauth-login|'), decodeB64(nonce), utf8(`|${device}|${index}|`), value];
  const signature = await sign(keys, new Uint8Array(text.flatMap((part) => [...part])));
  return { index, value: encodeB64(value), signature: encodeB64(signature) };
};

export const noiseKeysFit = async (keys) => {
  if (keys.noiseRaw.length !== RAW_POINT) return false;
  const raw = new Uint8Array(await crypto.subtle.exportKey('raw', keys.noise.publicKey));
  if (encodeB64(raw) !== encodeB64(keys.noiseRaw)) return false;
  const data = random(32);
  return crypto.subtle.verify(HASH, keys.noise.publicKey, await sign(keys, data), data);
};

// What localStorage holds of a login is encrypted under the key in IndexedDB: neither is of use without the other. The login's
// name stands in front, to tell a value of an earlier login from a damaged one.
export const seal = async (keys, login, name, value) => {
  const iv = random(12);
  const how = { name: 'AES-GCM', iv, additionalData: utf8(`${login}|${name}`) };
  const sealed = new Uint8Array(await crypto.subtle.encrypt(how, keys.storage, utf8(JSON.stringify(value))));
  return `${login}.${encodeB64(iv)}.${encodeB64(sealed)}`;
};

export const unseal = async (keys, name, text) => {
  const [login, iv, sealed] = text.split('.');
  const how = { name: 'AES-GCM', iv: decodeB64(iv), additionalData: utf8(`${login}|${name}`) };
  return JSON.parse(new TextDecoder().decode(await crypto.subtle.decrypt(how, keys.storage, decodeB64(sealed))));
};

export const writeLocal = async (keys, login, values) => {
  const sealed = {};
  for (const [name, value] of Object.entries(values)) sealed[name] = await seal(keys, login, name, value);
  for (const [name, text] of Object.entries(sealed)) localStorage.setItem(name, text);
};

export const localLogin = () => localStorage.getItem(LOCAL_SEAL)?.split('.')[0] ?? null;
