const player = (() => {
  const audio = new Audio();
  const sources = new Map();
  let current = null; // the element that shows what plays

  const source = (clip) => {
    if (!sources.has(clip)) {
      const block = document.getElementById(clip);
      if (!block) return null;
      sources.set(clip, 'data:audio/mpeg;base64,' + block.textContent);
    }
    return sources.get(clip);
  };
  // Where the host's piece begins in what is loaded: a file beside the page holds a whole recording.
  const begin = (host) => (host.dataset.file ? Number(host.dataset.begin) : 0);
  const length = (host) => Number(host.dataset.seconds) || audio.duration || 0;

  const paint = () => {
    if (!current) return;
    const host = current, at = audio.currentTime - begin(host), all = length(host);
    if (host.dataset.file && at >= all && !audio.paused) { audio.pause(); finish(); return; }
    const share = all ? Math.min(1, at / all) : 0;
    const played = host.querySelector('.wave-played');
    if (played) played.style.clipPath = `inset(0 ${100 - 100 * share}% 0 0)`;
    const bar = host.querySelector('.bar div');
    if (bar) bar.style.width = `${100 * share}%`;
    const wave = host.querySelector('.wave');
    if (wave) {
      wave.setAttribute('aria-valuenow', at.toFixed(2));
      wave.setAttribute('aria-valuetext', `${at.toFixed(1)} of ${all.toFixed(1)} seconds`);
    }
    for (const word of host.querySelectorAll('.words span')) {
      const start = Number(word.dataset.s), end = Number(word.dataset.e);
      word.classList.toggle('said', at >= start);
      word.classList.toggle('now', at >= start && at < end);
    }
    if (!audio.paused) requestAnimationFrame(paint);
  };
  const reset = (host) => {
    host.classList.remove('playing');
    for (const word of host.querySelectorAll('.now, .said')) word.classList.remove('now', 'said');
  };
  const show = (host, playing) => {
    const button = host.querySelector('.play');
    if (button) button.setAttribute('aria-pressed', String(playing));
    host.classList.toggle('playing', playing);
  };

  const play = (host, at) => {
    const clip = host.dataset.file || host.dataset.clip, from = host.dataset.file || source(clip);
    if (!from) return false;
    if (current !== host || audio.dataset.clip !== clip) {
      if (current) { audio.pause(); show(current, false); reset(current); }
      current = host;
      if (audio.dataset.clip !== clip) { audio.dataset.clip = clip; audio.src = from; }
    }
    if (at !== undefined) audio.currentTime = begin(host) + at;
    else if (audio.ended || (host.dataset.file && audio.currentTime >= begin(host) + length(host) - 0.02)) audio.currentTime = begin(host);
    audio.play().then(() => { show(host, true); paint(); }, () => show(host, false));
    return true;
  };
  const toggle = (host) => {
    if (current === host && !audio.paused) { audio.pause(); show(host, false); } else play(host);
  };
  const stop = () => { audio.pause(); if (current) { show(current, false); reset(current); } };
  const finish = () => { if (current) { show(current, false); reset(current); } };
  audio.addEventListener('ended', () => { paint(); finish(); });
  // A page in the background gets no frames, and the piece must end there too.
  audio.addEventListener('timeupdate', () => { if (document.hidden) paint(); });
  audio.addEventListener('error', () => { if (current) current.dispatchEvent(new CustomEvent('unplayable')); });

  const seekable = (host) => {
    const wave = host.querySelector('.wave'), button = host.querySelector('.play');
    if (button) button.addEventListener('click', () => toggle(host));
    const spoken = host.querySelector('.words');
    if (spoken) spoken.addEventListener('click', (event) => {
      if (event.target.dataset.s !== undefined) play(host, Number(event.target.dataset.s));
    });
    if (!wave) return;
    const all = () => Number(wave.getAttribute('aria-valuemax'));
    host.dataset.seconds = all();
    const seek = (event) => {
      const box = wave.getBoundingClientRect();
      play(host, all() * Math.max(0, Math.min(0.999, (event.clientX - box.left) / box.width)));
    };
    wave.addEventListener('pointerdown', (event) => { wave.setPointerCapture(event.pointerId); seek(event); });
    wave.addEventListener('pointermove', (event) => { if (event.buttons) seek(event); });
    wave.addEventListener('keydown', (event) => {
      const now = current === host ? audio.currentTime : 0;
      const moves = { ArrowRight: now + 0.5, ArrowLeft: now - 0.5, ArrowUp: now + 0.5, ArrowDown: now - 0.5, Home: 0, End: all() - 0.5 };
      if (event.key in moves) { play(host, Math.max(0, Math.min(all() - 0.05, moves[event.key]))); event.preventDefault(); }
      if (event.key === 'Enter' || event.key === ' ') { toggle(host); event.preventDefault(); }
    });
  };
  document.querySelectorAll('.player').forEach(seekable);

  for (const list of document.querySelectorAll('.tabs')) {
    const buttons = [...list.querySelectorAll('button')];
    const choose = (button) => {
      for (const each of buttons) {
        each.setAttribute('aria-selected', String(each === button));
        each.tabIndex = each === button ? 0 : -1;
        document.getElementById(each.getAttribute('aria-controls')).hidden = each !== button;
      }
    };
    list.hidden = false;
    list.addEventListener('click', (event) => { const button = event.target.closest('button'); if (button) choose(button); });
    list.addEventListener('keydown', (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length];
      choose(next); next.focus(); event.preventDefault();
    });
    if (buttons.length) choose(buttons[0]);
  }
  return { play, toggle, stop, seekable, has: (clip) => Boolean(clip && document.getElementById(clip)) };
})();
