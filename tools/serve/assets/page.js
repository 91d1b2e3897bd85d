// Sends a picture to the server, shows the classes over it, and saves what the server or the page makes of it.
"use strict";
{
  const byId = (id) => document.getElementById(id);
  const [picture, overlay] = [byId("picture"), byId("overlay")];
  let shown = null; // {file, stem, width, height, classes, labels, hidden}
  let request = new AbortController();
  let limits = {};

  function report(text, kind) {
    const status = byId("status");
    status.textContent = text;
    status.className = kind;
    status.hidden = !text;
  }

  async function post(file, query, signal) {
    const form = new FormData();
    form.append("image", file);
    const response = await fetch(`v1/segment?${query}`, { method: "POST", body: form, signal });
    if (response.ok) return response;
    const isJson = response.headers.get("content-type")?.startsWith("application/json");
    const text = isJson ? (await response.json()).error : `the server answers ${response.status}`;
    const again = response.headers.get("retry-after");
    throw new Error(again ? `${text} (in ${again} s)` : text);
  }

  function context(canvas, width, height) {
    [canvas.width, canvas.height] = [width, height];
    return canvas.getContext("2d", { willReadFrequently: canvas !== picture });
  }

  async function labelsOf(text, count) {
    const packed = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = await new Response(stream).arrayBuffer();
    return bytes.byteLength === count ? new Uint8Array(bytes) : new Uint16Array(bytes);
  }

  async function bitmapOf(file) {
    try {
      return await createImageBitmap(file);
    } catch {
      return null;
    }
  }

  function drawPicture(bitmap, { width, height }) {
    const drawing = context(picture, width, height);
    if (!bitmap) return "This browser cannot show files of this kind, so the segmentation is shown without the picture.";
    drawing.drawImage(bitmap, 0, 0, width, height);
    bitmap.close();
    return "";
  }

  function drawOverlay() {
    const { width, height, labels, classes, hidden } = shown;
    const pixels = new ImageData(width, height);
    const colors = new Uint32Array(pixels.data.buffer);
    const table = classes.map(({ id, color: [red, green, blue] }) =>
      hidden.has(id) ? 0 : ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0);
    for (let index = 0; index < labels.length; index++) colors[index] = table[labels[index]];
    context(overlay, width, height).putImageData(pixels, 0, 0);
  }

  function setOpacity() {
    const percent = byId("opacity").value;
    overlay.style.opacity = percent / 100;
    byId("percent").textContent = `${percent} %`;
  }

  function row({ id, name, color, pixels, share }) {
    const line = document.createElement("tr");
    line.className = pixels ? "" : "absent";
    const box = document.createElement("input");
    Object.assign(box, { type: "checkbox", checked: true, value: id });
    box.addEventListener("change", () => toggle([id], box.checked));
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = `rgb(${color.join(",")})`;
    const label = document.createElement("label");
    label.append(box, swatch, name);
    const texts = [`${(100 * share).toFixed(share && share < 0.001 ? 3 : 1)} %`, pixels.toLocaleString("en")];
    line.append(document.createElement("td"), ...texts.map((text) => {
      const cell = document.createElement("td");
      [cell.textContent, cell.className] = [text, "number"];
      return cell;
    }));
    line.firstChild.append(label);
    return line;
  }

  function toggle(ids, isVisible) {
    for (const id of ids) shown.hidden[isVisible ? "delete" : "add"](id);
    for (const box of document.querySelectorAll("#classes input")) box.checked = !shown.hidden.has(Number(box.value));
    drawOverlay();
  }

  async function segment(file) {
    request.abort();
    request = new AbortController();
    const { signal } = request;
    if (limits.max_upload && file.size > limits.max_upload) {
      report(`${file.name} has ${file.size} bytes, and the limit is ${limits.max_upload}`, "bad");
      return;
    }
    report(`${file.name} is being segmented …`, "busy");
    delete document.body.dataset.ready;
    try {
      const found = await (await post(file, "output=areas&labels=1", signal)).json();
      const [labels, bitmap] = await Promise.all([labelsOf(found.labels, found.width * found.height), bitmapOf(file)]);
      if (signal.aborted) return;
      // From here on without waiting, so that two pictures cannot mix.
      const stem = file.name.replace(/\.[^.]*$/, "") || "picture";
      shown = { ...found, file, stem, labels, hidden: new Set() };
      const note = drawPicture(bitmap, shown);
      const sorted = [...found.classes].sort((first, second) => second.pixels - first.pixels);
      document.querySelector("#classes tbody").replaceChildren(...sorted.map(row));
      byId("name").textContent = `${file.name} (${found.width} × ${found.height} pixels)`;
      drawOverlay();
      setOpacity();
      byId("result").hidden = false;
      report(note, "missing");
      document.body.dataset.ready = "1";
    } catch (error) {
      if (!signal.aborted) report(`${file.name}: ${error.message}`, "bad");
    }
  }

  function save(blob, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  function saveOverlay() {
    const { stem, width, height } = shown;
    const canvas = document.createElement("canvas");
    const drawing = context(canvas, width, height);
    drawing.drawImage(picture, 0, 0);
    drawing.globalAlpha = byId("opacity").value / 100;
    drawing.drawImage(overlay, 0, 0);
    canvas.toBlob((blob) => save(blob, `${stem}_overlay.png`), "image/png");
  }

  // The server keeps nothing, so that it segments the picture again.
  function saveFromServer(button, output, ending) {
    button.addEventListener("click", async () => {
      const { file, stem } = shown; // another picture may be shown when the answer arrives
      button.disabled = true;
      try {
        save(await (await post(file, `output=${output}`)).blob(), `${stem}${ending}`);
      } catch (error) {
        report(error.message, "bad");
      }
      button.disabled = false;
    });
  }

  function showClass(event) {
    const index = pixelUnder(event, overlay, shown.width, shown.height);
    showTip(event, overlay, byId("tip"), shown.classes[shown.labels[index]].name);
  }

  function listen() {
    const [drop, file] = [byId("drop"), byId("file")];
    const first = (files) => { if (files?.length) segment(files[0]); };
    file.addEventListener("change", () => { first(file.files); file.value = ""; });
    for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
      document.addEventListener(kind, (event) => {
        event.preventDefault(); // otherwise the browser opens the file
        drop.classList.toggle("over", kind === "dragenter" || kind === "dragover");
      });
    }
    document.addEventListener("drop", (event) => first(event.dataTransfer?.files));
    document.addEventListener("paste", (event) => first(event.clipboardData?.files));
    byId("opacity").addEventListener("input", setOpacity);
    byId("all").addEventListener("click", () => toggle(shown.classes.map(({ id }) => id), true));
    byId("none").addEventListener("click", () => toggle(shown.classes.map(({ id }) => id), false));
    byId("save-overlay").addEventListener("click", saveOverlay);
    saveFromServer(byId("save-labels"), "labels", "_labels.png");
    saveFromServer(byId("save-geojson"), "polygons", ".geojson");
    saveFromServer(byId("save-csv"), "csv", "_areas.csv");
    byId("stage").addEventListener("pointermove", showClass);
    byId("stage").addEventListener("pointerleave", () => { byId("tip").hidden = true; });
  }

  async function describe() {
    const model = await (await fetch("v1/model")).json();
    limits = model.limits;
    byId("model").textContent =
      `${model.network} with ${model.decoder}, ${model.dataset}, ${model.classes.length} classes (${model.checkpoint})`;
    byId("limits").textContent =
      `up to ${(limits.max_upload / 1e6).toFixed(1)} MB and ${(limits.max_pixels / 1e6).toFixed(1)} million pixels`;
  }

  listen();
  describe().catch((error) => report(`the server does not answer: ${error.message}`, "bad"));
}
