// The life of the page: Socket.state, codes, logins, the first sync, and the ends of it.

import { diagnose } from './audit.js';
import { encodeB64, sleep } from './bytes.js';
import { Connection } from './connection.js';
import { DEVICE_PLATFORM, loadKeys, makeKeys, prove, storeKeys } from './keys.js';
import { LegacyLogin } from './legacy.js';
import { messageModel, wid } from './models.js';
import { exclusively, openAll, wipe } from './places.js';
import { Ratchet } from './ratchet.js';
import { sync } from './sync.js';

const UNPAIRED = ['UNPAIRED', 'UNPAIRED_IDLE'];

const id = () => encodeB64(crypto.getRandomValues(new Uint8Array(12))).replace(/[+/=]/g, '-');

export class Session {
  keys = null;
  deviceInfo = () => ({});
  #config;
  #connection;
  #page = id();
  #ratchet = null;
  #found = null;
  #stage = 'opening';
  #diagnosis = null;
  #problems = [];
  #messages = 0;
  #stored = 0; // messages that are on the disk: the ratchet counts them before
  #damaged = 0;
  #lag = null;
  #error = null;
  #pairingType = 'QR';
  #asked = []; // what the server has not answered yet: { type, resolve, reject }
  #syncing = null;
  #syncedAtLeast = 0;
  #onChange;

