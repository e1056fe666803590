'use strict';

const fs = require('fs');
const path = require('path');

/**
 * A store as whatsapp-web.js's users write them: `<folder>/<session>.zip`, four methods.
 *
 * RemoteAuth tells `save` no path; 1.34.7 writes the zip to `<dataPath>/<session>.zip`, so that is where it is read.
 */
class FolderStore {
  constructor(folder, dataPath) {
    this.folder = folder;
    this.dataPath = dataPath;
    fs.mkdirSync(folder, { recursive: true });
  }

  #file(session) {
    return path.join(this.folder, `${session}.zip`);
  }

  async sessionExists({ session }) {
    return fs.existsSync(this.#file(session));
  }

  async save({ session }) {
    await fs.promises.copyFile(path.join(this.dataPath, `${session}.zip`), this.#file(session));
  }

  async extract({ session, path: target }) {
    await fs.promises.copyFile(this.#file(session), target);
  }

  async delete({ session }) {
    await fs.promises.rm(this.#file(session), { force: true });
  }
}

module.exports = { FolderStore };
