// What the stored login is worth, told at each start: `fresh` (there is none), `whole` (every place is there, and all are of one
// moment) or `torn` (and what is missing or from another moment). What only the server knows comes later: `ok`, `rejected`,
// `logged-out`.

import { advance, decodeB64, encodeB64 } from './bytes.js';
import { findLegacy } from './legacy.js';
import { loadKeys, localLogin, noiseKeysFit, PREKEYS, publicOf, unseal } from './keys.js';
import { auditMessages } from './messages.js';
import { DATABASES, existing, LOCAL_LOGIN, LOCAL_SEAL, open, read, readRange } from './places.js';
import { SESSIONS } from './ratchet.js';

// A localStorage that is further off than this is not of this login's last day.
const MAX_STEPS = 100_000;

export const diagnose = async (config) => {
  const found = await gather();
  const { databases, seals, problems, ended, unreadable } = found;
  const result = { diagnosis: 'fresh', problems, messages: 0, damaged: 0, lag: null, databases, ended, state: null, keys: null };
  const sealed = Object.values(seals).some((seal) => seal);
  const local = localLogin();
  const leftOver = local !== null && ended.includes(local);
  if (!sealed && !unreadable && (local === null || leftOver)) {
    return { ...result, problems: [], ...findLegacy() };
  }
  if (!seals.wawc && !unreadable && databases.wawc && Object.values(seals).every((seal) => !seal || seal.index === 0)) {
    if (local === null || leftOver) {
      // The browser was killed while the login was being stored for the first time: the phone was never told that it is.
      return { ...result, problems: [], diagnosis: 'fresh', unfinished: true };
    }
  }
  await examine(result, found, leftOver ? null : local, config);
  result.diagnosis = result.problems.length > 0 ? 'torn' : 'whole';
  return result;
};

// Opens what is there, without creating what is not.
const gather = async () => {
  const found = { databases: {}, seals: {}, problems: [], ended: [], unreadable: false };
  let names;
  try {
    names = await existing();
  } catch (error) {
    found.problems.push(`IndexedDB cannot be listed (${error.name})`);
    found.unreadable = true;
    return found;
  }
  for (const name of Object.keys(DATABASES)) {
    if (!names.has(name)) {
      found.problems.push(`${name}: the database is missing`);
      continue;
    }
    try {
      found.databases[name] = await open(name);
      found.seals[name] = (await read(found.databases[name], 'seal', 'seal')) ?? null;
      if (!found.seals[name]) found.problems.push(`${name}: its seal is missing`);
    } catch (error) {
      found.problems.push(`${name}: cannot be read (${error.name}: ${error.message})`);
      found.unreadable = true;
    }
  }
  if (found.databases.wawc) {
    found.ended = (await read(found.databases.wawc, 'user-prefs', 'ended').catch(() => null))?.logins ?? [];
  }
  return found;
};

const examine = async (result, { databases, seals }, local, config) => {
  const { 'signal-storage': signal, 'model-storage': model, wawc } = seals;
  const check = async (work) => {
    try {
      await work();
    } catch (error) {
      result.problems.push(error.message);
    }
  };
  if (model) {
    await check(async () => {
      const { problems, messages, damaged } = await auditMessages(databases['model-storage'], model);
      result.problems.push(...problems);
      Object.assign(result, { messages, damaged });
    });
  }
  if (signal) await check(() => checkSignal(databases['signal-storage'], signal));
  if (!signal || !model || !wawc) return;
  await check(() => checkSeals(signal, model, wawc));
  await check(async () => {
    result.keys = await loadKeys(databases);
    if (!(await noiseKeysFit(result.keys))) throw new Error('wawc: the noise key pair does not fit together');
  });
  if (!result.keys) return;
  const me = await read(databases.wawc, 'user-prefs', 'me').catch(() => null);
  if (me?.login !== signal.login) result.problems.push('wawc: the account in user-prefs is missing or another');
  const { device, login, index, value, uptime, sessions } = signal;
  result.state = { device, login, index, value, uptime, sessions, count: model.count, chain: model.chain, me, local: -1 };
  await check(() => checkLocal(result, signal, local, config));
};

