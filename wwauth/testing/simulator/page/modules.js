// `window.require`: the modules that clients ask for by name up to `ready`, and a few that they touch when a message comes. As on
// the real page, a name that does not exist throws.

import { decodeB64, encodeB64 } from './bytes.js';
import { DEVICE_PLATFORM } from './keys.js';
import { VERSION } from './models.js';

export const install = (session) => {
  const { Socket, Conn, Cmd, Msg, Chat } = session.models;
  Socket.logout = () => session.logout();
  Socket.reconnect = () => session.reconnect();
  Socket.takeover = () => session.takeover();
  Object.defineProperty(Socket, 'socket', { get: () => session.socket });
  Cmd.refreshQR = () => session.refreshQR();

  const modules = {
    WAWebSocketModel: { Socket },
    WAWebConnModel: { Conn },
    WAWebCmd: { Cmd },
    WAWebLaunchSocketUtils: { refreshQR: () => session.refreshQR() },
    WAWebOfflineHandler: { OfflineMessageHandler: { getOfflineDeliveryProgress: () => session.models.progress } },
    WAWebAltDeviceLinkingApi: {
      setPairingType: (type) => session.setPairingType(type),
      initializeAltDeviceLinking: async () => session.initializeAltDeviceLinking(),
      startAltLinkingFlow: async (phone, showNotification) => session.startAltLinkingFlow(phone, showNotification),
      initializeQRLinking: async () => session.initializeQRLinking(),
    },
    WABase64: { encodeB64, decodeB64 },
    WAWebSignalStoreApi: {
      waSignalStore: {
        getRegistrationInfo: async () => ({
          identityKeyPair: { ...session.keys.identity },
          registrationId: session.keys.registrationId,
        }),
      },
    },
    WAWebUserPrefsInfoStore: {
      waNoiseInfo: { get: async () => ({ staticKeyPair: { pubKey: session.keys.noisePub, privKey: session.keys.noise.privateKey } }) },
    },
    WAWebUserPrefsMultiDevice: { getADVSecretKey: () => session.keys.adv },
    WAWebAdvSignatureApi: {},
    WAWebCompanionRegClientUtils: { DEVICE_PLATFORM },
    WAWebMiscBrowserUtils: { info: () => ({ name: 'Chrome', os: navigator.platform, version: VERSION, ua: navigator.userAgent }) },
    WAWebUserPrefsMeUser: {
      getMaybeMePnUser: () => session.models.me?.pn ?? null,
      getMaybeMeLidUser: () => session.models.me?.lid ?? null,
    },
    WAWebMDBackend: { isMDBackend: () => session.isMultiDevice },
    WAWebQueryExistsJob: { queryWidExists: (asked) => session.queryWidExists(asked) },
    WAWebCollections: { Msg, Chat },
    WAWebSyncGatingUtils: { isPlaceholderMessageResendEnabled: () => false },
    WAWebCallCollection: { on: () => {}, _models: new Map() },
    WAWebAddonReactionTableMode: { reactionTableMode: { bulkUpsert: async () => {} } },
    WAWebAddonPollVoteTableMode: { pollVoteTableMode: { bulkUpsert: async () => {} } },
    WAWebNonMessageDataRequestPlaceholderMessageResendUtils: { handlePlaceholderMsgsSeen: () => {} },
    WAWebBackendJobsCommon: { mediaTypeFromProtobuf: () => null },
    WAWebE2EProtoUtils: { typeAttributeFromProtobuf: () => 'text' },
    WALinkify: { findLinks: () => [] },
  };

  session.deviceInfo = () => modules.WAWebMiscBrowserUtils.info();
  window.require = (name) => {
    if (!Object.hasOwn(modules, name)) throw new Error(`Requiring unknown module "${name}"`);
    return modules[name];
  };
  window.Debug = { VERSION };
};
