// The models that clients listen to.

import { Collection, Emitter, Model } from './emitter.js';

// As with the real page, the document says which build it belongs to.
export const VERSION = document.documentElement.dataset.version;

export const makeModels = () => {
  const Socket = new Model({ state: 'UNLAUNCHED', hasSynced: false });
  const Conn = new Model({ ref: undefined, pushname: undefined, platform: undefined, connected: false, battery: undefined, plugged: undefined });
  const Cmd = new Emitter();
  return { Socket, Conn, Cmd, Msg: new Collection(200), Chat: new Collection(200), progress: null, me: null };
};

class Wid {
  constructor(user, server) {
    Object.assign(this, { server, user, _serialized: `${user}@${server}` });
  }

  toString() {
    return this._serialized;
  }
}

export const wid = (user, server) => new Wid(user, server);

// A message as its listeners get it: a model with an id.
export const messageModel = (record, me) => {
  const from = wid(record.from, 'c.us');
  const id = { fromMe: false, remote: from, id: record.id, _serialized: `false_${from._serialized}_${record.id}` };
  return new Model({
    id,
    type: record.media ? 'document' : 'chat',
    body: record.media ? '' : record.body,
    caption: record.media ? record.body : undefined,
    directPath: record.media ? `/simulated/${record.id}` : undefined,
    t: record.t,
    from,
    to: me,
    ack: 1,
    isNewMsg: true,
    isEphemeral: false,
    isStatusV3: false,
  });
};
