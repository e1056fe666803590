// Message records: made here, sealed in a chain, and read again to see whether one is damaged.

import { decodeB64, encodeB64, hex, random, sha256, utf8 } from './bytes.js';
import { read, readKeys, readRange } from './places.js';

// So many are read at once; a few large files then fit into memory, too.
const BATCH = 20;

const SENDERS = ['15550000001', '15550000002', '15550000003'];

// A body as large as asked for, which no compression makes much smaller; over 64 kB Chromium keeps it in a file of its own, as it
// does with each Blob.
export const makeMessage = async (seq, { size, media, at }) => {
  const body = encodeB64(random(Math.ceil((size * 3) / 4))).slice(0, size);
  const file = media > 0 ? random(media) : null;
  const from = SENDERS[seq % SENDERS.length];
  const digest = await digestOf(body, file);
  const record = { seq, id: hex(random(10)).toUpperCase(), from, t: Math.floor(at), body, digest, mediaSize: media };
  if (file) record.media = new Blob([file], { type: 'application/octet-stream' });
  return record;
};

const digestOf = async (body, file) => encodeB64(await sha256(utf8(body), file ?? new Uint8Array()));

// One more link: the seal's chain is right only when every record before it is.
export const link = async (chain, digest) => encodeB64(await sha256(decodeB64(chain), decodeB64(digest)));

export const NO_CHAIN = encodeB64(new Uint8Array(32));

// Reads every record, and says which are missing or damaged. `seal` is that of the model-storage database.
export const auditMessages = async (database, seal) => {
  const result = { messages: 0, damaged: 0, problems: [] };
  const complain = (seq, what) => {
    result.damaged++;
    if (result.problems.length < 5) result.problems.push(`model-storage: message ${seq} of ${seal.count} ${what}`);
  };
  let chain = NO_CHAIN;
  for (let first = 1; first <= seal.count; first += BATCH) {
    const last = Math.min(first + BATCH - 1, seal.count);
    const records = await readSome(database, first, last);
    for (let seq = first; seq <= last; seq++) {
      const { record, error } = records.get(seq) ?? {};
      if (!record) {
        complain(seq, error ? `cannot be read (${error})` : 'is missing');
        continue;
      }
      result.messages++;
      const wrong = await damage(record);
      if (wrong) complain(seq, wrong);
      chain = await link(chain, record.digest);
    }
  }
  const beyond = await readKeys(database, 'message', IDBKeyRange.lowerBound(seal.count, true));
  for (const seq of beyond) complain(seq, 'is from another moment');
  result.messages += beyond.length;
  if (result.damaged === 0 && chain !== seal.chain) {
    result.damaged = seal.count;
    result.problems.push('model-storage: the messages are not those that the seal was made for');
  }
  return result;
};

// A record whose value lies in a file that is gone spoils a whole range: then they are read one by one.
const readSome = async (database, first, last) => {
  const found = new Map();
  try {
    for (const record of await readRange(database, 'message', IDBKeyRange.bound(first, last))) found.set(record.seq, { record });
  } catch {
    for (let seq = first; seq <= last; seq++) {
      try {
        found.set(seq, { record: await read(database, 'message', seq) });
      } catch (error) {
        found.set(seq, { error: error.name });
      }
    }
  }
  return found;
};

const damage = async (record) => {
  let file = null;
  if (record.mediaSize > 0) {
    if (!record.media) return 'has lost its file';
    try {
      file = new Uint8Array(await record.media.arrayBuffer());
    } catch (error) {
      return `has a file that cannot be read (${error.name})`;
    }
    if (file.length !== record.mediaSize) return `has a file of ${file.length} bytes, not ${record.mediaSize}`;
  }
  return (await digestOf(record.body, file)) === record.digest ? null : 'has another content than its digest says';
};
