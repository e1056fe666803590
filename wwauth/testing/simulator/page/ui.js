// What a person sees.

const HINTS = {
  qr: 'Scan this code with the simulated phone: POST /control/scan?qr=…',
  code: 'Type this code on the simulated phone: POST /control/enter-code?code=…',
  idle: 'The code has expired. Reload the page for another one.',
};

const element = (id) => document.getElementById(id);

export const show = ({ page, device, ref, stage, state, diagnosis, problems, messages, damaged, error, code }) => {
  document.documentElement.dataset.id = page;
  element('stage').textContent = stage;
  element('state').textContent = state;
  element('diagnosis').textContent = diagnosis ?? '';
  element('device').textContent = device ?? 'not linked';
  element('messages').textContent = `${messages}, ${damaged} damaged`;
  element('link').hidden = !(stage in HINTS);
  element('hint').textContent = HINTS[stage] ?? '';
  const qr = element('qr');
  qr.hidden = stage !== 'qr';
  const source = `/code/${page}.svg?${encodeURIComponent(ref ?? '')}`;
  if (stage === 'qr' && qr.getAttribute('src') !== source) qr.src = source;
  element('code').hidden = stage !== 'code';
  if (code) element('code').textContent = `${code.slice(0, 4)}-${code.slice(4)}`;
  const lines = [...(problems ?? []), ...(error ? [error] : [])];
  element('problems').replaceChildren(
    ...lines.map((line) => Object.assign(document.createElement('li'), { textContent: line })),
  );
};

export const fail = (text) => {
  element('stage').textContent = 'failed';
  element('problems').replaceChildren(Object.assign(document.createElement('li'), { textContent: text }));
};
