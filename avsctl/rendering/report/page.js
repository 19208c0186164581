"use strict";
/* The clips of the report: list, filters and player. Texts from the data only ever go in as text. */
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data-json").textContent);
  const root = document.documentElement;

  $("theme").addEventListener("change", (event) => {
    if (event.target.value) root.dataset.theme = event.target.value;
    else delete root.dataset.theme;
  });
  if (!$("viewer") || !data.clips.length) return;

  const LAYERS = [
    { id: "frame", title: "Frame", on: true, alpha: 100 },
    { id: "truth", title: "Ground truth", on: true, alpha: 60 },
    { id: "prior", title: "Stage-1 prior", on: true, alpha: 70 },
    { id: "result", title: "Result", on: true, alpha: 60 },
  ];
  const CHUNK = 60;
  const SEMANTIC = data.panels.some((panel) => !panel.sounding);
  const number = (value) => (100 * value).toFixed(1);
  const reduced = matchMedia("(max-width: 40rem)").matches;

  /** An element with properties and children; strings become text. */
  function make(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(properties)) {
      if (key in element && key !== "list") element[key] = value;
      else element.setAttribute(key, value);
    }
    element.append(...children);
    return element;
  }

  /* ---- media: beside the page, or inside it as one block for each clip ---- */
  const inside = new Map();
  function address(clip, name) {
    if (data.media) return `${data.media}${String(clip.clip).padStart(6, "0")}/${name}`;
    if (!inside.has(clip.clip)) {
      const block = $(`media-${clip.clip}`);
      // The blocks stand at the page's end; one that is not read yet is asked for again later.
      if (!block) return "";
      inside.set(clip.clip, JSON.parse(block.textContent));
    }
    return inside.get(clip.clip)[name] || "";
  }
  const has = (clip, name) => Object.prototype.hasOwnProperty.call(clip.files || {}, name);
  const soundName = (clip) => Object.keys(clip.files || {}).find((name) => name.startsWith("sound."));

  /** A strip of seconds in a window that shows one of them. */
  function strip(clip, name, alternative, second, lazy) {
    const image = make("img", { alt: alternative, draggable: false, decoding: "async" });
    image.style.width = `${100 * clip.seconds}%`;
    image.dataset.seconds = clip.seconds;
    turn(image, second);
    if (lazy) image.dataset.name = name;
    else if (address(clip, name)) image.src = address(clip, name);
    return image;
  }
  function turn(image, second) {
    image.style.transform = `translateX(${(-100 * second) / image.dataset.seconds}%)`;
  }

  /* ---- what is known of a clip ---- */
  const named = (entries) => new Set((entries || []).flatMap((second) => (second || []).map(([index]) => index)));
  const facts = data.clips.map((clip, place) => {
    const results = (clip.results || []).map(named);
    const semantic = results.filter((_, panel) => !data.panels[panel].sounding);
    const middle = Math.floor(clip.seconds / 2);
    const order = [...Array(clip.seconds).keys()].sort((a, b) => Math.abs(a - middle) - Math.abs(b - middle));
    const telling = order.find((second) => clip.truth[second] && clip.truth[second].length);
    return {
      clip, place, truth: named(clip.truth), results,
      result: new Set(semantic.flatMap((set) => [...set])),
      telling: telling === undefined ? middle : telling,
    };
  });
  const className = (index) => data.classes[index] || `class ${index}`;

  /* ---- sorting ---- */
  const sorts = data.scores.map((score) => ({
    id: score.id,
    label: data.panels.length > 1 ? `${score.name} – ${data.panels[score.panel].title}` : score.name,
    meaning: `${score.name}, of the clip alone: ${score.meaning}`,
    value: (fact) => fact.clip.scores[score.id],
    show: number,
  }));
  for (const score of data.scores.filter((one) => one.panel > 0)) {
    const other = `0:${score.name}`;
    if (!data.scores.some((one) => one.id === other)) continue;
    sorts.push({
      id: `difference:${score.id}`,
      label: `${score.name}: ${data.panels[score.panel].title} minus ${data.panels[0].title}`,
      meaning: `Difference of ${score.name} in points: worst first shows where ${data.panels[score.panel].title} falls behind`,
      value: (fact) => {
        const [mine, first] = [fact.clip.scores[score.id], fact.clip.scores[other]];
        return mine == null || first == null ? null : mine - first;
      },
      show: (value) => (value > 0 ? "+" : "") + number(value),
    });
  }
  sorts.push({
    id: "place", label: "place in the dataset", meaning: sorts.length ? "" : "The clips have no scores to sort by.",
    value: (fact) => fact.place, show: () => "",
  });

  function fill(select, options) {
    select.replaceChildren(...options.map(([value, text]) => make("option", { value, textContent: text })));
  }
  const classChoices = (of) => {
    const found = new Set(facts.flatMap((fact) => [...of(fact)]));
    const count = (index) => facts.filter((fact) => of(fact).has(index)).length;
    const sorted = [...found].sort((a, b) => className(a).localeCompare(className(b), "en"));
    return [["", "any class"], ...sorted.map((index) => [String(index), `${className(index)} (${count(index)})`])];
  };
  fill($("sort"), sorts.map((sort) => [sort.id, sort.label]));
  fill($("subset"), [["", "all"], ...[...new Set(data.clips.map((clip) => clip.subset))].map((name) => [name, name])]);
  fill($("truth"), classChoices((fact) => fact.truth));
  fill($("result"), classChoices((fact) => fact.result));
  $("result").closest("label").hidden = !SEMANTIC;

  /* ---- the list ---- */
  const thumbnails = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      const fact = facts[entry.target.dataset.place];
      for (const image of entry.target.querySelectorAll("img[data-name]")) {
        const found = address(fact.clip, image.dataset.name);
        if (!found) continue;
        image.src = found;
        delete image.dataset.name;
      }
      if (!entry.target.querySelector("img[data-name]")) thumbnails.unobserve(entry.target);
    }
  }, { rootMargin: "300px" });

  function card(fact) {
    const { clip } = fact;
    const thumb = make("span", { className: "thumb picture" }, strip(clip, "frames.jpg", "", fact.telling, true));
    const layer = (clip.results || []).findIndex((_, panel) => has(clip, `result-${panel}.png`));
    if (layer >= 0) {
      const image = strip(clip, `result-${layer}.png`, "", fact.telling, true);
      image.style.opacity = 0.65;
      thumb.append(image);
    }
    const what = [...fact.truth].map(className).join(", ") || "nothing sounds";
    const button = make("button", { type: "button", className: "card", tabIndex: -1 },
      thumb,
      make("span", { className: "name", textContent: clip.uid, title: clip.uid }),
      make("span", { className: "about", textContent: `${clip.subset} · ${what}` }),
      make("span", { className: "score" }));
    button.dataset.place = fact.place;
    thumbnails.observe(button);
    return make("li", {}, button);
  }
  const cards = new Map();
  const cardOf = (fact) => {
    if (!cards.has(fact)) cards.set(fact, card(fact));
    return cards.get(fact);
  };
  const buttonOf = (fact) => cardOf(fact).firstChild;
  let shown = []; // what fits the filters, in order
  let listed = 0; // how many of these are in the list yet
  let values = new Map();
  let sorting = sorts[0];
  let current = null;

  /** Put more of what is shown into the list: a screenful at once, the rest when the browser is idle. */
  function enlist(upTo) {
    const more = shown.slice(listed, upTo);
    for (const fact of more) {
      const value = values.get(fact);
      buttonOf(fact).querySelector(".score").textContent = value == null ? "–" : sorting.show(value);
      buttonOf(fact).setAttribute("aria-label", spoken(fact, sorting, value));
    }
    $("list").append(...more.map(cardOf));
    listed += more.length;
  }
  const idle = window.requestIdleCallback || ((call) => setTimeout(call, 60));
  function enlistRest() {
    idle(() => {
      enlist(listed + CHUNK);
      if (listed < shown.length) enlistRest();
    });
  }
  function reveal(fact) {
    enlist(shown.indexOf(fact) + 1);
    return buttonOf(fact);
  }

  function choose() {
    const sort = sorts.find((one) => one.id === $("sort").value);
    const direction = Number($("order").value);
    const text = $("named").value.trim().toLowerCase();
    const wants = (select, set) => select.value === "" || set.has(Number(select.value));
    shown = facts.filter((fact) =>
      ($("subset").value === "" || fact.clip.subset === $("subset").value) &&
      wants($("truth"), fact.truth) && wants($("result"), fact.result) &&
      (text === "" || fact.clip.uid.toLowerCase().includes(text)));
    sorting = sort;
    values = new Map(shown.map((fact) => [fact, sort.value(fact)]));
    shown.sort((a, b) => {
      const [x, y] = [values.get(a), values.get(b)];
      // What has no score comes last in either order.
      if (x == null || y == null) return (x == null) - (y == null) || a.place - b.place;
      return direction * (x - y) || a.place - b.place;
    });
    $("list").replaceChildren();
    listed = 0;
    enlist(CHUNK);
    if (listed < shown.length) enlistRest();
    $("meaning").textContent = sort.meaning;
    const all = shown.length === facts.length;
    $("count").textContent = shown.length ? `${all ? "All" : `${shown.length} of`} ${facts.length} clips shown here.`
      : "No clip fits these filters.";
    if (!shown.includes(current) && shown.length) open(shown[0]);
    mark();
  }
  function spoken(fact, sort, value) {
    const score = sort.id === "place" ? "" : `, ${sort.label} ${value == null ? "not scored" : sort.show(value)}`;
    const what = [...fact.truth].map(className).join(", ") || "nothing sounds";
    return `${fact.clip.uid}, subset ${fact.clip.subset}, ${what}${score}`;
  }
  function mark() {
    for (const button of $("list").querySelectorAll('[aria-current="true"], [tabindex="0"]')) {
      button.setAttribute("aria-current", "false");
      button.tabIndex = -1;
    }
    if (!shown.length) return;
    const entry = shown.includes(current) ? current : shown[0];
    reveal(entry).tabIndex = 0;
    if (entry === current) buttonOf(current).setAttribute("aria-current", "true");
  }
  $("list").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    open(facts[button.dataset.place]);
    if (matchMedia("(max-width: 60rem)").matches) $("player").scrollIntoView({ block: "start" });
  });
  $("list").addEventListener("keydown", (event) => {
    const at = shown.indexOf(facts[document.activeElement.dataset.place]);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: shown.length - 1 }[event.key];
    if (at < 0 || to === undefined || !shown[to]) return;
    event.preventDefault();
    buttonOf(shown[at]).tabIndex = -1;
    reveal(shown[to]).tabIndex = 0;
    buttonOf(shown[to]).focus();
  });
  $("filters").addEventListener("input", choose);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("filters").addEventListener("reset", () => setTimeout(choose));
  // A class's name or a number of the confusion matrix shows its clips.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("button[data-truth]");
    if (!link) return;
    for (const id of ["subset", "truth", "result", "named"]) $(id).value = "";
    const { truth, result } = link.dataset;
    // The background is everywhere; a class that never sounds may still be in a result.
    const found = truth === data.classes[0] || pick($("truth"), truth) || (!result && pick($("result"), truth));
    const both = !result || result === data.classes[0] || pick($("result"), result);
    choose();
    if (!found || !both) $("count").textContent = `No clip shown here has it. ${$("count").textContent}`;
    $("clips").scrollIntoView();
    $("player").focus({ preventScroll: true });
  });
  function pick(select, name) {
    const wanted = String(data.classes.indexOf(name));
    const there = [...select.options].some((option) => option.value === wanted);
    if (there) select.value = wanted;
    return there;
  }

  /* ---- the player ---- */
  const audio = $("audio");
  let second = 0;
  let playing = false;
  let started = null; // when the silent clock stood at 0; null while the sound is the clock

  function open(fact) {
    stop();
    current = fact;
    const { clip } = fact;
    second = 0;
    const sound = soundName(clip);
    audio.removeAttribute("src");
    if (sound) audio.src = address(clip, sound);
    audio.load();
    $("sound-note").textContent = sound ? "" : "This clip has no sound of its own to play.";
    $("clip-title").textContent = clip.uid;
    $("clip-note").textContent = `subset ${clip.subset}, ${clip.seconds} seconds` +
      ({ worst: ", one of the worst", best: ", one of the best" }[clip.why] || "");
    $("second").max = clip.seconds - 1;
    drawStages();
    drawTimeline();
    drawScores();
    show(0);
    mark();
  }

  function picture(clip, layers, label) {
    const box = make("div", { className: "picture" });
    box.style.aspectRatio = `${clip.width} / ${clip.height}`;
    for (const { layer, name } of layers) {
      if (!has(clip, name)) continue;
      const image = strip(clip, name, layer.id === "frame" ? label : "", second, false);
      image.dataset.layer = layer.id;
      box.append(image);
    }
    return box;
  }
  function figure(clip, layers, title, note) {
    const caption = make("figcaption", {}, make("b", { textContent: title }));
    if (note) caption.append(` ${note}`);
    const element = make("figure", {}, picture(clip, layers, `${title} of ${clip.uid}`), caption);
    element.dataset.layer = layers[layers.length - 1].layer.id;
    return element;
  }
  function drawStages() {
    const { clip } = current;
    const [frame, truth, prior, result] = LAYERS;
    const base = { layer: frame, name: "frames.jpg" };
    const ofTruth = { layer: truth, name: "truth.png" };
    const panels = data.panels.map((panel, place) => ({
      panel,
      prior: { layer: prior, name: `prior-${place}.png` },
      result: { layer: result, name: `result-${place}.png` },
      note: data.panels.length > 1 ? panel.title : "",
    }));
    const many = panels.length > 1;
    const figures = [];
    if ($("stages").dataset.view === "stack") {
      for (const one of panels) {
        figures.push(figure(clip, [base, ofTruth, one.prior, one.result], many ? one.panel.title : "All layers", ""));
        delete figures[figures.length - 1].dataset.layer;
      }
      if (!panels.length) figures.push(figure(clip, [base, ofTruth], "Frame and ground truth", ""));
    } else {
      figures.push(figure(clip, [base], "Frame", ""));
      if (has(clip, "truth.png")) figures.push(figure(clip, [base, ofTruth], "Ground truth", ""));
      for (const one of panels) {
        const from = one.panel.prior ? `(${one.panel.prior})` : "";
        if (has(clip, one.prior.name)) figures.push(figure(clip, [base, one.prior], "Stage-1 prior", `${from} ${one.note}`));
        const title = one.panel.sounding ? "What sounds" : "Semantic result";
        if (has(clip, one.result.name)) figures.push(figure(clip, [base, one.result], title, one.note));
      }
    }
    $("stages").replaceChildren(...figures);
    fade();
  }
  function fade() {
    for (const layer of LAYERS) {
      for (const image of $("stages").querySelectorAll(`img[data-layer="${layer.id}"]`)) {
        image.style.opacity = layer.on ? layer.alpha / 100 : 0;
      }
      // Side by side, a layer that is switched off needs no picture of its own.
      for (const element of $("stages").querySelectorAll(`figure[data-layer="${layer.id}"]`)) element.hidden = !layer.on;
    }
  }

  function lanes() {
    const { clip } = current;
    const truth = { name: "ground truth", seconds: clip.truth, sounding: false };
    const results = (clip.results || []).map((seconds, place) => ({
      name: data.panels.length > 1 ? data.panels[place].title : "result", seconds, sounding: data.panels[place].sounding,
    }));
    return [truth, ...results];
  }
  function drawTimeline() {
    const { clip } = current;
    const seconds = [...Array(clip.seconds).keys()];
    const all = lanes();
    const head = make("tr", {}, make("th", { scope: "col" }, make("span", { className: "hidden", textContent: "class" })),
      ...seconds.map((s) => make("th", { scope: "col", textContent: String(s + 1), "data-second": s })));
    const rows = [];
    const add = (label, colour, index, of) => {
      const key = make("span", { className: "key" });
      key.style.background = colour;
      rows.push(make("tr", {}, make("th", { scope: "row" }, key, label), ...seconds.map((s) => cell(s, index, of, colour))));
    };
    const semantic = all.filter((lane) => !lane.sounding);
    const indices = [...new Set(semantic.flatMap((lane) => [...named(lane.seconds)]))].sort((a, b) => a - b);
    for (const index of indices) add(className(index), data.colours[index] || data.sounding, index, semantic);
    for (const lane of all.filter((one) => one.sounding)) add(`sounding: ${lane.name}`, data.sounding, 1, [lane]);
    const legend = make("caption", {
      textContent: `Seconds in which a class is in the picture: ${semantic.map((lane) => lane.name).join(", then ")}.`,
    });
    $("timeline").replaceChildren(legend, make("thead", {}, head), make("tbody", {}, ...rows));
  }
  function cell(s, index, of, colour) {
    const words = [];
    const bars = of.map((lane) => {
      const entry = (lane.seconds[s] || []).find(([found]) => found === index);
      const bar = make("span", { className: "lane" });
      if (entry) {
        bar.style.background = colour;
        words.push(`${lane.name} ${number(entry[1])} %`);
      } else if (lane.seconds[s] === null) words.push(`${lane.name}: no label`);
      return bar;
    });
    const text = words.join(", ");
    return make("td", { title: text, "data-second": s }, ...bars, make("span", { className: "hidden", textContent: text || "none" }));
  }
  function drawScores() {
    const scores = current.clip.scores;
    const names = [...new Set(data.scores.map((score) => score.name))];
    if (!names.length) return $("clip-scores").replaceChildren();
    const head = make("tr", {}, make("th", { scope: "col", textContent: "score of this clip" }),
      ...data.panels.map((panel) => make("th", { scope: "col", className: "wrap", textContent: panel.title })));
    const body = names.map((name) => make("tr", {}, make("th", { scope: "row" }, make("code", { textContent: name })),
      ...data.panels.map((_, place) => {
        const value = scores[`${place}:${name}`];
        return make("td", { textContent: value == null ? "–" : number(value) });
      })));
    return $("clip-scores").replaceChildren(make("thead", {}, head), make("tbody", {}, ...body));
  }

  function show(wanted, say = false) {
    const { clip } = current;
    second = Math.max(0, Math.min(clip.seconds - 1, wanted));
    for (const image of $("stages").querySelectorAll("img")) turn(image, second);
    for (const element of $("timeline").querySelectorAll("[data-second]")) {
      element.classList.toggle("now", Number(element.dataset.second) === second);
    }
    $("second").value = second;
    $("second").setAttribute("aria-valuetext", `second ${second + 1} of ${clip.seconds}`);
    $("clock").textContent = `second ${second + 1} of ${clip.seconds}`;
    if (say) $("say").textContent = description();
  }
  function description() {
    const parts = lanes().map((lane) => {
      const entries = lane.seconds[second];
      if (!entries) return `${lane.name}: no label`;
      const names = entries.map(([index, area]) => `${lane.sounding ? "sounding" : className(index)} ${number(area)} %`);
      return `${lane.name}: ${names.join(", ") || "nothing"}`;
    });
    return `Second ${second + 1} of ${current.clip.seconds}. ${parts.join(". ")}.`;
  }

  const clock = () => (started === null ? audio.currentTime : (performance.now() - started) / 1000);
  function play() {
    const { clip } = current;
    const from = second >= clip.seconds - 1 ? 0 : second;
    playing = true;
    $("play").textContent = "Stop";
    show(from);
    started = performance.now() - 1000 * from;
    if (audio.getAttribute("src")) {
      audio.currentTime = from;
      audio.play().then(() => { if (playing) started = null; }, (error) => {
        if (error.name !== "AbortError") $("sound-note").textContent = "The sound can't be played here; the pictures go on.";
      });
    }
    requestAnimationFrame(tick);
  }
  function tick() {
    if (!playing) return;
    if (started === null && audio.ended) started = performance.now() - 1000 * audio.duration;
    const time = clock();
    if (time >= current.clip.seconds - 0.05) {
      if (!$("loop").checked) return stop();
      audio.pause();
      show(0);
      second = 0;
      return play();
    }
    if (Math.floor(time) !== second) show(Math.floor(time));
    return requestAnimationFrame(tick);
  }
  function stop() {
    playing = false;
    audio.pause();
    $("play").textContent = "Play";
  }
  function step(by) {
    stop();
    show(second + by, true);
  }
  function walk(by) {
    const to = shown[shown.indexOf(current) + by];
    if (!to) return;
    open(to);
    reveal(to).scrollIntoView({ block: "nearest" });
    $("say").textContent = spoken(to, sorts[sorts.length - 1], null);
  }
  function setView(view) {
    $("stages").dataset.view = view;
    for (const radio of document.querySelectorAll('input[name="view"]')) radio.checked = radio.value === view;
    if (current) drawStages();
  }

  $("play").addEventListener("click", () => (playing ? stop() : play()));
  $("second").addEventListener("input", (event) => { stop(); show(Number(event.target.value), true); });
  $("previous").addEventListener("click", () => walk(-1));
  $("next").addEventListener("click", () => walk(1));
  $("mute").addEventListener("change", (event) => { audio.muted = event.target.checked; });
  for (const radio of document.querySelectorAll('input[name="view"]')) {
    radio.addEventListener("change", () => setView(radio.value));
  }
  const toggles = LAYERS.map((layer) => {
    const box = make("input", { type: "checkbox", checked: layer.on, id: `layer-${layer.id}` });
    const range = make("input", { type: "range", min: 0, max: 100, step: 5, value: layer.alpha, id: `fade-${layer.id}` });
    const output = make("output", { textContent: `${layer.alpha} %` });
    range.setAttribute("aria-label", `${layer.title}: how strong`);
    box.addEventListener("change", () => { layer.on = box.checked; fade(); });
    range.addEventListener("input", () => { layer.alpha = Number(range.value); output.textContent = `${layer.alpha} %`; fade(); });
    const row = make("div", { className: "layer" }, make("label", { className: "check" }, box, layer.title), range, output);
    row.hidden = layer.id === "prior" && !data.clips.some((clip) => Object.keys(clip.files || {}).some((name) => name.startsWith("prior-"))) ||
      layer.id === "result" && !data.panels.length;
    $("layers").append(row);
    return box;
  });
  // Keys work only while the player has the focus, so that they never surprise anyone who types or reads elsewhere.
  $("player").addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const tag = event.target.tagName;
    const key = event.key;
    if ((tag === "INPUT" && event.target.type === "range" && key.startsWith("Arrow")) ||
      (key === " " && (tag === "BUTTON" || tag === "INPUT"))) return;
    const actions = {
      " ": () => $("play").click(),
      ArrowRight: () => step(1), ArrowLeft: () => step(-1),
      n: () => walk(1), p: () => walk(-1), m: () => $("mute").click(),
      v: () => setView($("stages").dataset.view === "stack" ? "tiles" : "stack"),
      1: () => toggles[0].click(), 2: () => toggles[1].click(), 3: () => toggles[2].click(), 4: () => toggles[3].click(),
    };
    if (!actions[key] || (tag === "INPUT" && event.target.type === "radio" && key.startsWith("Arrow"))) return;
    event.preventDefault();
    actions[key]();
  });

  $("filters").hidden = false;
  $("viewer").hidden = false;
  setView(reduced ? "stack" : "tiles");
  choose();
  // Embedded media stand behind this script, the worst clip's first: what is not read yet is asked for again.
  function ask(pause) {
    const rest = document.readyState === "loading";
    for (const button of $("list").querySelectorAll("button:has(img[data-name])")) {
      thumbnails.unobserve(button);
      thumbnails.observe(button);
    }
    if (!$("stages").querySelector("img[src]")) open(current);
    if (rest) setTimeout(() => ask(2 * pause), pause);
  }
  if (!data.media) ask(50);
})();
