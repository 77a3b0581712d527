// What was heard against what was written: words that only one side has are marked.
const writtenHeard = (() => {
  // Scripts without spaces are compared letter by letter, all others word by word.
  const pieces = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]\p{M}*|[^\s\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]+|\s+/gu;
  const MOST_CELLS = 4e6;

  const tokens = (text) => (text.match(pieces) || []).map((raw) => ({
    raw, key: raw.normalize('NFKC').toLowerCase().replace(/[^\p{L}\p{N}\p{M}]/gu, ''), same: false,
  }));
  // The longest run of equal words in the same order (Hunt and McIlroy's common subsequence, by its plain table).
  const match = (left, right) => {
    const wide = right.length + 1;
    if (left.length * right.length > MOST_CELLS) return;
    const best = new Uint16Array((left.length + 1) * wide);
    for (let i = left.length - 1; i >= 0; i -= 1) for (let j = right.length - 1; j >= 0; j -= 1) {
      best[i * wide + j] = left[i].key === right[j].key ? best[(i + 1) * wide + j + 1] + 1 : Math.max(best[(i + 1) * wide + j], best[i * wide + j + 1]);
    }
    for (let i = 0, j = 0; i < left.length && j < right.length;) {
      if (left[i].key === right[j].key) { left[i].same = right[j].same = true; i += 1; j += 1; }
      else if (best[(i + 1) * wide + j] >= best[i * wide + j + 1]) i += 1; else j += 1;
    }
  };
  const nodes = (all) => {
    const made = document.createDocumentFragment();
    let run = '', marked = false;
    const flush = () => {
      if (!run) return;
      if (marked) { const mark = document.createElement('mark'); mark.textContent = run; made.append(mark); } else made.append(run);
      run = '';
    };
    for (const token of all) {
      // White space and punctuation belong to what stands around them.
      const differs = token.key ? !token.same : marked && !token.raw.trim() ? null : false;
      if (differs === null) { flush(); marked = false; run = token.raw; continue; }
      if (differs !== marked) { flush(); marked = differs; }
      run += token.raw;
    }
    flush();
    return made;
  };
  // Two fragments, of the written and of the heard text.
  return (written, heard) => {
    const left = tokens(written), right = tokens(heard);
    if (!heard) return [document.createTextNode(written), document.createTextNode('')];
    match(left.filter((token) => token.key), right.filter((token) => token.key));
    return [nodes(left), nodes(right)];
  };
})();
