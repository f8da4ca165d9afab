// SPDX-License-Identifier: Apache-2.0
// Draws GeoJSON as SVG: longitude to the right, latitude up.
'use strict';

function shape(name, attributes, title) {
    const made = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [key, value] of Object.entries(attributes)) {
        made.setAttribute(key, value);
    }
    const label = document.createElementNS('http://www.w3.org/2000/svg', 'title');
    label.textContent = title;
    made.append(label);
    return made;
}

function points(positions) {
    return positions.map(([x, y]) => `${x},${-y}`).join(' ');
}

const drawings = {
    Point: ([x, y], title) => shape('circle', { cx: x, cy: -y, r: 1.6, fill: '#2f86c9' }, title),
    LineString: (line, title) => shape('polyline', {
        points: points(line),
        fill: 'none',
        stroke: 'currentColor',
        'stroke-width': 0.4,
    }, title),
    Polygon: ([ring], title) => shape('polygon', { points: points(ring), fill: '#e2d1a1', opacity: 0.4 }, title),
};

document.getElementById('window-form').addEventListener('answered', async (event) => {
    const values = new URLSearchParams(new FormData(event.target));
    const response = await fetch(`/api/window?${values}`);
    if (!response.ok) {
        return;
    }
    const [west, east, south, north] = ['west', 'east', 'south', 'north'].map((name) => Number(values.get(name)));
    const picture = document.getElementById('picture');
    picture.setAttribute('viewBox', `${west} ${-north} ${east - west} ${north - south}`);
    // Areas first, so that nothing hides behind them.
    const features = (await response.json()).reverse();
    const known = features.filter(({ geometry }) => geometry.type in drawings);
    picture.replaceChildren(...known.map(({ geometry, properties }) =>
        drawings[geometry.type](geometry.coordinates, properties.name ?? '')));
});
