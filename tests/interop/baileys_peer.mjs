/*
 * Runs the unmodified Baileys for a test: folders of its useMultiFileAuthState, two devices that speak with each other over them.
 *
 *   node baileys_peer.mjs
 *
 * Standard input carries commands, one JSON object a line: {"id", "call", "args"}; its end ends the process. Standard output
 * carries {"reply": id, "value" | "error"}. Nothing is kept in memory from one command to the next: each opens the folders that it
 * is told, as a bot that starts, and what it leaves is on the disk.
 *
 * No network: what a server would relay is handed over, and the phone that links a device is made up. All cryptography is
 * Baileys' own. A signature is verified with libsignal's own verifySignature, whose answer is `true` or `false`: Baileys'
 * Curve.verify does not look at it.
 */

import { createPrivateKey, createPublicKey, randomBytes, randomInt } from 'crypto';
import { readFileSync } from 'fs';
import { readdir } from 'fs/promises';
import { join } from 'path';
import * as readline from 'readline';

// libsignal tells sessions, keys and all, to the console.
for (const word of ['log', 'info', 'warn', 'error', 'debug']) console[word] = () => {};

const {
  addTransactionCapability,
  BufferJSON,
  configureSuccessfulPairing,
  Curve,
  generateSignalPubKey,
  getNextPreKeys,
  hmacSign,
  newLTHashState,
  proto,
  useMultiFileAuthState,
} = await import('@whiskeysockets/baileys');
const { makeLibSignalRepository } = await import('@whiskeysockets/baileys/lib/Signal/libsignal.js');
const { SenderKeyRecord } = await import('@whiskeysockets/baileys/lib/Signal/Group/index.js');
const { default: curve } = await import('libsignal/src/curve.js');
const { default: libsignal } = await import('libsignal');

const silent = { level: 'silent', child: () => silent };
for (const word of ['trace', 'debug', 'info', 'warn', 'error']) silent[word] = () => {};

const A_GROUP = '120363000000000001@g.us';
const OLD_GROUP = '15550001111-1612345678@g.us';

/** Open a folder as a bot does; a device's pre-keys and sessions are written through Baileys' transactions. */
async function open(folder) {
  const { state, saveCreds } = await useMultiFileAuthState(folder);
  const keys = addTransactionCapability(state.keys, silent, { maxCommitRetries: 1, delayBetweenTriesMs: 1 });
  const auth = { creds: state.creds, keys };
  const repository = makeLibSignalRepository(auth, silent);
  return {
    ...auth,
    repository,
    saveCreds,
    close: () => repository.close(),
    async update(changes) {
      Object.assign(state.creds, changes);
      await saveCreds();
    },
  };
}

/** Let `work` have the folders open, and close what Baileys keeps timers for. */
async function using(folders, work) {
  const devices = await Promise.all(folders.map(open));
  try {
    return await work(...devices);
  } finally {
    for (const device of devices) device.close();
  }
}

const jid = (device) => device.creds.me.lid;

/** Link a device with a phone that is made up; the stanza goes through the code that takes a real one. */
async function pair(device, { user, lid, number, name }) {
  const phone = Curve.generateKeyPair();
  const details = proto.ADVDeviceIdentity.encode({
    rawId: randomInt(1, 2 ** 31),
    timestamp: Math.floor(Date.now() / 1000),
    keyIndex: number,
  }).finish();
  const { advSecretKey, signedIdentityKey } = device.creds;
  const signed = proto.ADVSignedDeviceIdentity.encode({
    details,
    accountSignatureKey: phone.public,
    accountSignature: Curve.sign(phone.private, Buffer.concat([Buffer.from([6, 0]), details, signedIdentityKey.public])),
  }).finish();
  const content = proto.ADVSignedDeviceIdentityHMAC.encode({
    details: signed,
    hmac: hmacSign(signed, Buffer.from(advSecretKey, 'base64')),
  }).finish();
  const jids = { jid: `${user}:${number}@s.whatsapp.net`, lid: `${lid}:${number}@lid` };
  const parts = [
    { tag: 'device-identity', attrs: {}, content },
    { tag: 'platform', attrs: { name: 'android' } },
    { tag: 'device', attrs: jids },
    { tag: 'biz', attrs: { name } },
  ];
  const stanza = { tag: 'iq', attrs: { id: '1' }, content: [{ tag: 'pair-success', attrs: {}, content: parts }] };
  await device.update(configureSuccessfulPairing(stanza, device.creds).creds);
}

/** Make the next pre-keys, as an upload to the server does. */
async function mint(device, count) {
  await device.update((await getNextPreKeys(device, count)).update);
}

