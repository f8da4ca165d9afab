# SPDX-License-Identifier: Apache-2.0
"""design.py before|after PORT DATABASE CA FETCH TLS FAR FAR_TLS

The design that mod_connpool comes from, as its text has it, small. Both have the
same front, aiohttp's, and answer the same.

before: each piece of work gets a thread with an event loop of its own, each query
        a connection of its own, each fetch a session of its own.
after:  one event loop, a pool of ten aiosqlite connections, one session with at
        most a hundred connections, thirty a host.
"""
import asyncio
import json
import sqlite3
import ssl
import sys
import threading

import aiohttp
import aiosqlite
from aiohttp import web

WHICH, PORT, DATABASE, CA = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
FETCH, TLS, FAR, FAR_TLS = sys.argv[5:9]
ONE = "SELECT id, title, day FROM events WHERE id = ?"
FIFTY = "SELECT id, title, day FROM events WHERE id BETWEEN ? AND ?"
TRUST = ssl.create_default_context(cafile=CA)
TIMEOUT = aiohttp.ClientTimeout(connect=30, sock_read=10)


class Before:
    """A loop, a connection, a session for each piece of work."""

    async def startup(self):
        pass

    async def run(self, make_coroutine):
        """The coroutine in a loop of its own, in a thread of its own."""
        outer = asyncio.get_running_loop()
        done = outer.create_future()

        def settle(result, error):
            if done.cancelled():
                return
            if error:
                done.set_exception(error)
            else:
                done.set_result(result)

        def run_async_in_thread():
            result = error = None
            loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
            try:
                result = loop.run_until_complete(make_coroutine())
            except Exception as caught:
                error = caught
            finally:
                loop.close()
            outer.call_soon_threadsafe(settle, result, error)

        threading.Thread(target=run_async_in_thread, daemon=True).start()
        return await done

    async def query(self, sql, values):
        async def work():
            connection = sqlite3.connect(DATABASE)
            try:
                connection.row_factory = sqlite3.Row
                return [dict(row) for row in connection.execute(sql, values)]
            finally:
                connection.close()

        return await self.run(work)

    async def fetch(self, url):
        async def work():
            async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
                async with session.get(url, ssl=TRUST) as answer:
                    return await answer.read()

        return await self.run(work)


class After:
    """ConnectionManager: what was made once is used by all."""

    async def startup(self):
        self.pool = asyncio.Queue(maxsize=10)
        for _ in range(10):
            connection = await aiosqlite.connect(DATABASE)
            connection.row_factory = aiosqlite.Row
            self.pool.put_nowait(connection)
        self.session = aiohttp.ClientSession(
            timeout=TIMEOUT,
            connector=aiohttp.TCPConnector(limit=100, limit_per_host=30, keepalive_timeout=30),
        )

    async def query(self, sql, values):
        connection = await self.pool.get()
        try:
            return [dict(row) for row in await connection.execute_fetchall(sql, values)]
        finally:
            self.pool.put_nowait(connection)

    async def fetch(self, url):
        async with self.session.get(url, ssl=TRUST) as answer:
            return await answer.read()


manager = Before() if WHICH == "before" else After()


def compact(value):
    return json.dumps(value, separators=(",", ":"))


def rows(sql, *names):
    async def handle(request):
        found = await manager.query(sql, [int(request.query[name]) for name in names])
        return web.Response(text=compact(found), content_type="application/json")

    return handle


def fetched(url):
    async def handle(request):
        return web.Response(body=await manager.fetch(url), content_type="text/plain")

    return handle


def page(url):
    """Fifty rows and what the upstream says, in one answer."""

    async def handle(request):
        values = [int(request.query[name]) for name in ("first", "last")]
        if WHICH == "before":
            found = await manager.query(FIFTY, values)
            said = await manager.fetch(url)
        else:
            found, said = await asyncio.gather(manager.query(FIFTY, values), manager.fetch(url))
        both = [
            {"name": "fifty", "status": 200, "body": found},
            {"name": "fetch", "status": 200, "body": said.decode()},
        ]
        return web.Response(text=compact(both), content_type="application/json")

    return handle


async def serve():
    await manager.startup()
    app = web.Application()
    app.router.add_get("/one", rows(ONE, "first"))
    app.router.add_get("/fifty", rows(FIFTY, "first", "last"))
    for path, url in (("/fetch", FETCH), ("/tls", TLS), ("/far", FAR)):
        app.router.add_get(path, fetched(url))
    app.router.add_get("/page", page(FETCH))
    app.router.add_get("/page_far", page(FAR_TLS))
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=60)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", PORT, backlog=511).start()
    await asyncio.Event().wait()


asyncio.run(serve())
