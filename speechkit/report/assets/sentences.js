// The list of all sentences: only the rows in sight are elements, so that a hundred thousand are as quick as ten.
const sentenceList = (list, facts) => {
  const ROW = 84, EXTRA = 6, AROUND_SECONDS = 1, CACHED = 400;
  const find = (selector) => document.querySelector(selector);
  const box = find('#list'), whole = box.querySelector('.whole'), detail = find('#detail'), form = detail.querySelector('.edit'), field = form.querySelector('textarea');
  const total = list.text.length, known = new Set(list.id.filter(Boolean));
  const texts = list.text.map((text, row) => `${text}\n${list.heard[row]}\n${list.id[row] || list.sentence[row]}`.toLowerCase());
  const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, '0')}`;
  const words = (name) => name.replace(/_/g, ' ');
  const reasonOf = (row) => list.reasons[list.reason[row]];
  const recordingOf = (row) => list.recordings[list.recording[row]];
  const documentOf = (row) => list.documents[list.document[row]];
  let view = [], current = -1; // rows in the order shown; the place of the current one among them

  const book = decisionBook(facts.run, known, () => { tally(); draw(); });
  const textOf = (row) => book.get(list.id[row])?.text ?? list.text[row];

  // ---- what is shown
  const filters = { find: find('#find'), reason: find('#by-reason'), place: find('#by-place'), order: find('#by-order'), least: find('#least'), most: find('#most') };
  const option = (value, text) => Object.assign(document.createElement('option'), { value, textContent: text });
  const group = (label, options) => { const made = Object.assign(document.createElement('optgroup'), { label }); made.append(...options); return made; };
  {
    const counts = list.reasons.map(() => 0);
    for (const reason of list.reason) counts[reason] += 1;
    const said = (name, at) => option(`reason ${name}`, `${words(name)} (${counts[at].toLocaleString('en')})`);
    const rejected = list.reasons.map((name, at) => [name, at]).filter(([name]) => name !== 'kept');
    const first = [option('', `all (${total.toLocaleString('en')})`), ...list.reasons.flatMap((name, at) => (name === 'kept' ? [said(name, at)] : []))];
    const decided = [['open', 'not decided'], ['a', 'accepted'], ['r', 'rejected by you'], ['edited', 'edited']].map(([value, text]) => option(`decided ${value}`, text));
    filters.reason.append(...first, option('rejected', 'rejected, for any reason'), group('rejected', rejected.map(([name, at]) => said(name, at))), group('your decisions', decided));
    const named = (kind, names) => group(`${kind}s`, names.map((name, at) => [name, at]).filter(([name]) => name).map(([name, at]) => option(`${kind} ${at}`, name)));
    filters.place.append(option('', 'everywhere'), named('recording', list.recordings), named('document', list.documents));
  }
  // ---- quality columns: a range and two orders for each
  const ranges = list.quality.map(({ label, values }) => {
    const input = (name, bound) => { const made = document.createElement('input'); Object.assign(made, { type: 'number', step: 'any', placeholder: String(bound) }); made.setAttribute('aria-label', `${name} of ${label}`); return made; };
    const measured = values.filter((value) => value !== null), smallest = measured.reduce((one, other) => Math.min(one, other)), largest = measured.reduce((one, other) => Math.max(one, other));
    return { label, values, least: input('least', smallest), most: input('most', largest) };
  });
  ranges.forEach(({ label, least, most }, at) => {
    const pair = document.createElement('div'), title = document.createElement('span'), inputs = document.createElement('div');
    pair.className = 'pair'; pair.dataset.quality = list.quality[at].name; pair.setAttribute('role', 'group'); pair.setAttribute('aria-label', label);
    title.textContent = label; inputs.append(least, ' to ', most); pair.append(title, inputs);
    find('#quality .tools').append(pair);
    find('#by-quality').append(option(`lowest ${at}`, `${label}, lowest first`), option(`highest ${at}`, `${label}, highest first`));
  });
  find('#quality').hidden = find('#by-quality').hidden = !ranges.length;
  const bounds = ranges.flatMap(({ least, most }) => [least, most]);

  const orders = {
    document: null,
    recording: (a, b) => (list.id[a] ? 0 : 1) - (list.id[b] ? 0 : 1) || list.recording[a] - list.recording[b] || list.start[a] - list.start[b] || a - b,
    unsure: (a, b) => (list.probability[a] ?? 2) - (list.probability[b] ?? 2) || a - b,
    sure: (a, b) => (list.probability[b] ?? -1) - (list.probability[a] ?? -1) || a - b,
    unlike: (a, b) => (list.similarity[a] ?? 2) - (list.similarity[b] ?? 2) || a - b,
    long: (a, b) => list.seconds[b] - list.seconds[a] || a - b,
    short: (a, b) => (list.seconds[a] || Infinity) - (list.seconds[b] || Infinity) || a - b,
  };
  const orderOf = (name) => {
    const [way, at] = name.split(' ');
    if (at === undefined) return orders[name];
    const { values } = ranges[Number(at)], sign = way === 'lowest' ? 1 : -1; // what was not measured comes last
    return (a, b) => (values[a] === null) - (values[b] === null) || sign * (values[a] - values[b]) || a - b;
  };
  const test = () => {
    const wanted = filters.find.value.trim().toLowerCase(), [what, name] = filters.reason.value.split(/ (.*)/s), [kind, at] = filters.place.value.split(' ');
    const number = (input, otherwise) => (input.value === '' || Number.isNaN(Number(input.value)) ? otherwise : Number(input.value));
    const least = number(filters.least, -1), most = number(filters.most, 2), bounded = least > -1 || most < 2;
    const narrowed = ranges.map(({ values, least: from, most: to }) => [values, number(from, -Infinity), number(to, Infinity)]).filter(([, from, to]) => from > -Infinity || to < Infinity);
    const reason = what === 'reason' ? list.reasons.indexOf(name) : -1, kept = list.reasons.indexOf('kept');
    const place = kind ? list[kind] : null;
    return (row) => {
      if (what === 'reason' ? list.reason[row] !== reason : what === 'rejected' && list.reason[row] === kept) return false;
      if (place && (place[row] !== Number(at) || (kind === 'recording' && !list.id[row]))) return false;
      if (bounded && (list.probability[row] === null || list.probability[row] < least || list.probability[row] > most)) return false;
      for (const [values, from, to] of narrowed) if (values[row] === null || values[row] < from || values[row] > to) return false;
      if (what === 'decided') {
        const decision = book.get(list.id[row]);
        if (name === 'open' ? decision || !list.id[row] : name === 'edited' ? decision?.text === undefined : decision?.kind !== name) return false;
      }
      return !wanted || texts[row].includes(wanted) || (book.get(list.id[row])?.text ?? '').toLowerCase().includes(wanted);
    };
  };
  const filter = (staying = true) => {
    const stay = staying ? view[current] : undefined, fits = test(), order = orderOf(filters.order.value);
    view = [];
    for (let row = 0; row < total; row += 1) if (fits(row)) view.push(row);
    if (order) view.sort(order);
    whole.style.height = `${view.length * ROW}px`;
    const seconds = view.reduce((sum, row) => sum + list.seconds[row], 0);
    find('#shown').textContent = `${view.length.toLocaleString('en')} of ${total.toLocaleString('en')} sentences, ${amount(seconds)}`;
    find('#nothing').hidden = view.length > 0;
    find('#reset').hidden = ![filters.find, filters.reason, filters.place, filters.least, filters.most, ...bounds].some((input) => input.value);
    box.setAttribute('aria-rowcount', view.length);
    for (const row of made.values()) row.remove();
    made.clear();
    const at = stay === undefined ? -1 : view.indexOf(stay);
    box.scrollTop = 0;
    // A sentence that was found, if there is one: there is nothing to decide about the others.
    choose(at >= 0 ? at : view.length ? Math.max(0, view.findIndex((row) => list.id[row])) : -1);
  };

  // ---- the rows in sight
  const made = new Map(), compared = new Map();
  const compare = (row) => {
    if (!compared.has(row) || compared.get(row).text !== textOf(row)) {
      if (compared.size > CACHED) compared.clear();
      const [written, heard] = writtenHeard(textOf(row), list.heard[row]);
      compared.set(row, { text: textOf(row), written, heard });
    }
    const { written, heard } = compared.get(row);
    return [written.cloneNode(true), heard.cloneNode(true)];
  };
  const cell = (style, ...children) => { const node = document.createElement('div'); node.className = style; node.setAttribute('role', 'gridcell'); node.append(...children); return node; };
  const act = (name, label, sign) => { const node = document.createElement('button'); Object.assign(node, { type: 'button', tabIndex: -1, textContent: sign, title: label }); node.setAttribute('aria-label', label); node.dataset.act = name; return node; };
  const state = (row) => { const decision = book.get(list.id[row]); return decision ? (decision.kind === 'r' ? 'rejected by you' : decision.text === undefined ? 'accepted' : 'edited') : ''; };
  const build = (at) => {
    const row = view[at], node = document.createElement('div'), [written, heard] = compare(row), kept = reasonOf(row) === 'kept';
    node.className = 'row'; node.id = `row-${at}`; node.dataset.at = at;
    node.setAttribute('role', 'row'); node.setAttribute('aria-rowindex', at + 1);
    node.style.top = `${at * ROW}px`;
    const sure = cell('sure', list.probability[row] === null ? '–' : list.probability[row].toFixed(3));
    const where = list.id[row] ? `${recordingOf(row)} ${clock(list.start[row])}` : `${documentOf(row)}, page ${list.page[row]}`;
    const head = document.createElement('div'), tag = document.createElement('span'), decided = document.createElement('span');
    head.className = 'row-head'; tag.className = `tag ${kept ? 'is-kept' : 'is-rejected'}`; tag.textContent = words(reasonOf(row)); decided.className = 'decided';
    head.append(where, tag, decided);
    const one = document.createElement('div'), other = document.createElement('div');
    one.className = 'written'; one.dir = 'auto'; one.append(written); other.className = 'heard'; other.dir = 'auto'; other.append(heard);
    const buttons = list.id[row] ? [act('play', 'Play', '▶'), act('accept', 'Accept', '✓'), act('reject', 'Reject', '✕')] : [];
    node.append(sure, cell('body', head, one, other), cell('row-acts', ...buttons));
    return node;
  };
  const paintRow = (node, at) => {
    const row = view[at], decision = book.get(list.id[row]);
    node.classList.toggle('on', at === current);
    node.setAttribute('aria-selected', String(at === current));
    node.dataset.decision = decision ? decision.kind : '';
    node.querySelector('.decided').textContent = state(row);
    if (node.dataset.text !== undefined && node.dataset.text !== textOf(row)) node.querySelector('.written').replaceChildren(compare(row)[0]);
    node.dataset.text = textOf(row);
  };
  const draw = () => {
    const first = Math.max(0, Math.floor(box.scrollTop / ROW) - EXTRA), last = Math.min(view.length, Math.ceil((box.scrollTop + box.clientHeight) / ROW) + EXTRA);
    for (const [at, node] of made) if (at < first || at >= last) { node.remove(); made.delete(at); }
    for (let at = first; at < last; at += 1) {
      if (!made.has(at)) { const node = build(at); made.set(at, node); whole.append(node); }
      paintRow(made.get(at), at);
    }
    if (current >= 0 && made.has(current)) box.setAttribute('aria-activedescendant', `row-${current}`); else box.removeAttribute('aria-activedescendant');
    showDetail();
  };
  const showDetail = () => {
    const row = view[current];
    detail.classList.toggle('empty', row === undefined);
    if (row === undefined) return;
    const [written, heard] = compare(row), decision = state(row), found = Boolean(list.id[row]);
    const at = found ? `${recordingOf(row)} ${clock(list.start[row])}–${clock(list.start[row] + list.seconds[row])} · ` : '';
    detail.querySelector('.place').textContent = `${at}${documentOf(row)}, page ${list.page[row]}`;
    const sure = list.probability[row] === null ? '' : `probability ${list.probability[row].toFixed(3)} · similarity ${list.similarity[row].toFixed(2)} · ${list.seconds[row].toFixed(1)} s`;
    detail.querySelector('.facts').textContent = sure;
    detail.querySelector('.measured').textContent = ranges.filter(({ values }) => values[row] !== null).map(({ label, values }) => `${label} ${values[row].toLocaleString('en')}`).join(' · ');
    detail.querySelector('.written').replaceChildren(written);
    detail.querySelector('.heard').replaceChildren(list.heard[row] ? heard : found ? 'nothing' : 'no place in the audio was found');
    detail.querySelector('.heard').classList.toggle('none', !list.heard[row]);
    const reason = reasonOf(row), meaning = facts.meanings[reason];
    detail.querySelector('.why').textContent = `${reason === 'kept' ? 'Kept by the miner.' : `Rejected: ${words(reason)}. ${meaning || ''}`}${decision ? ` ${decision[0].toUpperCase()}${decision.slice(1)}${decision.endsWith('you') ? '' : ' by you'}.` : ''}`;
    for (const button of detail.querySelectorAll('.act')) {
      const name = button.dataset.act;
      button.disabled = !found || (name === 'undo' && !decision) || (['play', 'around'].includes(name) && !source(row, false));
      button.setAttribute('aria-pressed', String((name === 'accept' && ['accepted', 'edited'].includes(decision)) || (name === 'reject' && decision === 'rejected by you')));
    }
  };
  const choose = (at, listen = false) => {
    if (at !== current) closeEdit();
    current = at;
    if (at >= 0) {
      const top = at * ROW;
      if (top < box.scrollTop) box.scrollTop = top;
      else if (top + ROW > box.scrollTop + box.clientHeight) box.scrollTop = top + ROW - box.clientHeight;
    }
    draw();
    if (listen && at >= 0 && find('#autoplay').checked) hear(false, true);
  };

  // ---- listening
  const source = (row, around) => {
    const file = list.files[list.recording[row]], clip = list.clip[row];
    if (clip && !around) return { clip, begin: 0, end: list.seconds[row] };
    if (!file || !list.id[row]) return clip ? { clip, begin: 0, end: list.seconds[row] } : null;
    const wide = around ? AROUND_SECONDS : 0;
    return { file: file.split('/').map(encodeURIComponent).join('/'), begin: Math.max(0, list.start[row] - wide), end: list.start[row] + list.seconds[row] + wide };
  };
  const hear = (around, again) => {
    const from = view[current] === undefined ? null : source(view[current], around);
    if (!from) return;
    const same = detail.dataset.heard === `${view[current]} ${around}`;
    Object.assign(detail.dataset, { clip: from.clip || '', file: from.file || '', begin: from.begin, seconds: from.end - from.begin, heard: `${view[current]} ${around}` });
    if (same && !again) player.toggle(detail); else player.play(detail, 0);
  };
  detail.addEventListener('unplayable', () => { detail.querySelector('.why').textContent = `${decodeURIComponent(detail.dataset.file)} cannot be played: it belongs beside this page.`; });

  // ---- deciding
  const decide = (kind, on) => {
    const row = view[current], id = list.id[row];
    if (!id) return;
    if (kind === null) book.clear(id); else book.set(id, kind, kind === 'a' ? book.get(id)?.text : undefined);
    draw();
    tally();
    if (on && current < view.length - 1) choose(current + 1, true);
  };
  const openEdit = () => {
    const row = view[current];
    if (row === undefined || !list.id[row]) return;
    form.hidden = false;
    field.value = textOf(row);
    form.querySelector('.complaint').textContent = '';
    field.focus();
  };
  const closeEdit = () => { if (!form.hidden) { form.hidden = true; box.focus({ preventScroll: true }); } };
  const save = () => {
    const row = view[current], text = field.value.replace(/\p{Cc}/gu, ' ').replace(/\s+/gu, ' ').trim();
    if (!/[\p{L}\p{N}]/u.test(text)) { form.querySelector('.complaint').textContent = 'Write something that can be said, or reject the sentence.'; return; }
    book.set(list.id[row], 'a', text === list.text[row] ? undefined : text);
    closeEdit();
    draw();
    tally();
  };
  form.addEventListener('submit', (event) => { event.preventDefault(); save(); });
  form.querySelector('.cancel').addEventListener('click', closeEdit);
  field.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && !event.isComposing) { event.preventDefault(); save(); }
    if (event.key === 'Escape') closeEdit();
  });
  const acts = {
    play: () => hear(false), around: () => hear(true, true), accept: (on) => decide('a', on), reject: (on) => decide('r', on), undo: () => decide(null, false), edit: openEdit,
  };
  detail.addEventListener('click', (event) => { const name = event.target.closest('.act')?.dataset.act; if (name) acts[name](false); });
  box.addEventListener('click', (event) => {
    const node = event.target.closest('.row'), name = event.target.closest('button')?.dataset.act;
    if (!node) return;
    choose(Number(node.dataset.at), !name);
    box.focus({ preventScroll: true });
    if (name) acts[name](false);
  });
  const page = () => Math.max(1, Math.floor(box.clientHeight / ROW) - 1);
  const step = (by) => { if (view.length) choose(Math.max(0, Math.min(view.length - 1, current + by)), true); };
  const nextOpen = () => { for (let at = current + 1; at < view.length; at += 1) if (list.id[view[at]] && !book.get(list.id[view[at]])) { choose(at, true); return; } };
  const keys = {
    j: () => step(1), ArrowDown: () => step(1), k: () => step(-1), ArrowUp: () => step(-1), PageDown: () => step(page()), PageUp: () => step(-page()),
    Home: () => step(-total), End: () => step(total), n: nextOpen, ' ': acts.play, p: acts.around, a: () => acts.accept(true), r: () => acts.reject(true),
    e: acts.edit, u: acts.undo, '/': () => { filters.find.focus(); filters.find.select(); }, x: () => saveFile(), '?': () => find('#keys').showModal(),
  };
  box.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });

  // ---- counting and handing over
  const saveFile = () => {
    if (!book.size) return;
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([book.file(list.id)], { type: 'application/json' }));
    link.download = fileName;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  };
  const fileName = `decisions-${facts.run.slice(0, 8) || 'run'}.json`;
  const tally = () => {
    const { accepted, rejected, edited } = book.counts();
    let sentences = 0, seconds = 0;
    for (let row = 0; row < total; row += 1) {
      const decision = list.id[row] ? book.get(list.id[row]) : undefined;
      if (decision ? decision.kind === 'a' : reasonOf(row) === 'kept') { sentences += 1; seconds += list.seconds[row]; }
    }
    const count = (value) => value.toLocaleString('en');
    const made = book.size ? `${count(accepted)} accepted (${count(edited)} with an edited text), ${count(rejected)} rejected. With them` : 'None yet. Without any,';
    find('#tally').textContent = `${made} the set has ${count(sentences)} sentences, ${amount(seconds)}.`;
    find('#trouble').textContent = book.trouble;
    find('#export').disabled = find('#forget').disabled = !book.size;
  };
  find('#export').addEventListener('click', saveFile);
  find('#load').addEventListener('click', () => find('#load-file').click());
  find('#load-file').addEventListener('change', async (event) => {
    const [file] = event.target.files;
    if (!file) return;
    const answer = book.load(await file.text());
    event.target.value = '';
    find('#trouble').textContent = typeof answer === 'string' ? answer : `${answer.toLocaleString('en')} decisions were loaded.`;
  });
  find('#forget').addEventListener('click', () => { if (confirm(`Forget all ${book.size} decisions?`)) { for (const id of list.id) book.clear(id); tally(); draw(); } });
  find('#apply').textContent = `${facts.command} --decisions ${fileName}`;
  find('#keys-help').addEventListener('click', () => find('#keys').showModal());

  let typing = null;
  filters.find.addEventListener('input', () => { clearTimeout(typing); typing = setTimeout(filter, 80, true); });
  filters.find.addEventListener('keydown', (event) => { if (event.key === 'Escape' || event.key === 'Enter') { clearTimeout(typing); filter(); box.focus(); } });
  for (const input of [filters.reason, filters.place, filters.least, filters.most, ...bounds]) input.addEventListener('change', () => filter());
  filters.order.addEventListener('change', () => filter(false));
  const show = (reason, least, most) => {
    for (const input of [filters.find, filters.place, ...bounds]) input.value = '';
    filters.reason.value = reason ? `reason ${reason}` : ''; filters.least.value = least ?? ''; filters.most.value = most ?? '';
    filter();
  };
  find('#reset').addEventListener('click', () => show('', null, null));
  box.addEventListener('scroll', () => requestAnimationFrame(draw), { passive: true });
  addEventListener('resize', () => requestAnimationFrame(draw));
  player.seekable(detail);
  find('#curation').hidden = false;
  thresholdSlider(find('.slider-card'), list, facts.threshold ?? 2, show);
  filter();
  tally();
};
{
  const block = document.getElementById('sentences');
  const unpack = async (text) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))).json();
  };
  const facts = () => JSON.parse(document.getElementById('curation-facts').textContent);
  if (block && 'DecompressionStream' in window) unpack(block.textContent).then((list) => sentenceList(list, facts()));
  else if (block) document.getElementById('too-old').hidden = false;
}
