// Shows a line beside the pointer over a picture, for viewer.js and the page of the server.
"use strict";

// Returns the index of the pixel under the pointer, row by row, of a picture of width x height that fills an element.
function pixelUnder(event, element, width, height) {
  const box = element.getBoundingClientRect();
  const at = (place, size, count) => Math.min(count - 1, Math.max(0, Math.floor((place / size) * count)));
  const column = at(event.clientX - box.left, box.width, width);
  return at(event.clientY - box.top, box.height, height) * width + column;
}

// Shows a text in the element `tip` beside the pointer, within the element.
function showTip(event, element, tip, text) {
  const box = element.getBoundingClientRect();
  tip.textContent = text;
  tip.hidden = false;
  const place = (pointer, tipSize, size) => Math.max(4, pointer + 14 + tipSize > size ? pointer - tipSize - 10 : pointer + 14);
  tip.style.left = `${place(event.clientX - box.left, tip.offsetWidth, box.width)}px`;
  tip.style.top = `${place(event.clientY - box.top, tip.offsetHeight, box.height)}px`;
}
