"use strict";
const at = (id) => document.getElementById(id);
let limit = Infinity;
let asked = 0;

// Names of classes and files come from the user's data: they are only ever set as text.
function made(tag, name, text) {
  const element = document.createElement(tag);
  element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
}

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

function card(model, place, rows, shares, detail) {
  const box = made("article", place === 0 ? "card base" : "card");
  box.append(made("h3", "", model.name), made("p", "detail", detail));
  const best = shares.indexOf(Math.max(...shares));
  rows.forEach((row, i) => {
    const line = made("div", i === best ? "row first" : "row");
    const track = made("div", "track");
    const bar = made("div", "bar");
    bar.style.width = `${100 * shares[i]}%`;
    track.append(bar);
    line.append(made("span", "", row), made("b", "", percent(shares[i])), track);
    box.append(line);
  });
  return box;
}

function temperature(model) {
  return model.calibrated ? `calibrated, temperature ${model.temperature.toFixed(2)}` : "not calibrated";
}

function show(answer) {
  at("classes").replaceChildren(
    ...answer.models.map((m, i) => card(m, i, answer.classes, m.probabilities, temperature(m))));
  at("contexts").replaceChildren(
    ...answer.models.map((m, i) => card(m, i, answer.contexts.map((c) => c.replace("{}", "…")), m.contexts, "")));
  at("in-contexts").hidden = answer.contexts.length === 0;
  at("near").hidden = answer.nearest.length === 0;
  at("near-by").textContent = `By the image tower of ${answer.nearest_by}, with cosine similarities.`;
  at("nearest").replaceChildren(...answer.nearest.map((near) => {
    const item = document.createElement("li");
    const picture = document.createElement("img");
    picture.src = near.picture;
    picture.alt = near.label;
    picture.title = near.path;
    item.append(picture, made("div", "", near.label), made("div", "detail", near.similarity.toFixed(3)));
    return item;
  }));
  at("answer").hidden = false;
}

function say(text, isError = false) {
  at("status").textContent = text;
  at("status").className = isError ? "error" : "";
}

async function ask(file) {
  const mine = ++asked;
  at("answer").hidden = true;
  if (at("picture").src) URL.revokeObjectURL(at("picture").src);
  at("picture").src = URL.createObjectURL(file);
  at("picture").alt = file.name;
  at("picture").hidden = false;
  if (file.size > limit) return say(`${file.name} is larger than ${limit / 2 ** 20} MiB.`, true);
  say("Looking …");
  try {
    const response = await fetch("look", {method: "POST", body: file, headers: {"content-type": "application/octet-stream"}});
    const answer = await response.json();
    if (mine !== asked) return;
    if (!response.ok) {
      at("picture").hidden = true;
      return say(answer.error, true);
    }
    show(answer);
    say(`${file.name}: ${answer.width} × ${answer.height} pixels`);
  } catch (error) {
    if (mine === asked) say(`The server gave no answer: ${error.message}`, true);
  }
}

at("file").addEventListener("change", () => at("file").files.length && ask(at("file").files[0]));
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) ask(event.dataTransfer.files[0]);
  });
}

fetch("about").then((response) => response.json()).then((about) => {
  limit = about.max_bytes;
  at("about").textContent = `Task ${about.task}, ${about.classes} classes: ${about.models.join(", ")}`;
  at("notes").replaceChildren(...about.notes.map((note) => made("li", "", note)));
}).catch((error) => say(`The server gave no answer: ${error.message}`, true));
