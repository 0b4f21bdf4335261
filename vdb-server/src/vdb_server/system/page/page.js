"use strict";
// Draws the OpenAPI document of this server, and sends what is filled in. Text goes in as text, never as HTML.

const make = (name, text, ...children) => {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
};

const resolve = (api, schema) =>
  schema && schema.$ref ? schema.$ref.split("/").slice(1).reduce((at, name) => at[name], api) : schema;

const typeOf = (api, schema) => {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map((one) => typeOf(api, one)).join(" | ");
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
  if (schema.type === "array") return `${typeOf(api, schema.items)}[]`;
  return schema.type || "any";
};

const fieldsOf = (api, schema) => {
  const found = resolve(api, schema);
  const table = make("table", "", make("tr", "", make("th", "field"), make("th", "type"), make("th", "")));
  for (const [name, field] of Object.entries(found.properties || {})) {
    const needed = (found.required || []).includes(name) ? "required. " : "";
    table.append(
      make("tr", "", make("td", name), make("td", typeOf(api, field)), make("td", needed + (field.description || "")))
    );
  }
  return table;
};

const exampleOf = (content) => {
  const example = Object.values((content && content.examples) || {})[0];
  return example ? JSON.stringify(example.value, null, 2) : "";
};

const sender = (method, path, parameters, media, area, keyField) => {
  const button = make("button", "Send");
  const shown = make("pre");
  shown.hidden = true;
  button.addEventListener("click", async () => {
    let target = path;
    const query = new URLSearchParams();
    const headers = {};
    for (const [parameter, field] of parameters) {
      if (parameter.in === "path") target = target.replace(`{${parameter.name}}`, encodeURIComponent(field.value));
      else if (!field.value) continue;
      else if (parameter.in === "query") query.append(parameter.name, field.value);
      else headers[parameter.name] = field.value;
    }
    if (keyField.value) headers.authorization = `Bearer ${keyField.value}`;
    if (area) headers["content-type"] = media;
    shown.hidden = false;
    shown.textContent = "…";
    try {
      const url = query.size ? `${target}?${query}` : target;
      const answer = await fetch(url, { method, headers, body: area ? area.value : undefined, cache: "no-store" });
      const text = await answer.text();
      let told = text;
      try {
        told = JSON.stringify(JSON.parse(text), null, 2);
      } catch {
        // Not every answer is JSON.
      }
      shown.textContent = `${answer.status} ${answer.statusText}\n\n${told.slice(0, 100000)}`;
    } catch (error) {
      shown.textContent = `No answer: ${error.message}`;
    }
  });
  return [button, shown];
};

const operationOf = (api, method, path, operation, keyField) => {
  const inside = make("div");
  if (operation.description) inside.append(make("p", operation.description));
  const fields = [];
  const parameters = operation.parameters || [];
  if (parameters.length) {
    const table = make("table");
    for (const parameter of parameters) {
      const field = make("input");
      field.setAttribute("aria-label", parameter.name);
      if (parameter.in === "path") field.value = ((parameter.schema && parameter.schema.examples) || [""])[0];
      fields.push([parameter, field]);
      const told = [make("td", `${parameter.name} (${parameter.in})`), make("td", parameter.description || "")];
      table.append(make("tr", "", told[0], make("td", "", field), told[1]));
    }
    inside.append(make("h4", "Parameters"), table);
  }
  const contents = Object.entries((operation.requestBody && operation.requestBody.content) || {});
  let area = null;
  let media = "";
  for (const [type, content] of contents) {
    inside.append(make("h4", `Body: ${type}`));
    if (content.schema && resolve(api, content.schema).properties) inside.append(fieldsOf(api, content.schema));
    if (type === "application/json") {
      area = make("textarea");
      area.setAttribute("aria-label", "body");
      area.value = exampleOf(content);
      media = type;
      inside.append(area);
    }
  }
  if (!contents.length || area) {
    inside.append(make("p", "", ...sender(method.toUpperCase(), path, fields, media, area, keyField)));
  }
  const answers = make("table");
  for (const [status, answer] of Object.entries(operation.responses || {})) {
    const content = Object.values(answer.content || {})[0];
    const type = content ? typeOf(api, content.schema) : "";
    answers.append(make("tr", "", make("td", status), make("td", answer.description || ""), make("td", type)));
  }
  inside.append(make("h4", "Answers"), answers);
  const head = make("summary", "", make("b", method.toUpperCase()), make("code", path), make("span", operation.summary));
  return make("details", "", head, inside);
};

const draw = async () => {
  const place = document.querySelector("main");
  const keyField = document.querySelector("#key");
  const api = await (await fetch("/openapi.json")).json();
  document.querySelector("#version").textContent = api.info.version;
  place.textContent = "";
  place.append(make("pre", api.info.description));
  for (const tag of api.tags) {
    place.append(make("h2", tag.name), make("p", tag.description));
    for (const [path, operations] of Object.entries(api.paths)) {
      for (const [method, operation] of Object.entries(operations)) {
        if ((operation.tags || [])[0] === tag.name) place.append(operationOf(api, method, path, operation, keyField));
      }
    }
  }
  place.append(make("h2", "Schemas"));
  for (const [name, schema] of Object.entries(api.components.schemas)) {
    const inside = make("div", "", make("p", schema.description || ""), fieldsOf(api, schema));
    place.append(make("details", "", make("summary", name), inside));
  }
};

draw().catch((error) => {
  document.querySelector("main").textContent = `The document cannot be shown: ${error.message}`;
});
