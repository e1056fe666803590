// The page's side of the bridge. Runs as an init script in each document, before the page's own scripts; needs no eval, so it
// works under WhatsApp Web's Content-Security-Policy. It reads the page's modules (named in docs/parity.md) and tells the other side:
// every message carries the whole present level, so that nothing depends on having seen an edge, and the edge that caused it.
(config) => {
  'use strict';

  const BINDING = '__wwauth';
  const KEY = Symbol.for('wwauth');
  // What a person's login never reaches by itself: from here a QR code or a pairing code is needed.
  const NEEDS_LOGIN = ['UNPAIRED', 'UNPAIRED_IDLE'];

  if (window.top !== window || window[KEY]) return;

  const need = (name) => window.require(name);
  const optional = (name) => {
    try {
      return window.require(name);
    } catch {
      return undefined;
    }
  };

  let synced = false;
  let percent = null;
  let last = '';
  let order = Promise.resolve();

  const qr = async (state, ref) => {
    if (!NEEDS_LOGIN.includes(state) || !ref) return null;
    const { encodeB64 } = need('WABase64');
    const registration = await need('WAWebSignalStoreApi').waSignalStore.getRegistrationInfo();
    const noise = await need('WAWebUserPrefsInfoStore').waNoiseInfo.get();
    const parts = [
      ref,
      encodeB64(noise.staticKeyPair.pubKey),
      encodeB64(registration.identityKeyPair.pubKey),
      await advSecret(),
      need('WAWebCompanionRegClientUtils').DEVICE_PLATFORM,
    ];
    return parts.join(',');
  };

  // Builds of WhatsApp Web before early 2026 keep the getter in one of these modules.
  const advSecret = () => {
    for (const name of [
      'WAWebUserPrefsMultiDevice',
      'WAWebCompanionRegClientUtils',
      'WAWebAdvSignatureApi',
      'WAWebUserPrefsInfoStore',
      'WAWebSignalStoreApi',
    ]) {
      const found = optional(name)?.getADVSecretKey;
      if (found) return found();
    }
    throw new Error('this build of WhatsApp Web has no getADVSecretKey');
  };

  // Chromium may clear the storage of a site that did not ask, when the disk is nearly full. Best effort: it says no to some.
  let asked = false;
  const persist = () => {
    if (asked) return;
    asked = true;
    navigator.storage?.persist?.().catch(() => {});
  };

  // One message at a time: what is asynchronous about one must not let a later one overtake it.
  const tell = (edge) => {
    const { Socket } = need('WAWebSocketModel');
    const { Conn } = need('WAWebConnModel');
    if (Socket.hasSynced) synced = true;
    if (synced) persist();
    if (NEEDS_LOGIN.includes(Socket.state)) synced = false;
    const level = { version: window.Debug.VERSION, state: Socket.state ?? null, synced, percent };
    const { ref } = Conn;
    order = order
      .then(async () => {
        level.qr = await qr(level.state, ref);
        const text = JSON.stringify(level);
        if (!edge && text === last) return;
        last = text;
        await window[BINDING]({ edge: edge ?? null, ...level });
      })
      .catch((error) => window[BINDING]({ error: String(error?.message ?? error) }))
      .catch(() => {}); // the other side has gone
  };

  const attach = () => {
    const { Socket } = need('WAWebSocketModel');
    const { Conn } = need('WAWebConnModel');
    const { Cmd } = need('WAWebCmd');
    const { OfflineMessageHandler } = need('WAWebOfflineHandler');
    setDeviceName();
    Socket.on('change:state', () => tell('state'));
    Socket.on('change:hasSynced', () => {
      synced = Socket.hasSynced ?? true;
      tell('synced');
    });
    Conn.on('change:ref', () => tell());
    Cmd.on('offline_progress_update_from_bridge', () => {
      percent = OfflineMessageHandler.getOfflineDeliveryProgress();
      tell('progress');
    });
    for (const name of ['logout', 'logout_from_bridge']) Cmd.on(name, () => tell('logout'));
    tell('alive');
    setInterval(tell, 500); // for what changes without an event
  };

  const setDeviceName = () => {
    const changes = {};
    if (config.deviceName) changes.os = config.deviceName;
    if (config.browserName) changes.name = config.browserName;
    if (Object.keys(changes).length === 0) return;
    const utils = need('WAWebMiscBrowserUtils');
    const info = utils.info;
    utils.info = (...args) => ({ ...info(...args), ...changes });
  };

  const within = (work, timeout) =>
    Promise.race([work.then(() => true), new Promise((resolve) => setTimeout(resolve, timeout, false))]).catch(() => false);

  // A dead man's handle: what uses a login on a lease must hear of it in time, or leave. Both clocks count: one stands still while a
  // machine sleeps, the other one can be set back.
  let until = null;
  let leaving = false;
  const hold = (seconds) => {
    until = { monotonic: performance.now() + seconds * 1000, wall: Date.now() + seconds * 1000 };
  };
  const isOverdue = () => until && (performance.now() > until.monotonic || Date.now() > until.wall);
  if (config.lease !== null && location.protocol !== 'about:') {
    hold(config.lease);
    // The page must not ask anybody whether it may leave.
    addEventListener('beforeunload', (event) => leaving && event.stopImmediatePropagation(), true);
    setInterval(() => {
      if (!isOverdue()) return;
      leaving = true;
      location.replace('about:blank');
    }, 100);
  }

  const commands = {
    // Told at `at`: it may have lain about while the browser was frozen.
    beat: ({ seconds, at }) => hold(seconds - Math.max(0, Date.now() / 1000 - at)),

    state: () => (isAlive() ? (need('WAWebSocketModel').Socket.state ?? null) : null),

    // `open`: the WebSocket of the builds that show it; a connection may be gone and the state not know it. `answered`: whether the server
    // answers a harmless question over it, the one by which clients look numbers up; a socket may be open with nobody at its end.
    probe: async ({ timeout }) => {
      const { Socket } = need('WAWebSocketModel');
      const level = { state: Socket.state ?? null, open: true, answered: true };
      if (level.state !== 'CONNECTED') return level;
      if ('socket' in Socket) level.open = Socket.socket?.readyState === WebSocket.OPEN;
      const me = need('WAWebUserPrefsMeUser');
      const query = optional('WAWebQueryExistsJob')?.queryWidExists;
      if (level.open && query) {
        const question = async () => query(me.getMaybeMePnUser() || me.getMaybeMeLidUser());
        level.answered = await within(question(), timeout);
      }
      return level;
    },

    reach: ({ timeout }) => within(fetch(location.origin, { method: 'HEAD', mode: 'no-cors', cache: 'no-store' }), timeout),

    info: () => {
      const me = need('WAWebUserPrefsMeUser');
      return { ...need('WAWebConnModel').Conn.serialize(), wid: me.getMaybeMePnUser() || me.getMaybeMeLidUser() };
    },

    requestPairingCode: async ({ phoneNumber, showNotification }) => {
      const linking = need('WAWebAltDeviceLinkingApi');
      linking.setPairingType('ALT_DEVICE_LINKING');
      await linking.initializeAltDeviceLinking();
      return linking.startAltLinkingFlow(phoneNumber, showNotification);
    },

    cancelPairingCode: async () => {
      const { Conn } = need('WAWebConnModel');
      const before = Conn.ref;
      commands.refreshQR();
      await need('WAWebAltDeviceLinkingApi').initializeQRLinking();
      // The code from before is still on the screen until the new one has come, and no phone takes it any more.
      for (let waited = 0; Conn.ref === before && waited < 5000; waited += 50) {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      return Conn.ref !== before;
    },

    refreshQR: () => (optional('WAWebLaunchSocketUtils') ?? need('WAWebCmd').Cmd).refreshQR(),
    logout: () => need('WAWebSocketModel').Socket.logout(),
    reconnect: () => need('WAWebSocketModel').Socket.reconnect(),
    takeover: () => need('WAWebSocketModel').Socket.takeover(),
  };

  const isAlive = () => {
    if (window.Debug?.VERSION === undefined || typeof window.require !== 'function') return false;
    const needed = ['WAWebSocketModel', 'WAWebConnModel', 'WAWebCmd', 'WAWebOfflineHandler'];
    return needed.every((name) => optional(name) !== undefined);
  };

  const run = (name, args) => {
    if (name !== 'state' && name !== 'beat' && !isAlive()) throw new Error('the page is still loading');
    return commands[name](args);
  };
  Object.defineProperty(window, KEY, { value: { run } });

  // The modules come some time after the document does.
  const timer = setInterval(() => {
    if (!isAlive()) return;
    clearInterval(timer);
    try {
      attach();
    } catch (error) {
      window[BINDING]({ error: String(error?.message ?? error) });
    }
  }, 50);
}
