// SPDX-License-Identifier: Apache-2.0
// One request, four tiles: what each part answers, or why it did not.
'use strict';

function valuesOf(value) {
    const rows = Array.isArray(value) ? value : [value];
    return rows.map((row) => Object.values(row).join(' ')).join('\n');
}

function tileOf({ name, status, ms, body, error }) {
    const tile = document.createElement('div');
    const heading = document.createElement('h3');
    const text = document.createElement('pre');
    const time = document.createElement('p');
    heading.textContent = name;
    text.textContent = status < 400 ? valuesOf(body) : (error ?? body).detail ?? '';
    time.textContent = `${status} in ${ms} ms`;
    time.className = status < 400 ? 'good' : 'bad';
    tile.append(heading, text, time);
    return tile;
}

async function load() {
    const response = await fetch('/api/dashboard', { cache: 'no-store' });
    if (response.ok) {
        document.getElementById('numbers').replaceChildren(...(await response.json()).map(tileOf));
    }
}

load();
setInterval(load, 5000);
