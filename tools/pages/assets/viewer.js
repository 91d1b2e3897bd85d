// Shows image, truth, prediction and error of validation images over each other; a slider fades from one to the next.
//
// The element #pictures has JSON: {classes: [{names, palette}], pictures: [{classes, width, height, truth, prediction}]}.
// truth and prediction are training ids, one byte per pixel row by row, compressed by zlib, in base64. truth may be null,
// or the index of a picture with the same truth.
// An element .pane has data-picture, the index of its picture. An element .card has the slider of its panes.
"use strict";
{
  const IGNORED = 255;
  const COLORS = { ignored: [0, 0, 0], right: [233, 238, 243], wrong: [214, 39, 40], unscored: [110, 110, 110] };
  const { classes = [], pictures = [] } = JSON.parse(document.getElementById("pictures").textContent);

  async function unpacked(text) {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  function layer(picture, colorAt) {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [picture.width, picture.height];
    const pixels = new ImageData(picture.width, picture.height);
    for (let index = 0, at = 0; index < picture.width * picture.height; index++) {
      const color = colorAt(index);
      pixels.data[at++] = color[0];
      pixels.data[at++] = color[1];
      pixels.data[at++] = color[2];
      pixels.data[at++] = 255;
    }
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    return canvas;
  }

  function layers(picture, truth, prediction) {
    const { palette } = classes[picture.classes];
    const color = (id) => palette[id] ?? COLORS.ignored;
    const predicted = ["prediction", layer(picture, (index) => color(prediction[index]))];
    if (truth === null) return [predicted];
    const verdict = (index) => {
      if (truth[index] === IGNORED) return COLORS.unscored;
      return truth[index] === prediction[index] ? COLORS.right : COLORS.wrong;
    };
    return [["truth", layer(picture, (index) => color(truth[index]))], predicted, ["error", layer(picture, verdict)]];
  }

  function textAt(index, { classes: number }, truth, prediction) {
    const name = (id) => classes[number].names[id] ?? "ignored";
    const lines = [`prediction: ${name(prediction[index])}`];
    if (truth !== null) lines.unshift(`truth: ${name(truth[index])}`);
    return lines.join("\n");
  }

  async function fill(pane) {
    const picture = pictures[Number(pane.dataset.picture)];
    const stage = pane.querySelector(".stage");
    const packed = typeof picture.truth === "number" ? pictures[picture.truth].truth : picture.truth;
    const truth = packed === null ? null : await unpacked(packed);
    const prediction = await unpacked(picture.prediction);
    const tip = stage.querySelector(".tip");
    for (const [name, canvas] of layers(picture, truth, prediction)) {
      canvas.dataset.layer = name;
      stage.insertBefore(canvas, tip);
    }
    stage.addEventListener("pointermove", (event) => {
      const index = pixelUnder(event, stage, picture.width, picture.height);
      showTip(event, stage, tip, textAt(index, picture, truth, prediction));
    });
    stage.addEventListener("pointerleave", () => { tip.hidden = true; });
  }

  function slide(card) {
    const position = Number(card.querySelector("input").value);
    for (const stage of card.querySelectorAll(".stage")) {
      stage.querySelectorAll("canvas").forEach((canvas, index) => {
        canvas.style.opacity = Math.min(1, Math.max(0, position - index));
      });
    }
    card.querySelectorAll(".ticks button").forEach((button, index) => {
      button.setAttribute("aria-pressed", String(Math.round(position) === index));
    });
  }

  async function prepare(card) {
    const [first, ...others] = card.querySelectorAll(".stage img");
    for (const image of others) image.src = first.src;
    await Promise.all([...card.querySelectorAll(".pane")].map(fill));
    const input = card.querySelector("input");
    input.addEventListener("input", () => slide(card));
    card.querySelectorAll(".ticks button").forEach((button, index) => {
      button.addEventListener("click", () => { input.value = index; slide(card); });
    });
    slide(card);
    card.dataset.ready = "1";
  }

  for (const card of document.querySelectorAll(".card")) prepare(card);
}
