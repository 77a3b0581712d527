// What the curator decided, by the id of the sentence: kept in this browser under the run's name, exported as JSON.
const decisionBook = (run, known, changed) => {
  const key = `speechkit-decisions:${run}`, WORDS = { a: 'accept', r: 'reject' };
  let book = new Map(), trouble = '';

  const read = (text) => {
    const found = new Map();
    try {
      for (const [id, kind, edit] of JSON.parse(text || '[]')) {
        if (known.has(id) && kind in WORDS) found.set(id, typeof edit === 'string' && kind === 'a' ? { kind, text: edit } : { kind });
      }
    } catch { /* Not written by this page: there is nothing to take from it. */ }
    return found;
  };
  const stored = () => { try { return localStorage.getItem(key); } catch { return null; } };
  let waiting = null;
  const keep = () => {
    clearTimeout(waiting);
    waiting = null;
    try {
      localStorage.setItem(key, JSON.stringify([...book].map(([id, { kind, text }]) => (text === undefined ? [id, kind] : [id, kind, text]))));
      trouble = '';
    } catch {
      trouble = 'This browser does not keep the decisions: export them before you close the page.';
    }
    changed();
  };
  const later = () => { if (waiting === null) waiting = setTimeout(keep, 150); };
  addEventListener('storage', (event) => { if (event.key === key) { book = read(event.newValue); changed(); } });
  addEventListener('pagehide', () => { if (waiting !== null) keep(); });
  book = read(stored());

  return {
    get: (id) => book.get(id),
    set: (id, kind, text) => { book.set(id, text === undefined ? { kind } : { kind, text }); later(); },
    clear: (id) => { book.delete(id); later(); },
    get size() { return book.size; },
    get trouble() { return trouble; },
    counts: () => {
      const counts = { accepted: 0, rejected: 0, edited: 0 };
      for (const { kind, text } of book.values()) { counts[kind === 'a' ? 'accepted' : 'rejected'] += 1; counts.edited += text !== undefined; }
      return counts;
    },
    // The file that `speechkit mine --decisions` reads, one decision a line, in the order of the ids given.
    file: (ids) => {
      const lines = [];
      for (const id of ids) {
        const each = book.get(id);
        if (each) lines.push(JSON.stringify({ id, decision: WORDS[each.kind], ...(each.text === undefined ? {} : { text: each.text }) }));
      }
      const head = `"format": "speechkit-decisions", "version": 1, "run": ${JSON.stringify(run)}`;
      return `{${head}, "decisions": [\n${lines.join(',\n')}\n]}\n`;
    },
    // Takes over what such a file says; the number of decisions, or a sentence about what is wrong with it.
    load: (text) => {
      let file = null;
      try { file = JSON.parse(text); } catch { return 'This is not a file of decisions.'; }
      if (!file || file.format !== 'speechkit-decisions' || !Array.isArray(file.decisions)) return 'This is not a file of decisions.';
      if (file.run !== run) return 'These decisions are of another run.';
      let taken = 0;
      for (const each of file.decisions) {
        if (!each || !known.has(each.id) || !['accept', 'reject'].includes(each.decision)) continue;
        const edited = each.decision === 'accept' && typeof each.text === 'string';
        book.set(each.id, edited ? { kind: 'a', text: each.text } : { kind: each.decision[0] });
        taken += 1;
      }
      keep();
      return taken;
    },
  };
};