/** Let `from` begin a session with `to`, with the bundle that a server would hand out; the pre-key is `id`, or the first. */
async function introduce(from, to, { id, as } = {}) {
  const { creds } = to;
  const ids = Array.from({ length: creds.nextPreKeyId - 1 }, (_, n) => String(n + 1));
  const keys = await to.keys.get('pre-key', ids);
  const keyId = id ?? Object.keys(keys).find((one) => keys[one]);
  if (!keys[keyId]) throw new Error(`there is no pre-key ${keyId}`);
  await from.repository.injectE2ESession({
    jid: as ?? jid(to),
    session: {
      registrationId: creds.registrationId,
      identityKey: generateSignalPubKey(creds.signedIdentityKey.public),
      signedPreKey: {
        keyId: creds.signedPreKey.keyId,
        publicKey: generateSignalPubKey(creds.signedPreKey.keyPair.public),
        signature: creds.signedPreKey.signature,
      },
      preKey: { keyId: Number(keyId), publicKey: generateSignalPubKey(keys[keyId].public) },
    },
  });
  return keyId;
}

/** Encrypt with `from`, decrypt with `to`. */
async function send(from, to, text) {
  const sent = await from.repository.encryptMessage({ jid: jid(to), data: Buffer.from(text) });
  const got = await to.repository.decryptMessage({ jid: jid(from), ...sent });
  return { type: sent.type, text: got.toString() };
}

async function sendToGroup(from, to, group, text) {
  const sent = await from.repository.encryptGroupMessage({ group, meId: jid(from), data: Buffer.from(text) });
  await to.repository.processSenderKeyDistributionMessage({
    item: { groupId: group, axolotlSenderKeyDistributionMessage: sent.senderKeyDistributionMessage },
    authorJid: jid(from),
  });
  const got = await to.repository.decryptGroupMessage({ group, authorJid: jid(from), msg: sent.ciphertext });
  return got.toString();
}

/** Fill `alice` with a record of each type that Baileys has, and more than one of most. */
async function fill(alice, bob) {
  await introduce(bob, alice);
  await send(bob, alice, 'one');
  await send(alice, bob, 'two');
  // One that comes late: its key waits in the chain.
  const late = await bob.repository.encryptMessage({ jid: jid(alice), data: Buffer.from('late') });
  await send(bob, alice, 'three');
  await alice.repository.decryptMessage({ jid: jid(bob), ...late });
  const lost = await bob.repository.encryptMessage({ jid: jid(alice), data: Buffer.from('lost') });
  await send(bob, alice, 'four');
  // Sessions under a number, under a hosted device, and one that is replaced, so that the record has a closed entry.
  await introduce(alice, bob, { as: '15550003333:12@s.whatsapp.net' });
  await introduce(alice, bob, { as: '15550003333:12@s.whatsapp.net' });
  await introduce(alice, bob, { as: '15550004444:99@hosted' });
  for (const group of [A_GROUP, OLD_GROUP, 'status@broadcast']) {
    await sendToGroup(alice, bob, group, 'to all');
    await sendToGroup(bob, alice, group, 'from one');
  }
  await alice.repository.lidMapping.storeLIDPNMappings([
    { lid: `${jid(bob).split(':')[0]}@lid`, pn: bob.creds.me.id.replace(/:\d+/, '') },
    { lid: '99000000000077@lid', pn: '15550007777@s.whatsapp.net' },
  ]);
  const ids = [Buffer.from([0xfb, 0xef, 0xbe, 0xff, 0xff, randomInt(256)]), Buffer.concat([Buffer.from([0, 0, 0]), randomBytes(2)])];
  const appStateKeys = {};
  for (const id of ids) {
    const fingerprint = { rawId: randomInt(2 ** 31), currentIndex: 1, deviceIndexes: [0, 7] };
    const encoded = proto.Message.AppStateSyncKeyData.encode({ keyData: randomBytes(32), fingerprint, timestamp: Date.now() });
    appStateKeys[id.toString('base64')] = proto.Message.AppStateSyncKeyData.decode(encoded.finish());
  }
  const mac = randomBytes(32).toString('base64');
  const moved = { version: 5, hash: randomBytes(128), indexValueMap: { [mac]: { valueMac: new Uint8Array(randomBytes(32)) } } };
  const token = { token: randomBytes(40), timestamp: '1735689600' };
  await alice.keys.set({
    'app-state-sync-key': appStateKeys,
    'app-state-sync-version': { regular_low: newLTHashState(), critical_block: moved },
    'sender-key-memory': { [A_GROUP]: { [jid(bob)]: true, '15550003333:12@s.whatsapp.net': true }, 'status@broadcast': {} },
    'device-list': { 15550003333: ['0', '12'], [bob.creds.me.id.split(':')[0]]: ['3'] },
    tctoken: { '15550003333@s.whatsapp.net': token, __index: { token: Buffer.from('["15550003333@s.whatsapp.net"]') } },
  });
  const key = { remoteJid: '15550001111@s.whatsapp.net', fromMe: true, id: 'AC0123', addressingMode: 'pn' };
  const later = { key, messageTimestamp: { low: 1735689655, high: 0, unsigned: true } };
  const nested = { buf: randomBytes(5), u8: new Uint8Array([0, 255]), n: 1e21, list: [1, null, { 10: 'a', 9: randomBytes(1) }] };
  await alice.update({
    processedHistoryMessages: [{ key, messageTimestamp: 1735689650 }, later],
    lastPropHash: '2PBFxE',
    routingInfo: randomBytes(4),
    additionalData: { note: 'ünïcode 😀 \u2028 \u0007 "\\', nested },
    myAppStateKeyId: Object.keys(appStateKeys)[0],
    lastAccountSyncTimestamp: 1735689700,
    accountSettings: {
      unarchiveChats: true,
      defaultDisappearingMode: { ephemeralExpiration: 604800, ephemeralSettingTimestamp: 1735689650 },
    },
  });
  return lost.ciphertext.toString('base64');
}

