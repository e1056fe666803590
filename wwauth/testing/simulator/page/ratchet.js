// The login in motion: signal keys that move on with each second and each batch of messages, and the seals that say so in every
// place.
//
// A step is three transactions, one for each database, always in the order signal-storage, model-storage, wawc, and one after the
// other; then localStorage. All databases of an origin are one LevelDB with one order of commits, so whatever prefix of it is on
// the disk, the seals are equal, or the later ones are exactly one step behind: everything else is a torn copy. localStorage is
// a store of its own, which Chromium writes when it sees fit.

import { advance, decodeB64, encodeB64 } from './bytes.js';
import { storeKeys, writeLocal } from './keys.js';
import { exclusively, LOCAL_SEAL, openAll, read, wipe, write } from './places.js';
import { auditMessages, link, makeMessage, NO_CHAIN } from './messages.js';

export const SESSIONS = 8;

export class Ratchet {
  #databases;
  #keys;
  #state;
  #queue = Promise.resolve();
  #timer = null;
  #onStep;

  constructor(databases, keys, onStep) {
    this.#databases = databases;
    this.#keys = keys;
    this.#onStep = onStep;
  }

  get state() {
    return this.#state;
  }

  // What the page asks the server for a login with; the proof comes later.
  get claim() {
    return { device: this.#state.device };
  }

  get keys() {
    return this.#keys;
  }

  // Stores a new login in all places; what was there before must be gone. The seal in wawc is the last one: without it the login
  // was never finished.
  static async begin(keys, { login, device, number, pushname, seed }, onStep) {
    const databases = await openAll();
    await storeKeys(databases, keys);
    const ratchet = new Ratchet(databases, keys, onStep);
    ratchet.#state = {
      login,
      device,
      index: 0,
      value: decodeB64(seed),
      uptime: 0,
      sessions: new Array(SESSIONS).fill(0),
      run: { uptime: 0, local: -1 },
      count: 0,
      chain: NO_CHAIN,
      me: { number, pushname },
    };
    await write(databases.wawc, { 'user-prefs': [{ name: 'me', login, number, pushname, device }] });
    await write(databases['signal-storage'], {
      'session-store': ratchet.#state.sessions.map((index, id) => ({ id, index, login })),
    });
    await ratchet.#seal([]);
    await ratchet.#writeLocalLogin();
    return ratchet;
  }

  // Goes on with a login that the audit found whole: what is one step behind catches up, and so does localStorage. The caller
  // has kept other documents away since the audit.
  static async resume(databases, keys, state, onStep) {
    const ratchet = new Ratchet(databases, keys, onStep);
    ratchet.#state = { ...state, run: { uptime: state.uptime, local: state.local } };
    await ratchet.#seal([]);
    await ratchet.#writeLocalLogin();
    return ratchet;
  }

  start(interval) {
    this.stop();
    let waiting = 0;
    let stepping = false;
    const tick = async () => {
      waiting += interval;
      // On a slow machine a step takes longer: those that queued up would keep everything else waiting.
      if (stepping) return;
      stepping = true;
      const seconds = waiting;
      waiting = 0;
      await this.step({ seconds }).catch(() => {}); // told by `between`
      stepping = false;
    };
    this.#timer = setInterval(tick, interval * 1000);
  }

  stop() {
    clearInterval(this.#timer);
    this.#timer = null;
  }

  // Resolves when no step is under way.
  idle() {
    return this.#queue;
  }

  // Runs `work` between two steps, of this document and of any other.
  between(work) {
    const done = this.#queue.then(() =>
      exclusively(async () => {
        await this.#catchUp();
        return work();
      }),
    );
    this.#queue = done.catch((error) => this.#onStep(error));
    return done;
  }

  // One step; with messages ({ n, size, mediaEvery, mediaSize, at }), which it stores and returns.
  step({ seconds = 0, messages = null }) {
    return this.between(async () => {
      const records = messages ? await this.#makeMessages(messages) : [];
      const state = this.#state;
      state.value = await advance(state.value, 1);
      state.index++;
      state.uptime += seconds;
      state.sessions[state.index % SESSIONS] = state.index;
      for (const { digest } of records) state.chain = await link(state.chain, digest);
      state.count += records.length;
      await this.#seal(records);
      await writeLocal(this.#keys, state.login, { [LOCAL_SEAL]: this.#local() });
      this.#onStep();
      return records;
    });
  }

  // Another document of the same profile may have moved on since: what is stored counts.
  async #catchUp() {
    const signal = await read(this.#databases['signal-storage'], 'seal', 'seal');
    if (signal?.login !== this.#state.login) throw new Error('the stored login is another one');
    if (signal.index === this.#state.index) return;
    const model = await read(this.#databases['model-storage'], 'seal', 'seal');
    const { index, value, uptime, sessions, run } = signal;
    Object.assign(this.#state, { index, value, uptime, sessions, run, count: model.count, chain: model.chain });
  }

  async wipe(ended) {
    this.stop();
    await this.#queue;
    await exclusively(() => wipe(this.#databases, [...ended, this.#state.login]));
  }

  // Reads each message record anew; call it between two steps.
  async audit() {
    const database = this.#databases['model-storage'];
    return auditMessages(database, await read(database, 'seal', 'seal'));
  }

  async #makeMessages({ n, size, mediaEvery, mediaSize, at }) {
    const first = this.#state.count + 1;
    return Promise.all(
      Array.from({ length: n }, (_, number) => {
        const seq = first + number;
        return makeMessage(seq, { size, at, media: seq % mediaEvery === 0 ? mediaSize : 0 });
      }),
    );
  }

  async #seal(records) {
    const { login, device, index, value, uptime, sessions, run, count, chain } = this.#state;
    const base = { name: 'seal', login, index, value };
    const session = { id: index % SESSIONS, index: sessions[index % SESSIONS], login };
    await write(this.#databases['signal-storage'], {
      seal: [{ ...base, device, uptime, sessions: [...sessions], run, at: Date.now() }],
      'session-store': [session],
    });
    await write(this.#databases['model-storage'], { message: records, seal: [{ ...base, count, chain }] });
    await write(this.#databases.wawc, { seal: [base] });
  }

  #local() {
    const { index, value, uptime } = this.#state;
    return { index, value: encodeB64(value), uptime };
  }

  #writeLocalLogin() {
    const { me, device, login } = this.#state;
    return writeLocal(this.#keys, login, {
      WANoiseInfo: { pubKey: encodeB64(this.#keys.noisePub) },
      WAAdvSecretKey: this.#keys.adv,
      'last-wid-md': { number: me.number, device },
      [LOCAL_SEAL]: this.#local(),
    });
  }
}
