// The page's start.

import { makeModels } from './models.js';
import { install } from './modules.js';
import { Session } from './session.js';
import { fail, show } from './ui.js';

const main = async () => {
  if (!window.isSecureContext) {
    throw new Error('this address gives no access to cryptography: open the simulator at 127.0.0.1, at localhost, or over https');
  }
  const config = await (await fetch('/config.json')).json();
  let installed = false;
  const settled = () => {
    if (installed) return;
    installed = true;
    install(session);
  };
  const session = new Session(makeModels(), config, { onChange: show, onSettled: settled });
  // With a fast restore the modules appear when all is over.
  if (!config.fast_restore) settled();
  await session.start();
};

main().catch((error) => {
  console.error(error);
  fail(String(error.message ?? error));
});
