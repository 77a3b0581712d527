{
  const tip = document.getElementById('tip'), now = document.getElementById('now'), spoken = document.getElementById('spoken');
  const svgName = 'http://www.w3.org/2000/svg';
  const clock = (seconds) => {
    const whole = Math.max(0, seconds), hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
    const rest = (whole % 60).toFixed(whole < 600 ? 1 : 0).padStart(whole < 600 ? 4 : 2, '0');
    return hours ? `${hours}:${String(minutes).padStart(2, '0')}:${rest}` : `${minutes}:${rest}`;
  };
  const step = (span, count) => {
    const power = 10 ** Math.floor(Math.log10(span / count));
    return [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= span / count);
  };
  const timeStep = (span) => [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200].find((size) => span / size <= 8) || 14400;

  if (now) {
    now.querySelector('.close').addEventListener('click', () => { player.stop(); now.hidden = true; });
    player.seekable(now);
  }
  const listen = (entry) => {
    if (!entry || !player.has(entry.clip)) return;
    now.hidden = false;
    now.dataset.clip = entry.clip;
    now.dataset.seconds = entry.end - entry.start;
    const words = now.querySelector('.words');
    words.replaceChildren();
    for (const [word, start, end] of entry.words) {
      const span = document.createElement('span');
      span.textContent = word; span.dataset.s = start; span.dataset.e = end;
      words.append(span, ' ');
    }
    player.play(now, 0);
  };

  const start = (figure) => {
    const view = JSON.parse(document.getElementById(figure.dataset.view).textContent);
    const canvas = figure.querySelector('.canvas'), cursor = canvas.querySelector('.cursor');
    const ribbon = figure.querySelector('.audio-ribbon'), pages = figure.querySelector('.document-ribbon');
    const overview = figure.querySelector('.overview'), brush = overview.querySelector('.window');
    const xAxis = figure.querySelector('.x-axis'), yAxis = figure.querySelector('.y-axis');
    const lines = [...canvas.querySelectorAll('.sentence')];
    let left = 0, right = view.seconds, low = 0, high = view.characters, chosen = -1;
    const smallest = Math.min(view.seconds, 8);

    const fitHeight = () => {
      let least = Infinity, most = -Infinity;
      const touch = (character) => { least = Math.min(least, character); most = Math.max(most, character); };
      for (let i = 0; i < view.path.length; i += 1) {
        const [character, second] = view.path[i];
        if (second >= left && second <= right) touch(character);
        const before = view.path[i - 1];
        if (before) for (const edge of [left, right]) {
          if (before[1] < edge && second > edge) touch(before[0] + (character - before[0]) * (edge - before[1]) / (second - before[1]));
        }
      }
      for (const entry of view.sentences) if (entry.end > left && entry.start < right) { touch(entry.from); touch(entry.to); }
      if (least > most) { least = 0; most = view.characters; }
      const whole = right - left >= view.seconds * 0.999, room = Math.max(20, (most - least) * 0.06);
      low = whole ? 0 : Math.max(0, least - room);
      high = whole ? view.characters : Math.min(view.characters, most + room);
    };
    const label = (axis, place, text, vertical) => {
      const node = document.createElementNS(svgName, 'text');
      if (vertical) { node.setAttribute('x', '100%'); node.setAttribute('dx', '-4'); node.setAttribute('y', `${place}%`); node.setAttribute('dy', '0.35em'); } else {
        node.setAttribute('x', `${place}%`); node.setAttribute('y', '15');
        node.setAttribute('text-anchor', place < 1.5 ? 'start' : place > 98.5 ? 'end' : 'middle');
      }
      node.textContent = text;
      axis.append(node);
    };
    const draw = () => {
      fitHeight();
      const width = right - left, height = high - low;
      canvas.setAttribute('viewBox', `${left} ${low} ${width} ${height}`);
      ribbon.setAttribute('viewBox', `${left} 0 ${width} 1`);
      pages.setAttribute('viewBox', `0 ${low} 1 ${height}`);
      brush.setAttribute('x', left); brush.setAttribute('width', width);
      brush.classList.toggle('idle', width >= view.seconds * 0.999);
      xAxis.replaceChildren(); yAxis.replaceChildren();
      const every = timeStep(width), each = step(height, 5);
      for (let tick = Math.ceil(left / every - 1e-9) * every; tick <= right + 1e-9; tick += every) {
        label(xAxis, 100 * (tick - left) / width, every < 1 ? clock(tick) : clock(Math.round(tick)).replace(/\.0$/, ''), false);
      }
      for (let tick = Math.ceil(low / each - 1e-9) * each; tick <= high + 1e-9; tick += each) {
        label(yAxis, 100 * (tick - low) / height, tick >= 10000 ? `${+(tick / 1000).toFixed(1)}k` : String(tick), true);
      }
    };
    const move = (from, width) => {
      width = Math.max(smallest, Math.min(view.seconds, width));
      left = Math.max(0, Math.min(view.seconds - width, from));
      right = left + width;
      draw();
    };
    const zoom = (factor, at) => {
      const centre = at === undefined ? (left + right) / 2 : at, width = Math.max(smallest, Math.min(view.seconds, (right - left) * factor));
      move(centre - (centre - left) * width / (right - left), width);
    };
    const secondAt = (event) => {
      const box = canvas.getBoundingClientRect();
      return left + (right - left) * (event.clientX - box.left) / box.width;
    };
    const nearest = (second) => {
      let best = -1, distance = (right - left) * 0.012;
      view.sentences.forEach((entry, index) => {
        const away = second < entry.start ? entry.start - second : second > entry.end ? second - entry.end : 0;
        if (away < distance || (away === 0 && best < 0)) { best = index; distance = away; }
      });
      return best;
    };
    const choose = (index, x, y) => {
      if (chosen >= 0 && lines[chosen]) lines[chosen].classList.remove('on');
      chosen = index;
      if (index < 0) { cursor.setAttribute('width', 0); tip.hidden = true; return; }
      const entry = view.sentences[index];
      if (lines[index]) lines[index].classList.add('on');
      cursor.setAttribute('x', entry.start); cursor.setAttribute('width', Math.max(0, entry.end - entry.start));
      cursor.setAttribute('y', 0); cursor.setAttribute('height', view.characters);
      say(entry.text, entry.note + (player.has(entry.clip) ? ' · click or Enter to listen' : ''), x, y);
    };
    const say = (text, note, x, y) => {
      tip.replaceChildren();
      const first = document.createElement('div'), second = document.createElement('div');
      first.textContent = text; second.textContent = note; second.className = 'tip-note';
      tip.append(first, second);
      tip.hidden = false;
      const box = tip.getBoundingClientRect();
      tip.style.left = `${Math.max(12, Math.min(innerWidth - box.width - 12, x - box.width / 2))}px`;
      tip.style.top = `${y - box.height - 18 > 8 ? y - box.height - 18 : y + 24}px`;
    };
    const hover = (event) => {
      const second = secondAt(event), index = nearest(second);
      if (index >= 0) { choose(index, event.clientX, event.clientY); return; }
      choose(-1);
      const gap = view.gaps.find((each) => each.start <= second && second <= each.end && each.end - each.start > 0);
      if (gap) { say(gap.title, gap.note, event.clientX, event.clientY); return; }
      const box = canvas.getBoundingClientRect(), character = low + (high - low) * (event.clientY - box.top) / box.height;
      const unread = view.unread.find((each) => each.from <= character && character < each.to);
      if (unread) say(unread.text, unread.note, event.clientX, event.clientY);
    };

    let grip = null;
    canvas.addEventListener('pointerdown', (event) => { grip = { x: event.clientX, left, width: right - left, moved: false }; });
    canvas.addEventListener('pointermove', (event) => {
      if (grip && event.buttons) {
        const by = (event.clientX - grip.x) / canvas.getBoundingClientRect().width * grip.width;
        if (Math.abs(event.clientX - grip.x) > 4 && !grip.moved) { grip.moved = true; canvas.setPointerCapture(event.pointerId); canvas.classList.add('dragging'); choose(-1); }
        if (grip.moved) move(grip.left - by, grip.width);
      } else hover(event);
    });
    const release = (event) => {
      if (grip && !grip.moved && event.type === 'pointerup') { const index = nearest(secondAt(event)); if (index >= 0) { choose(index, event.clientX, event.clientY); listen(view.sentences[index]); } }
      grip = null; canvas.classList.remove('dragging');
    };
    canvas.addEventListener('pointerup', release);
    canvas.addEventListener('pointercancel', release);
    canvas.addEventListener('pointerleave', () => choose(-1));
    canvas.addEventListener('blur', () => choose(-1));
    canvas.addEventListener('wheel', (event) => {
      if (event.ctrlKey || event.metaKey) { zoom(Math.exp(event.deltaY * 0.004), secondAt(event)); event.preventDefault(); }
    }, { passive: false });
    canvas.addEventListener('keydown', (event) => {
      const width = right - left;
      const byKey = { '+': () => zoom(0.6), '=': () => zoom(0.6), '-': () => zoom(1 / 0.6), 0: () => move(0, view.seconds), PageDown: () => move(left + width * 0.5, width), PageUp: () => move(left - width * 0.5, width) };
      const walk = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key in byKey) byKey[event.key]();
      else if (walk && view.sentences.length) {
        const next = Math.max(0, Math.min(view.sentences.length - 1, chosen < 0 ? (walk > 0 ? 0 : view.sentences.length - 1) : chosen + walk));
        const entry = view.sentences[next];
        if (entry.start < left || entry.end > right) move(entry.start - width * 0.2, width);
        const box = canvas.getBoundingClientRect();
        choose(next, box.left + box.width * ((entry.start + entry.end) / 2 - left) / (right - left), box.top + box.height * ((entry.from + entry.to) / 2 - low) / (high - low));
        spoken.textContent = `${entry.text} ${entry.note}`;
      } else if (event.key === 'Enter' && chosen >= 0) listen(view.sentences[chosen]);
      else if (event.key === 'Escape') choose(-1);
      else return;
      event.preventDefault();
    });

    const place = (event) => { const box = overview.getBoundingClientRect(); return view.seconds * (event.clientX - box.left) / box.width; };
    let anchor = null;
    overview.addEventListener('pointerdown', (event) => {
      overview.setPointerCapture(event.pointerId);
      const at = place(event), width = right - left;
      // On the window: move it. Outside, or while everything is shown: draw a new one.
      anchor = width < view.seconds * 0.98 && at >= left && at <= right ? { move: at - left, width } : { draw: at };
    });
    overview.addEventListener('pointermove', (event) => {
      if (!anchor || !event.buttons) return;
      const at = Math.max(0, Math.min(view.seconds, place(event)));
      if (anchor.move !== undefined) move(at - anchor.move, anchor.width);
      else if (Math.abs(at - anchor.draw) > view.seconds * 0.01) move(Math.min(at, anchor.draw), Math.abs(at - anchor.draw));
    });
    overview.addEventListener('pointerup', (event) => {
      const width = right - left;
      if (anchor && anchor.draw !== undefined && Math.abs(place(event) - anchor.draw) <= view.seconds * 0.01 && width < view.seconds) move(anchor.draw - width / 2, width);
      anchor = null;
    });
    const buttons = figure.querySelector('.zoom');
    buttons.hidden = false;
    buttons.addEventListener('click', (event) => {
      const kind = event.target.dataset.zoom;
      if (kind === 'in') zoom(0.5); else if (kind === 'out') zoom(2); else if (kind === 'all') move(0, view.seconds);
    });
    draw();
  };

  const figures = [...document.querySelectorAll('.alignment')], select = document.getElementById('alignment-choice');
  const started = new Set();
  const open = (index) => {
    figures.forEach((figure, other) => { figure.hidden = other !== index; });
    if (!started.has(index)) { started.add(index); start(figures[index]); }
  };
  if (figures.length) {
    const from = Number((location.hash.match(/^#alignment-(\d+)$/) || [])[1] || 1) - 1;
    open(Math.min(figures.length - 1, Math.max(0, from)));
    if (select) {
      select.closest('label').hidden = false;
      select.selectedIndex = Math.min(figures.length - 1, Math.max(0, from));
      select.addEventListener('change', () => open(select.selectedIndex));
    }
  }
}