const signed = (publicKey, message, signature) =>
  curve.verifySignature(generateSignalPubKey(Buffer.from(publicKey)), message, Buffer.from(signature)) === true;

const publicOf = (privateKey) => {
  const key = createPrivateKey({
    key: Buffer.concat([Buffer.from('302e020100300506032b656e04220420', 'hex'), privateKey]),
    format: 'der',
    type: 'pkcs8',
  });
  return createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-32);
};

const isPair = ({ private: own, public: known }) => own.length === 32 && publicOf(own).equals(known);

// The longest names first: one is the beginning of another.
const TYPES = [
  'sender-key-memory',
  'sender-key',
  'pre-key',
  'session',
  'app-state-sync-key',
  'app-state-sync-version',
  'lid-mapping',
  'device-list',
  'tctoken',
  'identity-key',
];

/** What shows that Baileys and libsignal take a record of a type. */
const READ = {
  'pre-key': isPair,
  session: (value) => Object.keys(libsignal.SessionRecord.deserialize(value).sessions).length > 0,
  'sender-key': (value) => SenderKeyRecord.deserialize(value).getSenderKeyState() !== undefined,
  'app-state-sync-key': (value) => proto.Message.AppStateSyncKeyData.fromObject(value).keyData.length === 32,
  'app-state-sync-version': (value) => Buffer.isBuffer(value.hash) && value.hash.length === 128,
  'lid-mapping': (value) => typeof value === 'string',
  'device-list': Array.isArray,
  tctoken: (value) => Buffer.isBuffer(value.token),
  'identity-key': (value) => value.length === 33 && value[0] === 5,
};

/** Say what a value is, so that no two values look alike: [kind, …]. Strings are their UTF-16 units, numbers their eight bytes. */
function describe(value) {
  if (value === undefined) return ['undefined'];
  if (value === null) return ['null'];
  if (typeof value === 'boolean') return ['boolean', value];
  if (typeof value === 'number') {
    const bytes = Buffer.alloc(8);
    // A text has no -0, so that nobody who reads texts needs one.
    bytes.writeDoubleBE(value === 0 ? 0 : value);
    return ['number', bytes.toString('hex')];
  }
  if (typeof value === 'string') return ['string', units(value)];
  if (Buffer.isBuffer(value)) return ['bytes', value.toString('hex')];
  if (Array.isArray(value)) return ['array', value.map(describe)];
  return ['object', Object.keys(value).map((key) => [units(key), describe(value[key])])];
}

const units = (text) => Array.from({ length: text.length }, (_, n) => text.charCodeAt(n));

/** Make the value that `describe` would tell so. */
function build([kind, content]) {
  if (kind === 'undefined') return undefined;
  if (kind === 'null') return null;
  if (kind === 'boolean') return content;
  if (kind === 'number') return Buffer.from(content, 'hex').readDoubleBE();
  if (kind === 'string') return String.fromCharCode(...content);
  if (kind === 'bytes') return Buffer.from(content, 'hex');
  if (kind === 'array') return content.map(build);
  const object = {};
  for (const [key, value] of content) {
    const name = String.fromCharCode(...key);
    Object.defineProperty(object, name, { value: build(value), enumerable: true, configurable: true, writable: true });
  }
  return object;
}

const attempt = (work) => {
  try {
    return work();
  } catch (error) {
    return { error: String(error?.message ?? error) };
  }
};

const DEVICES = [
  { user: '15550001111', lid: '99000000000001', number: 7, name: 'Alice "Q" \\ é' },
  { user: '15550002222', lid: '99000000000002', number: 3, name: 'Bob' },
];

