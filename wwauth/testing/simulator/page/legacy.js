// The login of an account without multi-device, as it was before 2022: four values in localStorage, with which any browser logs
// in. The phone has the messages; here they last as long as the page.

import { makeMessage } from './messages.js';
import { wipe } from './places.js';

const KEYS = ['WABrowserId', 'WASecretBundle', 'WAToken1', 'WAToken2'];

const REMEMBER = 'remember-me';

// What the audit tells of such a login; nothing when there is none.
export const findLegacy = () => {
  const session = Object.fromEntries(KEYS.map((name) => [name, localStorage.getItem(name)]));
  const missing = KEYS.filter((name) => !session[name]);
  if (missing.length === KEYS.length) return {};
  if (localStorage.getItem(REMEMBER) !== 'true') missing.push(REMEMBER);
  if (missing.length > 0) return { diagnosis: 'torn', problems: missing.map((name) => `localStorage: ${name} is missing`) };
  return { diagnosis: 'whole', legacy: session };
};

// In the place of a Ratchet: there is nothing that moves on.
export class LegacyLogin {
  state = { login: null, index: null, count: 0 };
  #session;

  constructor(session) {
    this.#session = session;
  }

  static begin(session) {
    for (const [name, value] of Object.entries(session)) localStorage.setItem(name, value);
    localStorage.setItem(REMEMBER, 'true');
    return new LegacyLogin(session);
  }

  get claim() {
    return { legacy: this.#session };
  }

  start() {}

  stop() {}

  async idle() {}

  async between(work) {
    return work();
  }

  async step({ messages: { n, size, mediaEvery, mediaSize, at } }) {
    const seqs = Array.from({ length: n }, (_, number) => this.state.count + number + 1);
    this.state.count += n;
    return Promise.all(seqs.map((seq) => makeMessage(seq, { size, at, media: seq % mediaEvery === 0 ? mediaSize : 0 })));
  }

  async audit() {
    return { problems: [], messages: this.state.count, damaged: 0 };
  }

  async wipe(ended) {
    await wipe({}, ended);
  }
}