  // `onChange(report)` is called after each change, for the screen; `onSettled()` once a client may look at the modules.
  constructor(models, config, { onChange, onSettled }) {
    this.models = models;
    this.onSettled = onSettled;
    this.#config = config;
    this.#onChange = onChange;
    this.#connection = new Connection(
      {
        opened: () => this.#opened(),
        lost: () => this.#lost(),
        received: (message) => this.#received(message),
        failed: (error) => this.#failed(error),
      },
      () => this.#config.retry_delay,
    );
  }

  async start() {
    this.#setState('OPENING');
    await sleep(this.#config.open_delay);
    await exclusively(() => this.#look());
    this.#changed();
    this.#connection.open();
  }

  async #look() {
    const found = await diagnose(this.#config);
    this.#found = found;
    this.#diagnosis = found.diagnosis;
    this.#problems = found.problems;
    this.#messages = found.messages;
    this.#damaged = found.damaged;
    this.#lag = found.lag;
    if (found.legacy) {
      this.keys = await makeKeys(); // for a code, should it be refused; nothing of them is stored
      this.#ratchet = new LegacyLogin(found.legacy);
    } else if (found.diagnosis === 'whole') {
      this.keys = found.keys;
      this.#ratchet = await Ratchet.resume(found.databases, found.keys, found.state, (error) => this.#stepped(error));
      this.#setMe(found.state.me);
    } else {
      await this.#prepareKeys();
    }
    if (found.diagnosis === 'fresh' && new URLSearchParams(location.search).has('post_logout')) this.#diagnosis = 'logged-out';
  }

  // -- what clients call ---------------------------------------------------------------------------------------------

  async logout() {
    if (!this.#ratchet) throw new Error('there is no login to end');
    await this.#ask({ type: 'logout' });
  }

  reconnect() {
    this.#abortSync();
    this.#setState('OPENING');
    this.#connection.reopen();
  }

  takeover() {
    if (this.models.Socket.state !== 'CONFLICT') return;
    this.#setState('OPENING');
    this.#login();
  }

  refreshQR() {
    if (!UNPAIRED.includes(this.models.Socket.state)) return;
    if (this.#stage === 'code') this.#stage = 'qr'; // at once: clients call initializeQRLinking next, which has nothing left to do
    this.#connection.send({ type: 'qr' });
  }

  setPairingType(type) {
    if (!['QR', 'ALT_DEVICE_LINKING'].includes(type)) throw new Error(`unknown pairing type ${type}`);
    this.#pairingType = type;
  }

  initializeAltDeviceLinking() {
    if (!UNPAIRED.includes(this.models.Socket.state)) throw new Error('this device is linked already');
  }

  async startAltLinkingFlow(phone, showNotification) {
    this.initializeAltDeviceLinking();
    if (this.#pairingType !== 'ALT_DEVICE_LINKING') throw new Error('the pairing type is not ALT_DEVICE_LINKING');
    if (typeof phone !== 'string' || !/^[1-9][0-9]{6,14}$/.test(phone)) throw new Error(`invalid phone number ${phone}`);
    if (typeof showNotification !== 'boolean') throw new Error('showNotification is not a boolean');
    return this.#ask({ type: 'code', phone });
  }

  // A question to the server: is there an account of this number?
  async queryWidExists(asked) {
    return (await this.#ask({ type: 'exists', number: asked.user })) ? { wid: asked } : null;
  }

  // Whether the account is multi-device, as all of today's are; undefined while there is no login.
  get isMultiDevice() {
    return this.#ratchet ? !(this.#ratchet instanceof LegacyLogin) : undefined;
  }

  get socket() {
    return this.#connection.socket;
  }

  initializeQRLinking() {
    this.#pairingType = 'QR';
    if (this.#stage === 'code') this.refreshQR();
  }

  // Resolves with the server's answer to a message of this type; rejects when the connection ends before it is there.
  async #ask(message) {
    if (!this.#connection.send(message)) throw new Error('there is no connection');
    return new Promise((resolve, reject) => this.#asked.push({ type: message.type, resolve, reject }));
  }

  // Hands an answer to who asked first; tells whether somebody did.
  #answer(type, value) {
    const index = this.#asked.findIndex((each) => each.type === type);
    if (index < 0) return false;
    this.#asked.splice(index, 1)[0].resolve(value);
    return true;
  }

  #nobodyAnswers() {
    for (const { reject } of this.#asked.splice(0)) reject(new Error('the connection was lost before there was an answer'));
  }

  // -- the connection ------------------------------------------------------------------------------------------------

  #opened() {
    this.#nobodyAnswers(); // what was asked on an earlier connection that went without a word
    if (this.models.Socket.state === 'TIMEOUT') this.#setState('OPENING');
    this.#hello();
    if (this.models.Socket.state === 'CONFLICT') return; // only a takeover ends that
    if (this.#ratchet) this.#login();
    else this.#connection.send({ type: 'qr' });
  }

  #hello() {
    const { noiseRaw, noisePub, identity, adv } = this.keys;
    const keys = {
      noise: encodeB64(noiseRaw),
      noisePub: encodeB64(noisePub),
      identity: encodeB64(identity.pubKey),
      adv,
      platform: DEVICE_PLATFORM,
    };
    this.#connection.send({ type: 'hello', page: this.#page, keys, report: this.#report() });
  }

  #lost() {
    this.#nobodyAnswers();
    if (this.models.Socket.state === 'CONFLICT') return; // it stays so until it takes over
    this.#abortSync();
    this.#stage = 'offline';
    this.#setState('TIMEOUT');
  }

  async #received(message) {
    const handlers = {
      ref: () => this.#showRef(message.ref),
      idle: () => this.#goIdle(),
      code: () => this.#showCode(message.code),
      pair: () => this.#pair(message),
      challenge: () => this.#prove(message.nonce),
      accepted: () => this.#accepted(message),
      rejected: () => this.#rejected(message.reason),
      'logged-out': () => this.#loggedOut(),
      conflict: () => this.#conflict(),
      deliver: () => this.#store(message),
      check: () => this.#check(),
      state: () => this.#setState(message.state),
      config: () => this.#configure(message.config),
      exists: () => this.#answer('exists', message.exists),
      vanish: () => this.#connection.vanish(),
    };
    await handlers[message.type]();
  }

  #configure(config) {
    const changed = config.ratchet_interval !== this.#config.ratchet_interval;
    this.#config = config;
    if (changed && this.#diagnosis === 'ok' && this.models.Socket.state === 'CONNECTED') this.#ratchet.start(config.ratchet_interval);
  }

  // -- not linked ----------------------------------------------------------------------------------------------------

  #showRef(ref) {
    this.#stage = 'qr';
    this.models.Conn.set({ ref });
    this.#setState('UNPAIRED');
    this.onSettled();
  }

  #goIdle() {
    this.#stage = 'idle';
    this.#setState('UNPAIRED_IDLE');
  }

  #showCode(code) {
    this.#stage = 'code';
    this.#changed({ code });
    this.#answer('code', code);
  }

  async #pair({ device, login, number, pushname, seed, legacy }) {
    this.#stage = 'pairing';
    this.#setState('PAIRING');
    await sleep(this.#config.pair_delay);
    await wipe(this.#found.databases, this.#found.ended);
    this.#ratchet = legacy
      ? LegacyLogin.begin(legacy)
      : await Ratchet.begin(this.keys, { login, device, number, pushname, seed }, (error) => this.#stepped(error));
    this.#setMe({ number, pushname, device });
    this.#diagnosis = 'whole';
    this.#problems = [];
    this.#messages = this.#damaged = 0;
    this.#connection.send({ type: 'linked', name: this.deviceInfo() });
    this.#changed();
    this.#login();
  }

  async #prepareKeys() {
    const { databases, diagnosis, unfinished, ended } = this.#found;
    if (diagnosis === 'fresh' && !unfinished) {
      try {
        this.keys = await loadKeys(databases);
        return;
      } catch {
        // The first start of this profile, or the first after a logout.
      }
    }
    this.keys = await makeKeys();
    // What is torn stays as it is, for a look, until another device is linked in its place.
    if (diagnosis !== 'fresh') return;
    await wipe(databases, ended);
    this.#found.databases = await openAll();
    await storeKeys(this.#found.databases, this.keys);
  }

  // -- logins --------------------------------------------------------------------------------------------------------

  #login() {
    this.#connection.send({ type: 'login', ...this.#ratchet.claim });
  }

  async #prove(nonce) {
    await this.#ratchet.between(async () => {
      this.#connection.send({ type: 'proof', ...(await prove(this.keys, nonce, this.#ratchet.state)) });
    });
  }

  #accepted({ waiting, me }) {
    this.#diagnosis = 'ok';
    if (me) this.#setMe(me); // else the stored login says so
    this.#stored = this.#ratchet.state.count;
    this.#syncedAtLeast = this.#stored + waiting;
    this.#ratchet.start(this.#config.ratchet_interval);
    const { Socket } = this.models;
    this.#stage = Socket.hasSynced ? 'ready' : 'syncing';
    this.#setState('CONNECTED');
    if (!Socket.hasSynced) this.#sync();
  }

  // A lost connection ends it; the next one begins anew.
  async #sync() {
    const run = (this.#syncing = {});
    const quick = this.#config.fast_restore && this.#found.diagnosis === 'whole';
    if (!quick) {
      this.onSettled();
      const stored = () => this.#stored;
      await sync(this.models, this.#config, { stored, expected: this.#syncedAtLeast, goesOn: () => this.#syncing === run });
    }
    if (this.#syncing !== run) return;
    this.#syncing = null;
    this.#stage = 'ready';
    this.models.Socket.set({ hasSynced: true });
    this.onSettled();
    this.#changed();
  }

  #abortSync() {
    this.#syncing = null;
  }

  async #rejected(reason) {
    this.#abortSync();
    this.#diagnosis = 'rejected';
    this.#problems = [reason];
    this.#ratchet.stop();
    await this.#ratchet.idle();
    this.#found = { ...this.#found, databases: {}, ended: this.#found.ended.concat(this.#ratchet.state.login ?? []) };
    this.#ratchet = null;
    this.models.Socket.hasSynced = false; // without an event: that one says that a sync has ended
    this.keys = await makeKeys();
    this.#hello();
    this.#connection.send({ type: 'qr' });
  }

  #conflict() {
    this.#abortSync();
    this.#ratchet?.stop();
    this.#stage = 'conflict';
    this.#setState('CONFLICT');
  }

  async #loggedOut() {
    this.#abortSync();
    this.#connection.end();
    this.#stage = 'logged-out';
    this.#diagnosis = 'logged-out';
    await this.#ratchet?.wipe(this.#found.ended);
    this.#changed();
    const { Cmd } = this.models;
    Cmd.trigger('logout');
    const asked = this.#answer('logout');
    if (!asked) Cmd.trigger('logout_from_bridge');
    await sleep(this.#config.logout_delay);
    location.replace(`/?post_logout=1&logout_reason=${asked ? 0 : 2}`);
  }

  // -- messages ------------------------------------------------------------------------------------------------------

  async #store(batch) {
    const records = await this.#ratchet.step({ messages: batch });
    this.#messages = this.#stored = this.#ratchet.state.count;
    this.#connection.send({ type: 'stored', ...this.#report() });
    for (const record of records) this.models.Msg.add(messageModel(record, this.models.me.pn));
  }

  async #check() {
    if (this.#ratchet) {
      await this.#ratchet.between(async () => {
        const result = await this.#ratchet.audit();
        this.#messages = result.messages;
        this.#damaged = result.damaged;
        this.#problems = result.problems;
      }).catch((error) => (this.#problems = [error.message]));
    }
    this.#connection.send({ type: 'checked', ...this.#report() });
    this.#changed();
  }

  #stepped(error) {
    if (error) this.#failed(error);
    else this.#changed();
  }

  // What should not happen is shown, and reported, until the page is loaded again.
  #failed(error) {
    this.#error = `${error.name}: ${error.message}`;
    this.#ratchet?.stop();
    console.error(error);
    this.#changed();
  }

  // -- what others see -----------------------------------------------------------------------------------------------

  #setMe({ number, pushname, device }) {
    this.models.me = { pn: wid(number, 'c.us'), lid: wid(`${number}000`, 'lid') };
    Object.assign(this.models.Conn, { pushname, platform: 'android', connected: true, wid: this.models.me.pn });
    this.device = device;
  }

  #setState(state) {
    this.models.Socket.set({ state });
    this.#changed();
  }

  #report() {
    return {
      stage: this.#stage,
      state: this.models.Socket.state,
      diagnosis: this.#diagnosis,
      problems: this.#problems,
      messages: this.#messages,
      damaged: this.#damaged,
      index: this.#ratchet?.state.index ?? null,
      lag: this.#lag,
      error: this.#error,
    };
  }

  #changed(extra = {}) {
    const report = this.#report();
    this.#connection.send({ type: 'report', ...report });
    this.#onChange({ page: this.#page, device: this.device ?? null, ref: this.models.Conn.ref, ...report, ...extra });
  }
}
