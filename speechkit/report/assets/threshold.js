// What each threshold keeps: the mean probability, seconds and number of the sentences at or above it.
const thresholdPoints = (list) => {
  const weighed = [];
  list.reason.forEach((reason, row) => {
    const name = list.reasons[reason], probability = list.probability[row];
    if (probability !== null && (name === 'kept' || name === 'low_confidence')) weighed.push([probability, list.seconds[row]]);
  });
  weighed.sort((one, other) => other[0] - one[0] || other[1] - one[1]);
  const points = [];
  let seconds = 0, mass = 0;
  weighed.forEach(([threshold, length], index) => {
    seconds += length; mass += threshold;
    const point = { threshold, seconds, sentences: index + 1, precision: mass / (index + 1) };
    if (points.length && points[points.length - 1].threshold === threshold) points[points.length - 1] = point; else points.push(point);
  });
  return points;
};
const amount = (seconds) => (seconds < 90 ? `${seconds.toFixed(0)} s` : seconds < 5400 ? `${(seconds / 60).toFixed(1)} min` : `${(seconds / 3600).toFixed(2)} h`);

const thresholdSlider = (box, list, chosen, show) => {
  const points = thresholdPoints(list), slider = box.querySelector('input'), reading = box.querySelector('output');
  const compare = box.querySelector('.compare'), back = box.querySelector('.chosen'), flag = box.querySelector('code');
  if (!points.length) { box.hidden = true; return; }
  // The last point at or above the threshold that was chosen; before the first one nothing is kept.
  let start = points.length - 1;
  while (start >= 0 && points[start].threshold < chosen) start -= 1;
  slider.max = points.length - 1;
  const draw = () => {
    const at = Number(slider.value), { threshold, seconds, sentences, precision } = points[at];
    const percent = `${(100 * precision).toFixed(1)} %`;
    reading.textContent = `${amount(seconds)}, ${sentences.toLocaleString('en')} sentences, ${percent} of them expected to be right`;
    box.querySelector('.at').textContent = threshold.toFixed(4);
    slider.setAttribute('aria-valuetext', `threshold ${threshold.toFixed(3)}: ${reading.textContent}`);
    // Rounded down, so that the sentence at the threshold is kept.
    flag.textContent = `--min-precision ${(Math.floor(precision * 1e4) / 1e4).toFixed(4)}`;
    const more = sentences - (start < 0 ? 0 : points[start].sentences);
    compare.hidden = back.hidden = more === 0;
    compare.textContent = more > 0 ? `Show the ${more.toLocaleString('en')} that this adds` : `Show the ${(-more).toLocaleString('en')} that this takes away`;
  };
  slider.value = Math.max(0, start);
  slider.addEventListener('input', draw);
  back.addEventListener('click', () => { slider.value = Math.max(0, start); draw(); slider.focus(); });
  compare.addEventListener('click', () => {
    const at = Number(slider.value);
    if (at > start) show('low_confidence', points[at].threshold, 1);
    else show('kept', points[start].threshold, points[at + 1].threshold);
  });
  draw();
};
