/*
 * One measured operation on the unmodified Baileys' folder; _authstate.py is the same for wwauth.
 *
 *   node _baileys.mjs '{"operation": "b1", "place": "…", "payload": "…", "count": 10000}'
 *
 * Prints {"seconds", "cpu", "count"}. What is not the store's (keys made, payload read, folder opened) is not in the time.
 */

import { readFileSync } from 'fs';
import { createRequire } from 'module';
import { join } from 'path';
import { performance } from 'perf_hooks';
import { pathToFileURL } from 'url';

// The peers are installed beside the tests that use them.
const peers = createRequire(join(import.meta.dirname, '..', 'tests', 'interop', 'package.json'));
const { addTransactionCapability, BufferJSON, makeCacheableSignalKeyStore, useMultiFileAuthState } = await import(
  pathToFileURL(peers.resolve('@whiskeysockets/baileys'))
);

const { operation, place, payload, count } = JSON.parse(process.argv[2]);
const { preKeys, sessions } = JSON.parse(readFileSync(payload, 'utf-8'), BufferJSON.reviver);

const silent = { level: 'silent', child: () => silent };
for (const word of ['trace', 'debug', 'info', 'warn', 'error']) silent[word] = () => {};

const began = performance.now();
const { state, saveCreds } = await useMultiFileAuthState(place);
const opening = (performance.now() - began) / 1000;
const raw = state.keys;
// As a bot has it: makeWASocket puts transactions over what it is given.
const transactions = (keys) => addTransactionCapability(keys, silent, { maxCommitRetries: 10, delayBetweenTriesMs: 3000 });
const cached = () => makeCacheableSignalKeyStore(raw, silent);

const ids = (n) => Array.from({ length: n }, (_, i) => `${15550000000 + i}.${i % 4}`);
const session = (n) => sessions[n % sessions.length];
const chunks = (list, size) => Array.from({ length: Math.ceil(list.length / size) }, (_, n) => list.slice(n * size, (n + 1) * size));
const all = (values) => {
  if (!values.every(Boolean)) throw new Error('a record is missing');
};

async function update(keys, id, n) {
  await keys.transaction(async () => {
    all(Object.values(await keys.get('session', [id])));
    await keys.set({ session: { [id]: session(n) } });
  }, id);
}

async function readSingly(keys, missing) {
  const known = missing ? ids(500).map((id) => `${id}0`) : ids(500);
  for (let n = 0; n < count; n++) {
    const id = known[n % 500];
    if (!(await keys.get('session', [id]))[id] !== missing) throw new Error(`another answer for ${id}`);
  }
  return count;
}

async function readAll(keys) {
  for (let n = 0; n < count / 500; n++) all(Object.values(await keys.get('session', ids(500))));
  return count;
}

const operations = {
  /** 500 sessions, for what reads and replaces them; 10,000 for d. */
  async prepare() {
    await saveCreds();
    for (const chunk of chunks(ids(count), 500)) {
      await raw.set({ session: Object.fromEntries(chunk.map((id, n) => [id, session(n)])) });
    }
    return count;
  },
  /** The first upload of pre-keys, then top-ups of five, each with the credentials: a0 is the first upload alone. */
  async a() {
    const keys = transactions(raw);
    let next = 1;
    while (next <= count) {
      const size = next === 1 ? Math.min(812, count) : Math.min(5, count - next + 1);
      const batch = Object.fromEntries(Array.from({ length: size }, (_, n) => [next + n, preKeys[next + n - 1]]));
      await keys.transaction(async () => keys.set({ 'pre-key': batch }), 'me');
      next += size;
      state.creds.nextPreKeyId = state.creds.firstUnuploadedPreKeyId = next;
      await saveCreds();
    }
    return count;
  },
  async b1() {
    const known = ids(500);
    for (let n = 0; n < count; n++) await raw.set({ session: { [known[n % 500]]: session(n) } });
    return count;
  },
  async b2() {
    const [keys, known] = [transactions(cached()), ids(500)];
    for (let n = 0; n < count; n++) await update(keys, known[n % 500], n);
    return count;
  },
  async b3() {
    const [keys, known] = [transactions(raw), ids(500)];
    let next = 0;
    const one = async () => {
      while (next < count) {
        const n = next++;
        await update(keys, known[n % 500], n);
      }
    };
    await Promise.all(Array.from({ length: 64 }, one));
    return count;
  },
  async b4() {
    for (let n = 0; n < count; n++) {
      state.creds.accountSyncCounter = n;
      await saveCreds();
    }
    return count;
  },
  c1: () => readSingly(raw, false),
  c2: () => readSingly(cached(), false),
  c3: () => readAll(raw),
  c4: () => readAll(cached()),
  c5: () => readSingly(raw, true),
  c6: () => readSingly(cached(), true),
  async d() {
    for (const chunk of chunks(ids(count), 500)) all(Object.values(await raw.get('session', chunk)));
    return count;
  },
};

const cpu = process.cpuUsage();
const from = performance.now();
const done = await operations[operation]();
const seconds = (performance.now() - from) / 1000;
const { user, system } = process.cpuUsage(cpu);
console.log(JSON.stringify({ seconds, cpu: (user + system) / 1e6, count: done, opening }));
process.exit(0);
