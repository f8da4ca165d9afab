// SPDX-License-Identifier: Apache-2.0
// As much of htmx's attributes as this page needs: an element with hx-get or
// hx-post asks for a fragment, when it is clicked or submitted, and at the start
// if it says hx-trigger="load". The fragment is put into the element that hx-target
// names, or in its place with hx-swap="outerHTML". Then every element with
// hx-refresh asks anew.
'use strict';

const ASKING = '[hx-get], [hx-post]';

function put(element, html) {
    const target = document.querySelector(element.getAttribute('hx-target')) ?? element;
    if (element.getAttribute('hx-swap') === 'outerHTML') {
        target.outerHTML = html;
    } else if (element.getAttribute('hx-swap') !== 'none') {
        target.innerHTML = html;
    }
}

async function ask(element) {
    const post = element.getAttribute('hx-post');
    const response = await fetch(post ?? element.getAttribute('hx-get'), {
        method: post ? 'POST' : 'GET',
        body: post && element.matches('form') ? new URLSearchParams(new FormData(element)) : undefined,
    });
    const text = await response.text();
    const complaint = document.getElementById('complaint');
    complaint.textContent = response.ok ? '' : JSON.parse(text).detail;
    if (response.ok) {
        put(element, text);
        if (post) {
            document.querySelectorAll('[hx-refresh]').forEach(ask);
        }
    }
}

document.addEventListener('click', (event) => {
    const element = event.target.closest(ASKING);
    if (element && !element.matches('form, ul')) {
        ask(element);
    }
});

document.addEventListener('submit', (event) => {
    if (event.target.matches(ASKING)) {
        event.preventDefault();
        ask(event.target);
    }
});

document.querySelectorAll('[hx-trigger="load"]').forEach(ask);
