"use strict";

// Theme: the system's until the reader chooses.
const root = document.documentElement;
const themeButton = document.getElementById("theme");
const systemDark = matchMedia("(prefers-color-scheme: dark)");

function isDark() {
  return root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches;
}

function showTheme() {
  themeButton.setAttribute("aria-pressed", String(isDark()));
}

themeButton.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  showTheme();
  try {
    localStorage.setItem("theme", root.dataset.theme);
  } catch {
    // A page from disk may not be allowed to remember.
  }
});
systemDark.addEventListener("change", showTheme);
try {
  const chosen = localStorage.getItem("theme");
  if (chosen === "dark" || chosen === "light") root.dataset.theme = chosen;
} catch {
  // The same.
}
showTheme();

// The table of all numbers.
const table = document.getElementById("table");

function compare(a, b) {
  const [x, y] = [Number(a), Number(b)];
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
}

function sortBy(heading) {
  const place = [...heading.parentElement.children].indexOf(heading);
  const order = heading.getAttribute("aria-sort");
  const numeric = heading.classList.contains("number");
  const descending = order ? order === "ascending" : numeric; // the largest number is looked for first
  for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const value = (row) => row.children[place].dataset.value;
  const rows = [...table.tBodies[0].rows].sort((first, second) => {
    const [a, b] = [value(first), value(second)];
    if (a === "" || b === "") return (a === "") - (b === ""); // what is missing comes last either way
    return descending ? compare(b, a) : compare(a, b);
  });
  table.tBodies[0].append(...rows);
}

function filterRows() {
  const form = document.getElementById("filter");
  const wanted = new FormData(form);
  const text = wanted.get("text").trim().toLowerCase();
  let shown = 0;
  for (const row of table.tBodies[0].rows) {
    const chosen = ["task", "shift", "policy"].every((name) => !wanted.get(name) || row.dataset[name] === wanted.get(name));
    row.hidden = !(chosen && row.textContent.toLowerCase().includes(text));
    shown += row.hidden ? 0 : 1;
  }
  document.getElementById("shown").textContent = `${shown} of ${table.tBodies[0].rows.length} rows`;
}

if (table) {
  for (const button of table.querySelectorAll("thead button")) {
    button.addEventListener("click", () => sortBy(button.closest("th")));
  }
  document.getElementById("filter").addEventListener("input", filterRows);
  document.getElementById("filter").addEventListener("submit", (event) => event.preventDefault());
  filterRows(); // a browser may bring back what was filled in before
}

// Films: all videos of a player in step, curves that follow.
const SLACK = 0.04; // seconds that two videos may be apart

// One that cannot be shown must not hold up the other.
function isReady(video) {
  return video.readyState >= 3 || video.error || new Promise((ready) => {
    for (const name of ["canplay", "error"]) video.addEventListener(name, ready, { once: true });
  });
}

class Player {
  constructor(element) {
    this.videos = [...element.querySelectorAll("video")];
    this.button = element.querySelector(".play");
    this.range = element.querySelector("input[type=range]");
    this.clock = element.querySelector(".clock");
    this.curves = [...element.querySelectorAll("svg")];
    this.decisions = Number(element.dataset.decisions);
    this.returns = [...element.querySelectorAll(".now")];
    this.playing = false;
    this.range.value = 0;
    this.button.addEventListener("click", () => this.toggle());
    this.range.addEventListener("input", () => this.seek(Number(this.range.value)));
    element.addEventListener("keydown", (event) => this.onKey(event));
    for (const video of this.videos) {
      video.addEventListener("click", () => this.toggle());
      video.addEventListener("loadedmetadata", () => this.align(true));
    }
    for (const curve of this.curves) {
      curve.addEventListener("pointerdown", (event) => this.seekTo(curve, event));
      curve.addEventListener("pointermove", (event) => event.buttons && this.seekTo(curve, event));
    }
  }

  get last() {
    return Math.max(this.decisions - 1, 1);
  }

  // The video that runs longest leads; an episode that ended earlier stays on its last picture.
  get leader() {
    return this.videos.reduce((a, b) => ((b.duration || 0) > (a.duration || 0) ? b : a));
  }