const checkSignal = async (database, seal) => {
  const identity = await read(database, 'identity-store', 'identity');
  if (!identity) throw new Error('signal-storage: the identity key is missing');
  await fits(identity, 'the identity key');
  const prekeys = await readRange(database, 'prekey-store', null);
  if (prekeys.length !== PREKEYS) throw new Error(`signal-storage: ${prekeys.length} prekeys of ${PREKEYS}`);
  for (const prekey of prekeys) await fits(prekey, `prekey ${prekey.id}`);
  const sessions = await readRange(database, 'session-store', null);
  for (let id = 0; id < SESSIONS; id++) {
    const session = sessions.find((each) => each.id === id);
    if (!session) throw new Error(`signal-storage: session ${id} is missing`);
    if (session.login !== seal.login || session.index !== seal.sessions[id]) {
      throw new Error(`signal-storage: session ${id} is from another moment`);
    }
  }
};

const fits = async ({ privKey, pubKey }, what) => {
  if (encodeB64(await publicOf(privKey)) !== encodeB64(pubKey)) throw new Error(`signal-storage: ${what} does not fit together`);
};

// Equal, or one step behind in the order in which a step is stored (see ratchet.js).
const checkSeals = async (signal, model, wawc) => {
  for (const [name, seal] of Object.entries({ 'model-storage': model, wawc })) {
    if (seal.login !== signal.login) throw new Error(`${name}: its seal is of another login than that of signal-storage`);
    const behind = signal.index - seal.index;
    if (behind < 0 || behind > 1) {
      throw new Error(`${name}: from another moment, ${Math.abs(behind)} steps ${behind < 0 ? 'ahead of' : 'behind'} signal-storage`);
    }
    if (encodeB64(await advance(seal.value, behind)) !== encodeB64(signal.value)) {
      throw new Error(`${name}: its ratchet is not the one of signal-storage`);
    }
  }
  if (wawc.index > model.index) throw new Error('wawc: from another moment, ahead of model-storage');
};

// localStorage may lag: behind by `storage_lag` seconds of the page's life, or unchanged since it was last seen whole when the page
// then lived for less than that; also not there at all, when that is how old the login is. It may be ahead by as much as a copy takes.
const checkLocal = async (result, signal, login, config) => {
  const { state, keys } = result;
  let local = { index: -1, uptime: 0 };
  const young = signal.uptime <= config.storage_lag;
  if (login !== null && login !== signal.login && !young) {
    throw new Error(`localStorage: its seal is of another login than that of IndexedDB`);
  }
  if (login === signal.login) {
    const open = async (name) => {
      const text = localStorage.getItem(name);
      if (text === null) throw new Error(`localStorage: ${name} is missing`);
      try {
        return await unseal(keys, name, text);
      } catch {
        throw new Error(`localStorage: ${name} does not open with the key in wawc`);
      }
    };
    for (const name of LOCAL_LOGIN) await open(name);
    local = await open(LOCAL_SEAL);
    await sameRatchet(local, signal);
  }
  state.local = local.index;
  result.lag = Math.max(0, signal.uptime - local.uptime);
  const sinceRun = signal.uptime - signal.run.uptime;
  const unchanged = local.index >= signal.run.local && sinceRun <= config.storage_lag;
  if (result.lag > config.storage_lag && !unchanged) {
    const what = local.index < 0 ? 'the login is missing' : 'from another moment';
    throw new Error(`localStorage: ${what}, ${result.lag.toFixed(1)} s behind IndexedDB (${config.storage_lag} s are allowed)`);
  }
  const lead = local.uptime - signal.uptime;
  if (lead > config.storage_lead) {
    throw new Error(`IndexedDB: from another moment, ${lead.toFixed(1)} s behind localStorage (${config.storage_lead} s are allowed)`);
  }
};

const sameRatchet = async (local, signal) => {
  const [from, to] = local.index <= signal.index ? [local, signal] : [signal, local];
  const steps = to.index - from.index;
  const bytes = (value) => (typeof value === 'string' ? decodeB64(value) : value);
  if (steps > MAX_STEPS || encodeB64(await advance(bytes(from.value), steps)) !== encodeB64(bytes(to.value))) {
    throw new Error('localStorage: its ratchet is not the one of IndexedDB');
  }
};
