// SPDX-License-Identifier: Apache-2.0
// Sends each form with fetch() and shows the answer below it, and the lines of
// the configuration that make its endpoint. Without scripts plain forms still
// work: the browser then shows the answer as a page.
//
//   action="/tiles/{z}/{x}"      fields in braces are parts of the path
//   data-method="PATCH"          a method that forms do not have
//   data-header="If-Match"       of a field: sent as a header
//   data-json="rows"             of a form: the field is the body, as it is
//   data-then="ID"               of a form: sent after this one
//   data-wait                    of a form: not sent when the page loads
//   data-now                     ... sent then, though it is a POST: it changes nothing
'use strict';

function element(name, className, text) {
    const made = document.createElement(name);
    made.className = className;
    made.textContent = text ?? '';
    return made;
}

function requestOf(form) {
    const fields = new FormData(form);
    const headers = {};
    for (const input of form.querySelectorAll('[data-header]')) {
        headers[input.dataset.header] = input.value;
        fields.delete(input.name);
    }
    const path = form.getAttribute('action').replace(/\{(\w+)\}/g, (_, name) => {
        const value = fields.get(name);
        fields.delete(name);
        return encodeURIComponent(value);
    });
    const method = form.dataset.method ?? form.method.toUpperCase();
    if (form.dataset.json) {
        headers['Content-Type'] = 'application/json';
        return { method, path, headers, body: fields.get(form.dataset.json) };
    }
    const values = new URLSearchParams(fields);
    if (method !== 'GET') {
        return { method, path, headers, body: values };
    }
    const query = values.toString();
    return { method, path: query === '' ? path : `${path}?${query}`, headers };
}

function textOf(request) {
    const { method, path, headers } = request;
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
    return [`${method} ${path}`, ...lines].join('\n');
}

// --- the lines of the configuration ----------------------------------------

// Continued lines are one directive. What stands in <IfDefine NAME> is shown when
// the server says that the name is defined, what stands in <IfDefine !NAME> otherwise.
function readConfiguration(text, defined) {
    const lines = text.match(/(?:.*\\\n)*.*\n/g) ?? [];
    let within = null;
    return lines.flatMap((line) => {
        const [, not, name] = /^<IfDefine (!?)(\w+)>/.exec(line) ?? [];
        if (name) {
            within = defined.includes(name) === (not === '');
        } else if (line.startsWith('</IfDefine>')) {
            within = null;
        } else if (within === null) {
            return [line];
        } else if (within) {
            return [line.replace(/^ {4}/gm, '')];
        }
        return [];
    });
}

// The section with the longest path that this one begins with, as text.
function sectionOf(lines, path) {
    let found = [];
    let longest = 0;
    for (let i = 0; i < lines.length; i++) {
        const name = /^<Location "?([^">]+)"?>/.exec(lines[i])?.[1];
        const inside = name && `${path}/`.startsWith(name.replace(/\/?$/, '/'));
        if (inside && name.length > longest) {
            longest = name.length;
            found = lines.slice(i, lines.indexOf('</Location>\n', i) + 1);
        }
    }
    return found;
}

// The section of a path, and above it what the names in it stand for.
function linesOf(lines, path) {
    const section = sectionOf(lines, path);
    const names = section.flatMap((line) =>
        /^\s*ConnPoolServe (.*)/.exec(line)?.[1].split(/\s+/) ?? []);
    const defining = lines.filter((line) => names.includes(
        /^\s*ConnPool(?:Query|Param|Upstream) (\S+)/.exec(line)?.[1]));
    return [...defining, ...section].join('');
}

// --- answers -----------------------------------------------------------------

// A row begins on a line of its own and breaks between its columns.
function rowText(row) {
    return JSON.stringify(row, null, 1).replace(/\n */g, ' ');
}

function pretty(text) {
    let value;
    try {
        value = JSON.parse(text);
    } catch {
        return text;
    }
    if (!Array.isArray(value) || value.length === 0) {
        return JSON.stringify(value, null, 2);
    }
    return `[\n${value.map(rowText).join(',\n')}\n]`;
}

function addOutput(form, lines) {
    const output = {
        request: element('p', 'request', textOf(requestOf(form))),
        result: element('p', 'result'),
        answer: element('pre', 'answer'),
    };
    output.result.setAttribute('role', 'status');
    output.answer.tabIndex = 0;
    output.answer.hidden = true;
    output.answer.setAttribute('aria-label', 'Answer');
    form.after(output.request, output.result, output.answer);
    const configuration = linesOf(lines, form.getAttribute('action'));
    if (configuration !== '') {
        const details = element('details', 'configuration');
        const text = element('pre', '', configuration);
        text.tabIndex = 0;
        details.open = true;
        details.append(element('summary', '', 'Configuration'), text);
        output.answer.after(details);
    }
    return output;
}

function showAnswer(output, good, summary, text) {
    output.result.classList.toggle('good', good);
    output.result.classList.toggle('bad', !good);
    output.result.textContent = summary;
    output.answer.textContent = text;
    output.answer.hidden = text === '';
}

function summaryOf(response) {
    const told = ['ETag', 'Location', 'Link'].filter((name) => response.headers.has(name));
    return told.map((name) => `${name}: ${response.headers.get(name)}\n`).join('');
}

async function run(form, output) {
    const request = requestOf(form);
    const started = performance.now();
    output.request.textContent = textOf(request);
    try {
        const response = await fetch(request.path, {
            method: request.method,
            headers: request.headers,
            body: request.body,
            cache: 'no-store',
        });
        const type = response.headers.get('Content-Type') ?? '';
        const text = type.startsWith('image/')
            ? `${(await response.blob()).size} bytes of ${type}`
            : pretty(await response.text());
        const ms = (performance.now() - started).toFixed(1);
        const summary = `${response.status} ${response.statusText} in ${ms} ms`;
        showAnswer(output, response.ok, summary, summaryOf(response) + text);
        form.dispatchEvent(new CustomEvent('answered', { bubbles: true }));
        return response.ok;
    } catch (error) {
        showAnswer(output, false, `No answer: ${error.message}`, '');
        return false;
    }
}

function prepare(form, lines) {
    const output = addOutput(form, lines);
    form.addEventListener('input', () => {
        output.request.textContent = textOf(requestOf(form));
    });
    form.addEventListener('submit', async (event) => {
        event.preventDefault();
        const good = await run(form, output);
        const next = document.getElementById(form.dataset.then);
        if (good && next) {
            next.requestSubmit();
        }
    });
    return () => run(form, output);
}

// One after the other, so that each time is that of one request.
async function start() {
    const response = await fetch('/httpd.conf');
    const defined = (response.headers.get('Demo-Defined') ?? '').split(' ');
    const lines = response.ok ? readConfiguration(await response.text(), defined) : [];
    const forms = [...document.querySelectorAll('main form[action]')].map(
        (form) => [form, prepare(form, lines)]);
    for (const [form, send] of forms) {
        const method = form.dataset.method ?? form.method;
        const isRead = method.toLowerCase() === 'get' && !('wait' in form.dataset);
        if (isRead || 'now' in form.dataset) {
            await send();
        }
    }
}

start();