  attach() {
    for (const video of this.videos) {
      if (video.src) continue;
      const bytes = Uint8Array.from(atob(document.getElementById(`video-${video.dataset.video}`).textContent), (c) => c.charCodeAt(0));
      video.src = URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
    }
  }

  detach() {
    this.pause();
    for (const video of this.videos) {
      if (!video.src) continue;
      URL.revokeObjectURL(video.src);
      video.removeAttribute("src");
      video.load();
    }
  }

  toggle() {
    if (!this.videos.length) return;
    if (this.playing) this.pause();
    else this.play();
  }

  async play() {
    this.attach();
    if (Number(this.range.value) >= this.last) this.show(0);
    this.playing = true;
    this.button.textContent = "Pause";
    await Promise.all(this.videos.map(isReady));
    if (!this.playing) return;
    this.align(true);
    const going = this.videos.filter((video) => this.time < video.duration);
    if (!going.length) this.pause();
    await Promise.all(going.map((video) => video.play())).catch(() => this.pause());
    requestAnimationFrame(() => this.follow());
  }

  pause() {
    this.playing = false;
    this.button.textContent = "Play";
    for (const video of this.videos) video.pause();
  }

  follow() {
    if (!this.playing) return;
    const { leader } = this;
    this.show((leader.currentTime / (leader.duration || 1)) * this.last);
    this.align(false);
    if (leader.ended || !leader.duration) this.pause();
    else requestAnimationFrame(() => this.follow());
  }

  get time() {
    const duration = this.leader.duration || 0;
    return (this.position / this.last) * duration;
  }

  // Bring every video to the position; while playing only those that are too far from the leader.
  align(all) {
    const leader = this.videos.length ? this.leader : null;
    for (const video of this.videos) {
      if (!video.duration) continue;
      const time = Math.min(all ? this.time : leader.currentTime, video.duration);
      const off = Math.abs(video.currentTime - time);
      if (all ? off > 0.001 : video !== leader && off > SLACK && !video.seeking) video.currentTime = time;
    }
  }

  seek(decision) {
    this.show(Math.min(Math.max(decision, 0), this.last));
    this.align(true);
  }

  seekTo(curve, event) {
    const box = curve.getBoundingClientRect();
    this.seek(((event.clientX - box.left) / box.width) * this.last);
  }

  get position() {
    return this.shown ?? 0;
  }

  show(decision) {
    this.shown = decision;
    this.range.value = Math.round(decision);
    this.clock.textContent = `${Math.round(decision) + 1} / ${this.decisions}`;
    this.range.setAttribute("aria-valuetext", `decision ${Math.round(decision) + 1} of ${this.decisions}`);
    const share = decision / this.last;
    for (const curve of this.curves) {
      const x = share * curve.viewBox.baseVal.width;
      const cursor = curve.querySelector(".cursor");
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
    }
    for (const text of this.returns) text.textContent = this.returnSoFar(text.dataset.arm, share);
  }

  returnSoFar(arm, share) {
    const curve = this.curves[0];
    const line = curve && [...curve.querySelectorAll("polyline")].find((each) => each.dataset.arm === arm);
    if (!line) return "";
    const { width, height } = curve.viewBox.baseVal;
    const points = line.points;
    let place = 0;
    while (place < points.numberOfItems - 1 && points.getItem(place + 1).x <= share * width) place += 1;
    return (Number(curve.dataset.largest) * (1 - points.getItem(place).y / height)).toFixed(0);
  }

  onKey(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1 };
    if (event.key === " " && event.target !== this.button) this.toggle();
    else if (event.key in steps && event.target !== this.range) this.seek(this.position + steps[event.key]);
    else return;
    event.preventDefault();
  }
}

// Videos are decoded only near the window: a long page stays quick.
const players = new Map([...document.querySelectorAll(".player")].map((element) => [element, new Player(element)]));
const near = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      const player = players.get(entry.target);
      if (entry.isIntersecting) player.attach();
      else player.detach();
    }
  },
  { rootMargin: "600px 0px" },
);
for (const element of players.keys()) near.observe(element);

// A link to a cell opens it.
function openTarget() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.scrollIntoView({ block: "center" });
    target.querySelector("summary").focus({ preventScroll: true });
  }
}

addEventListener("hashchange", openTarget);
openTarget();
