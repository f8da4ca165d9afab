// SPDX-License-Identifier: Apache-2.0
// Sends each form with fetch() and shows the answer below it. Without scripts
// the forms still work: the browser then shows the answer as a page.
'use strict';

function element(name, className) {
    const made = document.createElement(name);
    made.className = className;
    return made;
}

function requestOf(form) {
    const fields = new URLSearchParams(new FormData(form));
    const path = form.getAttribute('action');
    if (form.method === 'post') {
        return { path, text: `POST ${path}`, body: fields };
    }
    const query = fields.toString();
    const target = query === '' ? path : `${path}?${query}`;
    return { path: target, text: `GET ${target}` };
}

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

function addOutput(form) {
    const output = {
        request: element('p', 'request'),
        result: element('p', 'result'),
        answer: element('pre', 'answer'),
    };
    output.request.textContent = requestOf(form).text;
    output.result.setAttribute('role', 'status');
    output.answer.tabIndex = 0;
    output.answer.hidden = true;
    output.answer.setAttribute('aria-label', 'Answer');
    form.after(output.request, output.result, output.answer);
    return output;
}

function showAnswer(output, good, summary, text) {
    output.result.classList.toggle('good', good);
    output.result.classList.toggle('bad', !good);
    output.result.textContent = summary;
    output.answer.textContent = text;
    output.answer.hidden = text === '';
}

async function run(form, output) {
    const request = requestOf(form);
    const started = performance.now();
    output.request.textContent = request.text;
    try {
        const response = await fetch(request.path, {
            method: form.method,
            body: request.body,
            cache: 'no-store',
        });
        const text = await response.text();
        const ms = (performance.now() - started).toFixed(1);
        const summary = `${response.status} ${response.statusText} in ${ms} ms`;
        showAnswer(output, response.ok, summary, pretty(text));
        return response.ok;
    } catch (error) {
        showAnswer(output, false, `No answer: ${error.message}`, '');
        return false;
    }
}

function prepare(form) {
    const output = addOutput(form);
    form.addEventListener('input', () => {
        output.request.textContent = requestOf(form).text;
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
    const forms = [...document.forms].map((form) => [form, prepare(form)]);
    for (const [form, send] of forms) {
        if (form.method === 'get') {
            await send();
        }
    }
}

start();
