// Shows the OpenAPI document of the server.
"use strict";
{
  function element(name, text, ...children) {
    const made = document.createElement(name);
    if (text) made.textContent = text;
    made.append(...children);
    return made;
  }

  function table(header, rows) {
    const head = element("thead", "", element("tr", "", ...header.map((text) => element("th", text))));
    const lines = rows.map((cells) => element("tr", "", ...cells.map((text) => element("td", text))));
    const scroll = element("div", "", element("table", "", head, element("tbody", "", ...lines)));
    scroll.className = "scroll";
    return scroll;
  }

  function values({ type, enum: choices, default: value, minimum }) {
    const kind = choices ? choices.join(", ") : minimum === undefined ? type : `${type}, ${minimum} or more`;
    return value === undefined ? kind : `${kind} (default ${value})`;
  }

  function operation(path, method, { summary, parameters = [], requestBody, responses }) {
    const block = element("div", "", element("h3", "", element("code", `${method.toUpperCase()} ${path}`)), element("p", summary));
    block.className = "operation";
    if (requestBody) {
      const kinds = Object.keys(requestBody.content).join(", ");
      block.append(element("p", `Body: ${requestBody.description}. Content-Type: ${kinds}`));
    }
    if (parameters.length) {
      const rows = parameters.map(({ name, schema, description }) => [name, values(schema), description]);
      block.append(table(["parameter", "values", "meaning"], rows));
    }
    const rows = Object.entries(responses).map(([status, { description, content }]) =>
      [status, description, Object.keys(content).join(", ")]);
    block.append(table(["status", "meaning", "media types"], rows));
    return block;
  }

  async function show() {
    const { info, paths } = await (await fetch("openapi.json")).json();
    document.getElementById("description").textContent = info.description;
    const place = new URL("v1/segment", location.href).href;
    document.getElementById("example").textContent = [
      `curl -H 'Content-Type: image/png' --data-binary @street.png '${place}?output=areas'`,
      `curl -F image=@street.png -H 'Accept: image/png' -o labels.png ${place}`,
    ].join("\n");
    const blocks = Object.entries(paths).flatMap(([path, operations]) =>
      Object.entries(operations).map(([method, found]) => operation(path, method, found)));
    document.getElementById("operations").replaceChildren(...blocks);
    document.body.dataset.ready = "1";
  }

  show();
}
