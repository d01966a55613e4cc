"use strict";
// Everything shown comes from the JSON above and is set as text, never as markup: labels are words of a model.
(() => {
  const videos = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const player = $("video");
  const NARROW = 44; // px: below it no words fit onto a bar
  const LANE = 1.95, TRUTH = 0.5, PAD = 0.35; // rem: a lane of segments, a lane of true ones, above and below them
  const TICKS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600]; // s, as in the drawn timelines

  let shown = 0; // index of the video
  let now = 0; // s of the video; kept apart from the player, which may not be able to play it
  let shift = 0; // s: the player's time of the first frame, which is 0 for us
  let playable = false;
  let zoom = 1;
  let chosen = null; // the segment that was gone to last
  let bars = new Map(); // segment -> its elements

  const create = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };

  const clock = (seconds, decimals = 2) => {
    const unit = 10 ** decimals;
    const whole = Math.round(seconds * unit);
    const hours = Math.floor(whole / 3600 / unit), minutes = Math.floor(whole / 60 / unit) % 60;
    const rest = ((whole % (60 * unit)) / unit).toFixed(decimals);
    if (whole < 60 * unit) return rest;
    const padded = rest.padStart(decimals ? decimals + 3 : 2, "0");
    return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${padded}` : `${minutes}:${padded}`;
  };

  const threshold = () => Number($("score").value);
  const visible = (segment) => segment.score === null || segment.score >= threshold();
  const visibleSegments = () => videos[shown].segments.filter(visible);
  const words = (segment) => (segment.text ? `${segment.label}: ${segment.text}` : segment.label);
  const times = (segment) => `${clock(segment.start)} to ${clock(segment.end)}`;
  const judged = (segment) => [
    segment.score === null ? "" : segment.score.toFixed(2), segment.looks === "differ" ? "looks differ" : "",
  ].filter(Boolean).join(" · ");
  const inscription = ({ score, text, ...segment }) =>
    [score === null ? "" : score.toFixed(2), text].filter(Boolean).join("  ") || times(segment);
  const title = (segment) => `${times(segment)}  ${words(segment)}`
    + (segment.score === null ? "" : `  (score ${judged(segment)})`);

  // ---- time ---------------------------------------------------------------------------------------------------------

  function seek(seconds) {
    now = Math.min(Math.max(seconds, 0), videos[shown].duration);
    // The middle of a millisecond, so that rounding in the player does not show the frame before.
    if (playable) player.currentTime = now + shift + 0.0005;
    paint();
    reveal();
  }

  function step(frames) {
    const rate = videos[shown].frameRate;
    seek((Math.floor(now * rate + 0.05) + frames) / rate);
  }

  function go(segment) {
    chosen = segment;
    seek(segment.start);
    bars.get(segment).entry.scrollIntoView({ block: "nearest" });
  }

  function goToNeighbour(direction) {
    const segments = visibleSegments();
    const at = chosen && Math.abs(chosen.start - now) < 0.01 ? segments.indexOf(chosen) : -1;
    const other = at >= 0 ? segments[at + direction]
      : direction > 0 ? segments.find((segment) => segment.start > now)
        : segments.findLast((segment) => segment.start < now);
    if (other) go(other);
  }

  function togglePlay() {
    if (!playable) return;
    if (player.paused) player.play().catch(() => {}); // refused: the button still says that it does not play
    else player.pause();
  }

  function follow() {
    if (!player.seeking) now = Math.min(Math.max(player.currentTime - shift, 0), videos[shown].duration);
    paint();
    if (!player.paused) {
      reveal();
      requestAnimationFrame(follow);
    }
  }

  player.addEventListener("play", follow);
  player.addEventListener("pause", follow);
  player.addEventListener("loadedmetadata", () => {
    if (!player.videoWidth) return unplayable();
    playable = true;
    seek(now);
  });
  player.addEventListener("error", unplayable);

  function unplayable() {
    playable = false;
    $("notice").textContent = "This browser cannot play the video: the file was moved since this page was written, "
      + "or the browser does not support its format. The timeline still works.";
    $("notice").hidden = false;
    player.hidden = true;
  }

  // ---- what is on the page ------------------------------------------------------------------------------------------

  function show(index) {
    const video = videos[index];
    [shown, now, shift, chosen, playable] = [index, 0, 0, null, false];
    player.hidden = false;
    $("notice").hidden = true;
    player.src = video.source;
    if (player.requestVideoFrameCallback) {
      player.requestVideoFrameCallback((_, frame) => {
        if (shown === index && now === 0) shift = frame.mediaTime; // sound may begin before the picture
      });
    }
    $("name").textContent = video.name;
    $("facts").textContent =
      [`${clock(video.duration)} s`, video.modelVersion, video.lookedAgain].filter(Boolean).join(" · ");
    document.title = video.name;
    $("warnings").replaceChildren(...video.warnings.map((warning) => create("li", "", warning)));
    $("answer").querySelector("pre").textContent = video.answer;
    $("answer").hidden = !video.answer;
    for (const [other, button] of [...$("videos").children].entries()) {
      button.toggleAttribute("aria-current", other === index);
      if (other === index) button.scrollIntoView({ block: "nearest" });
    }
    drawLegend(video);
    setZoom(1);
    draw();
  }

  function draw() {
    bars = new Map();
    drawList();
    drawTimeline();
    paint();
    $("score-value").textContent =
      `${threshold().toFixed(2)} · ${visibleSegments().length} of ${videos[shown].segments.length}`;
  }

  function drawList() {
    const list = create("div");
    for (const segment of visibleSegments()) {
      const entry = create("button");
      entry.type = "button";
      entry.append(create("time", "", `${clock(segment.start)} – ${clock(segment.end)}`));
      entry.append(create("span", "label", segment.label));
      entry.append(create("span", "score", judged(segment)));
      if (segment.text) entry.append(create("span", "text", segment.text));
      entry.addEventListener("click", () => go(segment));
      bars.set(segment, { entry });
      list.append(entry);
    }
    if (!list.children.length) {
      list.append(create("p", "", videos[shown].segments.length ? "No segment with such a score." : "No events."));
    }
    $("list").replaceChildren(list);
  }

  function drawTimeline() {
    const { duration, truth, segments } = videos[shown];
    const rows = create("div");
    rows.id = "rows";
    const percent = (seconds) => `${(100 * seconds) / duration}%`;
    const place = (element, segment, top) => {
      element.style.left = percent(segment.start);
      element.style.width = percent(Math.min(segment.end, duration) - segment.start);
      element.style.top = `${top}rem`;
      element.title = title(segment);
    };
    rows.append(row("", "axis"));
    const labels = [...new Set([...segments, ...(truth || [])].map((segment) => segment.label))].sort();
    for (const label of labels) {
      const line = row(label);
      const track = line.lastChild;
      const above = lanes((truth || []).filter((segment) => segment.label === label));
      const below = lanes(visibleSegments().filter((segment) => segment.label === label));
      for (const [segment, lane] of above.placed) {
        const bar = create("div", "true");
        place(bar, segment, PAD + lane * TRUTH * 1.2);
        track.append(bar);
      }
      const top = PAD + (truth ? Math.max(above.count, 1) * TRUTH * 1.2 + 0.1 : 0);
      for (const [segment, lane] of below.placed) {
        const bar = create("button", "segment", inscription(segment));
        bar.type = "button";
        bar.setAttribute("aria-label", title(segment));
        place(bar, segment, top + lane * LANE);
        if (segment.score !== null) {
          bar.style.background = `color-mix(in srgb, var(--predicted) ${40 + 60 * segment.score}%, var(--paper))`;
          bar.classList.toggle("pale", segment.score < 0.75);
        }
        bar.addEventListener("click", () => go(segment));
        bars.get(segment).bar = bar;
        track.append(bar);
      }
      track.style.height = `${top + Math.max(below.count, 1) * LANE - (LANE - 1.6) + PAD}rem`;
      rows.append(line);
    }
    const playhead = create("div");
    playhead.id = "playhead";
    rows.append(playhead);
    $("timeline").replaceChildren(rows);
    fit();
  }

  function row(label, className = "") {
    const line = create("div", `row ${className}`);
    line.append(create("div", "label", label), create("div", "track"));
    return line;
  }

  // Segments of one label may overlap: each goes into the first lane that is free.
  function lanes(segments) {
    const ends = [];
    const placed = segments.map((segment) => {
      let lane = ends.findIndex((end) => end <= segment.start);
      if (lane < 0) lane = ends.length;
      ends[lane] = segment.end;
      return [segment, lane];
    });
    return { placed, count: ends.length };
  }

  // What depends on the width: the marks of the axis, and whether words fit onto a bar.
  function fit() {
    const { duration } = videos[shown];
    const axis = $("timeline").querySelector(".axis .track");
    const width = axis.clientWidth;
    const distance = TICKS.find((step) => (width * step) / duration >= 80) || TICKS.at(-1);
    const marks = [];
    for (let index = 0; index * distance <= duration + 1e-6; index++) {
      const mark = create("div", "tick");
      mark.style.left = `${(100 * index * distance) / duration}%`;
      mark.append(create("span", "", clock(index * distance, distance < 1 ? 1 : 0)));
      marks.push(mark);
    }
    axis.replaceChildren(...marks);
    for (const { bar } of bars.values()) bar.classList.toggle("narrow", bar.clientWidth < NARROW);
  }

  function drawLegend(video) {
    const parts = [];
    const key = (colour, height, text) => {
      const sample = create("i");
      sample.style.cssText = `background: var(${colour}); height: ${height}rem`;
      parts.push(sample, text);
    };
    key("--predicted", 0.8, video.segments.some((segment) => segment.score !== null)
      ? "predicted, paler where the model is less sure" : "predicted");
    if (video.truth) key("--truth", 0.5, "ground truth");
    $("legend").replaceChildren(...parts);
  }

  function paint() {
    const { duration } = videos[shown];
    $("clock").textContent = `${clock(now)} / ${clock(duration)}`;
    $("play").classList.toggle("playing", !player.paused);
    const track = $("timeline").querySelector(".axis .track");
    $("playhead").style.left = `${track.offsetLeft + (track.offsetWidth * now) / duration}px`;
    for (const [segment, { entry, bar }] of bars) {
      for (const element of [entry, bar]) {
        element.classList.toggle("now", segment.start <= now && now < segment.end);
        element.classList.toggle("chosen", segment === chosen);
      }
    }
  }

  // ---- zoom ---------------------------------------------------------------------------------------------------------

  function setZoom(factor) {
    zoom = Math.min(Math.max(factor, 1), 256);
    $("timeline").style.setProperty("--zoom", zoom);
    if (!$("playhead")) return;
    fit();
    paint();
    reveal();
  }

  // Scrolls the timeline so far that the playhead is in it.
  function reveal() {
    const pane = $("timeline"), gutter = pane.querySelector(".axis .label").offsetWidth;
    const track = pane.querySelector(".axis .track").offsetWidth;
    const place = (track * now) / videos[shown].duration - pane.scrollLeft;
    const room = pane.clientWidth - gutter;
    if (place < 0 || place > room) pane.scrollLeft += place - room / 3;
  }

  // ---- mouse and keyboard -------------------------------------------------------------------------------------------

  let dragging = false;
  const pointed = (event) => {
    const box = $("timeline").querySelector(".axis .track").getBoundingClientRect();
    return ((event.clientX - box.left) / box.width) * videos[shown].duration;
  };
  $("timeline").addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !event.target.closest(".track") || event.target.closest(".segment")) return;
    dragging = true;
    $("timeline").setPointerCapture(event.pointerId);
    seek(pointed(event));
  });
  $("timeline").addEventListener("pointermove", (event) => { if (dragging) seek(pointed(event)); });
  for (const end of ["pointerup", "pointercancel"]) $("timeline").addEventListener(end, () => { dragging = false; });

  player.addEventListener("click", togglePlay);
  $("play").addEventListener("click", togglePlay);
  $("previous").addEventListener("click", () => goToNeighbour(-1));
  $("next").addEventListener("click", () => goToNeighbour(1));
  $("help-button").addEventListener("click", () => $("help").showModal());
  $("score").addEventListener("input", draw);
  addEventListener("resize", () => { fit(); paint(); });

  const keys = {
    " ": togglePlay,
    ArrowLeft: (event) => (event.shiftKey ? seek(now - 1) : step(-1)),
    ArrowRight: (event) => (event.shiftKey ? seek(now + 1) : step(1)),
    Home: () => seek(0),
    End: () => seek(videos[shown].duration),
    n: () => goToNeighbour(1),
    p: () => goToNeighbour(-1),
    "[": () => { if (shown > 0) show(shown - 1); },
    "]": () => { if (shown + 1 < videos.length) show(shown + 1); },
    "+": () => setZoom(zoom * 2),
    "=": () => setZoom(zoom * 2),
    "-": () => setZoom(zoom / 2),
    0: () => setZoom(1),
    "?": () => $("help").showModal(),
  };
  addEventListener("keydown", (event) => {
    const action = keys[event.key];
    const sliding = event.target === $("score") && /^(Arrow|Home|End)/.test(event.key);
    if (!action || sliding || event.ctrlKey || event.altKey || event.metaKey || $("help").open) return;
    event.preventDefault(); // space would press the button that was clicked last
    action(event);
  });

  // ---- the beginning ------------------------------------------------------------------------------------------------

  $("filter").hidden = !videos.some((video) => video.segments.some((segment) => segment.score !== null));
  $("videos").hidden = videos.length < 2;
  for (const [index, video] of videos.entries()) {
    const button = create("button", "", video.name);
    const count = video.segments.length;
    button.type = "button";
    button.append(create("small", "", `${clock(video.duration)} s · ${count} segment${count === 1 ? "" : "s"}`));
    button.addEventListener("click", () => show(index));
    $("videos").append(button);
  }
  show(0);
})();
