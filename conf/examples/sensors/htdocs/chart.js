// SPDX-License-Identifier: Apache-2.0
// Draws the answer of /api/chart, rows of [at, mean, low, high], as SVG.
'use strict';

const WIDTH = 800;
const HEIGHT = 240;
const MARGIN = 30;

function shape(name, attributes, text) {
    const made = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [key, value] of Object.entries(attributes)) {
        made.setAttribute(key, value);
    }
    made.textContent = text ?? '';
    return made;
}

// From values to places: times go to the right, values up.
function scaleOf(rows) {
    const times = rows.map((row) => row[0]);
    const low = Math.min(...rows.map((row) => row[2]));
    const high = Math.max(...rows.map((row) => row[3]));
    const [first, last] = [Math.min(...times), Math.max(...times)];
    return {
        low,
        high,
        x: (at) => MARGIN + (at - first) / (last - first || 1) * (WIDTH - 2 * MARGIN),
        y: (value) => HEIGHT - MARGIN - (value - low) / (high - low || 1) * (HEIGHT - 2 * MARGIN),
    };
}

function pointsOf(rows, scale, column) {
    return rows.map((row) => `${scale.x(row[0]).toFixed(1)},${scale.y(row[column]).toFixed(1)}`);
}

function draw(picture, rows) {
    picture.replaceChildren();
    if (rows.length === 0) {
        picture.append(shape('text', { x: MARGIN, y: HEIGHT / 2, fill: 'currentColor' }, 'No readings'));
        return;
    }
    const scale = scaleOf(rows);
    const band = [...pointsOf(rows, scale, 3), ...pointsOf(rows, scale, 2).reverse()];
    picture.append(
        shape('polygon', { points: band.join(' '), fill: '#14598f', opacity: 0.25 }),
        shape('polyline', {
            points: pointsOf(rows, scale, 1).join(' '),
            fill: 'none',
            stroke: '#2f86c9',
            'stroke-width': 2,
        }));
    for (const value of [scale.low, scale.high]) {
        picture.append(shape('text', { x: 2, y: scale.y(value), fill: 'currentColor', 'font-size': 11 }, value));
    }
    for (const row of [rows[0], rows[rows.length - 1]]) {
        const text = new Date(row[0] * 1000).toISOString().slice(5, 16).replace('T', ' ');
        const anchor = row === rows[0] ? 'start' : 'end';
        picture.append(shape('text', {
            x: scale.x(row[0]),
            y: HEIGHT - 6,
            fill: 'currentColor',
            'font-size': 11,
            'text-anchor': anchor,
        }, text));
    }
}

document.getElementById('chart-form').addEventListener('answered', async (event) => {
    const values = new URLSearchParams(new FormData(event.target));
    const response = await fetch(`/api/chart?${values}`);
    if (response.ok) {
        draw(document.getElementById('picture'), await response.json());
    }
});
