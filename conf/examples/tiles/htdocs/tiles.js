// SPDX-License-Identifier: Apache-2.0
// A map of two times three tiles, and buttons that move it.
'use strict';

const COLUMNS = 4;
const ROWS = 2;
const view = { zoom: 2, column: 0, row: 1, last: 4 };

function tileOf(column, row) {
    const image = new Image(256, 256);
    image.alt = `tile ${view.zoom}/${column}/${row}`;
    image.src = `/tiles/${view.zoom}/${column}/${row}`;
    return image;
}

function draw() {
    const edge = 2 ** view.zoom;
    view.column = Math.max(0, Math.min(view.column, edge - COLUMNS));
    view.row = Math.max(0, Math.min(view.row, edge - ROWS));
    const images = [];
    for (let row = view.row; row < Math.min(edge, view.row + ROWS); row++) {
        for (let column = view.column; column < Math.min(edge, view.column + COLUMNS); column++) {
            images.push(tileOf(column, row));
        }
    }
    const map = document.getElementById('map');
    map.style.gridTemplateColumns = `repeat(${Math.min(edge, COLUMNS)}, auto)`;
    map.replaceChildren(...images);
    document.getElementById('zoom').textContent = `zoom ${view.zoom}`;
}

// Nearer: what was in the middle stays there.
const moves = {
    nearer: () => {
        if (view.zoom < view.last) {
            Object.assign(view, {
                zoom: view.zoom + 1,
                column: 2 * view.column + COLUMNS / 2,
                row: 2 * view.row + ROWS / 2,
            });
        }
    },
    farther: () => {
        if (view.zoom > 0) {
            Object.assign(view, {
                zoom: view.zoom - 1,
                column: Math.floor((view.column - COLUMNS / 2) / 2),
                row: Math.floor((view.row - ROWS / 2) / 2),
            });
        }
    },
    west: () => { view.column--; },
    east: () => { view.column++; },
    north: () => { view.row--; },
    south: () => { view.row++; },
};

document.getElementById('moves').addEventListener('click', (event) => {
    moves[event.target.name]?.();
    draw();
});

async function begin() {
    const response = await fetch('/tiles.json');
    view.last = Number((await response.json()).maxzoom);
    draw();
}

begin();
