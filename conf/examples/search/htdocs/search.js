// SPDX-License-Identifier: Apache-2.0
// Shows what was found. The database has put the characters 2 and 3 around each
// word; the rest is text and stays text.
'use strict';

function marked(text) {
    return text.split('\u0002').flatMap((part, i) => {
        if (i === 0) {
            return [part];
        }
        const [word, rest] = part.split('\u0003');
        const mark = document.createElement('mark');
        mark.textContent = word;
        return [mark, rest];
    });
}

function entry({ title, snippet }) {
    const heading = document.createElement('dt');
    const text = document.createElement('dd');
    heading.append(...marked(title));
    text.append(...marked(snippet));
    return [heading, text];
}

const form = document.getElementById('search-form');

form.addEventListener('answered', async () => {
    const response = await fetch(`/api/search-articles?${new URLSearchParams(new FormData(form))}`);
    const rows = response.ok ? await response.json() : [];
    document.getElementById('found').replaceChildren(...rows.flatMap(entry));
});

form.elements.q.addEventListener('input', async (event) => {
    const response = await fetch(`/api/suggest?${new URLSearchParams({ q: event.target.value })}`);
    const rows = response.ok ? await response.json() : [];
    document.getElementById('titles').replaceChildren(...rows.map(([title]) => new Option(title)));
});