const calls = {
  /** A bot's first start: the credentials that it makes by itself. */
  fresh: (folder) => using([folder], (device) => device.saveCreds()),

  /** Two linked devices; the first one has a record of each type. */
  make: (first, second) =>
    using([first, second], async (alice, bob) => {
      for (const [n, device] of [alice, bob].entries()) {
        await pair(device, DEVICES[n]);
        await mint(device, 30);
      }
      return fill(alice, bob);
    }),

  /** Link a device whose credentials are there, whoever made them. */
  pair: (folder, which) => using([folder], (device) => pair(device, DEVICES[which])),
  mint: (folder, count) => using([folder], (device) => mint(device, count)),
  introduce: (from, to, options) => using([from, to], (a, b) => introduce(a, b, options)),
  send: (from, to, texts) =>
    using([from, to], async (a, b) => {
      const got = [];
      for (const text of texts) got.push(await send(a, b, text));
      return got;
    }),
  sendToGroup: (from, to, text) => using([from, to], (a, b) => sendToGroup(a, b, A_GROUP, text)),

  /** Decrypt what was held back. */
  late: (folder, from, ciphertext) =>
    using([folder, from], async (device, other) => {
      const body = Buffer.from(ciphertext, 'base64');
      return (await device.repository.decryptMessage({ jid: jid(other), type: 'msg', ciphertext: body })).toString();
    }),

  /** Change the credentials, and records by type and id, both as BufferJSON text. */
  change: (folder, creds, records) =>
    using([folder], async (device) => {
      if (records) await device.keys.set(JSON.parse(records, BufferJSON.reviver));
      await device.update(JSON.parse(creds, BufferJSON.reviver));
    }),

  /** Every file read through Baileys and written back. */
  rewrite: async (folder, records) => {
    const { state, saveCreds } = await useMultiFileAuthState(folder);
    for (const [type, ids] of Object.entries(records)) await state.keys.set({ [type]: await state.keys.get(type, ids) });
    await saveCreds();
  },

  /** What Baileys reads: BufferJSON text of the credentials, or of records. */
  creds: (folder) => using([folder], (device) => JSON.stringify(device.creds, BufferJSON.replacer)),
  get: (folder, type, ids) => using([folder], async (device) => JSON.stringify(await device.keys.get(type, ids), BufferJSON.replacer)),

  /** Look at all that a folder holds; everything must be true, and `unread` empty. */
  verify: async (folder) => {
    const { state } = await useMultiFileAuthState(folder);
    const { creds } = state;
    const { signedIdentityKey, signedPreKey, account } = creds;
    const found = {
      pairs: [creds.noiseKey, creds.pairingEphemeralKeyPair, signedIdentityKey, signedPreKey.keyPair].every(isPair),
      signedPreKey: signed(signedIdentityKey.public, generateSignalPubKey(signedPreKey.keyPair.public), signedPreKey.signature),
      registrationId: Number.isInteger(creds.registrationId) && creds.registrationId >= 0 && creds.registrationId < 16384,
      advSecretKey: Buffer.from(creds.advSecretKey, 'base64').length === 32,
      unread: [],
      types: {},
    };
    if (account) {
      const { details, accountSignatureKey: key, accountSignature, deviceSignature } = Object.fromEntries(
        Object.entries(account).map(([name, value]) => [name, Buffer.from(value, 'base64')]),
      );
      const own = signedIdentityKey.public;
      found.account = signed(key, Buffer.concat([Buffer.from([6, 0]), details, own]), accountSignature);
      found.device = signed(own, Buffer.concat([Buffer.from([6, 1]), details, own, key]), deviceSignature);
    }
    for (const name of await readdir(folder)) {
      const type = TYPES.find((one) => name.startsWith(`${one}-`));
      if (!type || !name.endsWith('.json')) continue;
      const value = attempt(() => JSON.parse(readFileSync(join(folder, name), 'utf-8'), BufferJSON.reviver));
      const whole = attempt(() => (READ[type] ?? Boolean)(value)) === true;
      if (whole) found.types[type] = (found.types[type] ?? 0) + 1;
      else found.unread.push(name);
    }
    return found;
  },

  /** For each text: what the reviver makes of it, and the text of that again. */
  loads: (texts) =>
    texts.map((text) =>
      attempt(() => {
        const value = JSON.parse(text, BufferJSON.reviver);
        return { value: describe(value), text: attempt(() => JSON.stringify(value, BufferJSON.replacer)) };
      }),
    ),

  /** The text of each value, which is told as `describe` does. */
  dumps: (values) => values.map((value) => attempt(() => JSON.stringify(build(value), BufferJSON.replacer))),
};

const say = (line) => process.stdout.write(JSON.stringify(line) + '\n');

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { id, call, args } = JSON.parse(line);
  try {
    say({ reply: id, value: (await calls[call](...args)) ?? null });
  } catch (error) {
    say({ reply: id, error: String(error?.stack ?? error) });
  }
}
process.exit(0);
