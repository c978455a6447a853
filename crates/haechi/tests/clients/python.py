"""The generated clients against a real server: python.py FOLDER SERVER NGINX KIM ANN. Prints `done` at the end.

Prints `cut` where the proxy is to be restarted.
"""

import asyncio
import sys
import threading
import time

sys.path.insert(0, sys.argv[1])
import httpx
from haechi_client import AsyncHaechi, Haechi, HaechiError, filter_text, me

SERVER, NGINX, KIM, ANN = sys.argv[2:6]
kim = Haechi(SERVER, token=KIM)
ann = Haechi(SERVER, token=ANN)


def fails(call, kind):
    try:
        call()
    except HaechiError as error:
        assert error.kind == kind, (error.kind, error.detail)
        return error
    raise AssertionError(f"{kind} was expected")


async def fails_async(call, kind):
    try:
        await call
    except HaechiError as error:
        assert error.kind == kind, (error.kind, error.detail)
        return error
    raise AssertionError(f"{kind} was expected")


class Faults:
    """Misbehaves as it is told, once for each request, in order."""

    def __init__(self, inner):
        self.inner, self.faults, self.seen = inner, [], []

    def before(self, request):
        self.seen.append((request.method, request.url.path, request.headers.get("idempotency-key"), request.headers.get("last-event-id")))
        fault = self.faults.pop(0) if self.faults else {}
        if "refuse" in fault:
            raise httpx.ConnectError("refused")
        if "status" in fault:
            return None, httpx.Response(fault["status"], headers=fault.get("headers", {"content-type": "text/html"}), text=fault.get("body", "<h1>hotel</h1>"))
        return fault, None

    @staticmethod
    def after(fault):
        if "drop" in fault:
            raise httpx.RemoteProtocolError("the reply is lost")


class Cut(httpx.SyncByteStream):
    def __init__(self, stream, left):
        self.stream, self.left = stream, left

    def __iter__(self):
        for piece in self.stream:
            yield piece[: self.left]
            self.left -= len(piece)
            if self.left <= 0:
                raise httpx.ReadError("cut")

    def close(self):
        self.stream.close()


class AsyncCut(httpx.AsyncByteStream):
    def __init__(self, stream, left):
        self.stream, self.left = stream, left

    async def __aiter__(self):
        async for piece in self.stream:
            yield piece[: self.left]
            self.left -= len(piece)
            if self.left <= 0:
                raise httpx.ReadError("cut")

    async def aclose(self):
        await self.stream.aclose()


class Way(Faults, httpx.BaseTransport):
    def __init__(self):
        super().__init__(httpx.HTTPTransport())

    def handle_request(self, request):
        fault, reply = self.before(request)
        if reply is not None:
            return reply
        reply = self.inner.handle_request(request)
        if "drop" in fault:
            reply.read()
        self.after(fault)
        if "cut" in fault:
            reply.stream = Cut(reply.stream, fault["cut"])
        return reply


class AsyncWay(Faults, httpx.AsyncBaseTransport):
    def __init__(self):
        super().__init__(httpx.AsyncHTTPTransport())

    async def handle_async_request(self, request):
        fault, reply = self.before(request)
        if reply is not None:
            return reply
        reply = await self.inner.handle_async_request(request)
        if "drop" in fault:
            await reply.aread()
        self.after(fault)
        if "cut" in fault:
            reply.stream = AsyncCut(reply.stream, fault["cut"])
        return reply


def rows():
    made = kim.notes.create({"title": "one", "rank": 3, "secret": "s", "mail": "a@example.com"})
    assert made["version"] == 1 and kim.notes.get(made["id"]) == made
    changed = kim.notes.update(made["id"], {"rank": None}, version=1)
    assert (changed["rank"], changed["version"]) == (None, 2)
    assert fails(lambda: kim.notes.update(made["id"], {"rank": 9}, version=1), "version-mismatch").status == 412
    seen = ann.notes.get(made["id"], fields=["title", "secret", "mail"])
    assert seen == {"id": made["id"], "title": "one", "_masked": ["secret", "mail"]}, seen
    kim.notes.delete(made["id"])
    fails(lambda: kim.notes.get(made["id"]), "not-found")
    wrong = fails(lambda: kim.notes.create({"rank": 5000, "nothing": 1}), "invalid-fields")
    assert {error["pointer"] for error in wrong.errors} == {"/title", "/rank", "/nothing"} and len(wrong.request_id) == 32
    fails(lambda: Haechi(SERVER).notes.list(), "unauthenticated")


def texts_and_filters():
    hard = ['a "quoted" one', "back\\slash", "tab\tnew\nline\r", "한국어 ☃ 🦁", "') OR (title = \"x", "NOT me", "me", "null", " leading", "50%_*"]
    for title in hard:
        kim.notes.create({"title": title, "rank": 7})
    for title in hard:
        assert [note["title"] for note in kim.notes.list(where={"title": title, "rank": 7})["items"]] == [title]
    assert kim.notes.remove({"title": {"in_": hard}})["count"] == len(hard)
    a, b, c = (kim.notes.create({"title": title, "rank": rank, "slug": None if title == "c" else f"slug-{title}"}) for rank, title in enumerate("abc"))
    kim.notes.update(c["id"], {"parent": a["id"]})
    for where, expected in [
        ({}, "abc"),
        ({"author": me}, "abc"),
        ({"title": {"in_": []}}, ""),
        ({"title": {"not_in": []}}, "abc"),
        ({"or_": []}, ""),
        ({"not_": {}}, ""),
        ({"not_": {"or_": [{"title": "a"}, {"rank": {"gte": 2}}]}}, "b"),
        ({"or_": [{"title": "a"}, {"title": "b"}], "rank": {"lt": 1}}, "a"),
        ({"and_": [{"rank": {"gt": 0}}, {"rank": {"lte": 1}}]}, "b"),
        ({"slug": None}, "c"),
        ({"slug": {"ne": None}}, "ab"),
        ({"parent": {"where": {"title": "a"}}}, "c"),
        ('title = "a"', "a"),
    ]:
        found = "".join(sorted(note["title"] for note in kim.notes.list(where=where)["items"]))
        assert found == expected, (where, filter_text(where), found)
    for where in [{"rank": {}}, {"rank": {"in": [1]}}, {"rank": {"eq": object()}}, {"rank:* OR rank": 1}, {"parent": {"where": {}}}, {"title": [1]}]:
        try:
            filter_text(where)
        except (TypeError, ValueError):
            continue
        raise AssertionError(where)
    page = kim.notes.list(order={"rank": "desc"}, fields=["title"], count=True)
    assert ([note["title"] for note in page["items"]], page["total_size"]) == (["c", "b", "a"], 3)
    wide = kim.notes.get(c["id"], fields=["title"], expand={"parent": {"fields": ["title"], "expand": {"notes_by_parent": {"first": 1, "fields": ["rank"]}}}})
    assert wide["_expanded"]["parent"]["_expanded"]["notes_by_parent"] == {"items": [{"id": c["id"], "rank": 2}], "more": False}, wide
    (all_of_them,) = kim.notes.aggregate(sum=["rank"], max=["title"])
    assert (all_of_them["count"], all_of_them["sum"]["rank"], all_of_them["max"]["title"]) == (3, "3", "c")
    assert [group["key"]["title"] for group in kim.notes.aggregate(by=["title"], where={"rank": {"lt": 2}})] == ["a", "b"]
    assert kim.notes.upsert(("slug",), {"slug": "SLUG-B", "title": "bb"})["id"] == b["id"]
    assert sorted(kim.notes.change({"rank": {"gte": 1}}, {"title": "z"})["ids"]) == sorted([b["id"], c["id"]])
    made, below, many, gone = kim.batch(
        [
            {"create": "notes", "as": "n", "data": {"title": "n"}},
            {"create": "notes", "data": {"title": "m", "parent": "$n.id"}},
            {"change": "notes", "where": {"title": "z"}, "data": {"rank": 9}},
            {"delete": "notes", "id": a["id"]},
        ]
    )
    assert (below["parent"], many["count"], gone["_deleted"]) == (made["id"], 2, True)
    kim.notes.remove({"author": me})
    for rank in range(25):
        kim.notes.create({"title": f"page {rank}", "rank": rank})
    assert [note["rank"] for note in kim.notes.all(order={"rank": "asc"}, page_size=10)] == list(range(25))
    kim.notes.remove({"author": me})


def repeats():
    way = Way()
    client = Haechi(SERVER, token=KIM, transport=way)
    way.faults += [{"drop": 1}, {"drop": 1}, {"status": 502}]
    made = client.notes.create({"title": "once"})
    assert len({key for _, _, key, _ in way.seen}) == 1 and len(way.seen) == 4
    assert len(kim.notes.list(where={"title": "once"})["items"]) == 1
    way.faults += [{"refuse": 1}, {"cut": 100}, {"status": 200}]
    assert client.notes.get(made["id"])["title"] == "once"
    yesterday = time.time() - 86_400
    date = lambda at: time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(at))
    way.faults += [{"status": 429, "headers": {"retry-after": "1"}}, {"status": 503, "headers": {"date": date(yesterday), "retry-after": date(yesterday + 1)}}]
    began = time.monotonic()
    client.notes.update(made["id"], {"title": "twice"})
    assert time.monotonic() - began > 1.9
    way.faults += [{"status": 503, "headers": {"retry-after": "3600"}}]
    assert fails(lambda: client.notes.get(made["id"]), "unexpected").retry_after == 3600
    way.faults += [{"status": 502}] * 5
    assert fails(lambda: client.notes.get(made["id"]), "unexpected").status == 502
    way.seen.clear()
    fails(lambda: client.notes.create({}), "invalid-fields")
    way.faults += [{"drop": 1}]
    fails(lambda: client.auth.sign_in("a@example.com", "wrong wrong wrong"), "unreachable")
    assert len(way.seen) == 2
    kim.notes.remove({"author": me})


def sessions():
    email, password = f"python-{time.time_ns()}@example.com", "seven purple otters dance"
    out = []
    client = Haechi(SERVER, on_signed_out=out.append)
    assert client.auth.me() is None and not out
    client.auth.sign_up(email, password)
    fails(lambda: client.auth.sign_in(email, "nine purple otters dance"), "sign-in-failed")
    session = client.auth.sign_in(email, password)
    assert client.token == session["token"] and client.auth.me()["email"] == email and len(client.auth.sessions()) == 1
    key = client.auth.create_key("probe", ["posts:list", "posts:read"])
    by_key = Haechi(SERVER, token=key["key"])
    by_key.posts.list()
    stream = client.posts.watch()
    assert next(stream) == {"type": "ready"}
    client.auth.change_password(password, "eleven green boats sail away")
    fails(lambda: next(stream), "unauthenticated")
    fails(lambda: by_key.posts.list(), "unauthenticated")
    client.auth.sign_out()
    assert client.token is None


def until(what, holds):
    for _ in range(1_600):
        if holds():
            return
        time.sleep(0.025)
    raise AssertionError(what)


def blocking_streams():
    """Through nginx, which is restarted in the middle."""
    client = Haechi(NGINX, token=KIM)
    told, pages = [], []

    def watch():
        for change in client.notes.watch(fields=["title"]):
            told.append((change["type"], change.get("record", {}).get("title")))

    def live():
        for page in client.notes.live(where={"rank": {"gte": 1}}, count=True, page_size=5):
            pages.append(page["total_size"])

    threading.Thread(target=watch, daemon=True).start()
    threading.Thread(target=live, daemon=True).start()
    until("ready", lambda: told and pages)
    kim.notes.create({"title": "before", "rank": 1})
    until("before", lambda: ("create", "before") in told and pages[-1] == 1)
    print("cut", flush=True)
    for number in range(20):
        kim.notes.create({"title": f"event {number}", "rank": 1})
        time.sleep(0.05)
    until("all that was missed", lambda: len({title for kind, title in told if kind == "create"}) == 21 and pages[-1] == 21)
    assert [kind for kind, _ in told].count("ready") == 1 and ("resync", None) not in told, told
    kim.batch([{"create": "notes", "data": {"title": f"flood {at}", "rank": 1}} for at in range(100)])
    until("a flood", lambda: pages[-1] == 121)
    assert len(pages) < 60, pages
    kim.notes.remove({"author": me})


async def parallel():
    """The same over asyncio."""
    way = AsyncWay()
    async with AsyncHaechi(SERVER, token=KIM, transport=way) as client:
        way.faults += [{"drop": 1}, {"status": 502}]
        made = await client.notes.create({"title": "once"})
        assert len({key for _, _, key, _ in way.seen}) == 1
        await fails_async(client.notes.update(made["id"], {"title": "x"}, version=9), "version-mismatch")
        assert [note["title"] async for note in client.notes.all(where={"title": "once"})] == ["once"]
        told = []

        async def watch():
            async for change in client.notes.watch(fields=["title"]):
                told.append((change["type"], change.get("record", {}).get("title")))

        way.faults += [{"cut": 160}, {"status": 502}, {"status": 429, "headers": {"retry-after": "1"}}, {"status": 200}, {"cut": 333}]
        watching = asyncio.create_task(watch())
        await asyncio.sleep(0.5)
        for number in range(10):
            await client.request("POST", "/api/v1/notes", body={"title": f"event {number}"})
        for _ in range(1_600):
            if len({title for kind, title in told if kind == "create"}) == 10:
                break
            await asyncio.sleep(0.025)
        else:
            raise AssertionError(told)
        watching.cancel()
        pages = []

        async def live():
            async for page in client.notes.live(where={"title": {"starts_with": "event"}}, count=True):
                pages.append(page["total_size"])
                if pages[-1] == 5:
                    return

        following = asyncio.create_task(live())
        await asyncio.sleep(0.5)
        await asyncio.gather(*(client.notes.remove({"title": f"event {number}"}) for number in range(5)))
        await asyncio.wait_for(following, 20)
        assert len(pages) < 8, pages
        # A position that is too old: what happened since is not known.
        way.faults += [{"cut": 400}, {"status": 410, "headers": {"content-type": "application/problem+json"}, "body": '{"type":"/problems/position-gone"}'}]
        stream = client.notes.watch(fields=["title"])
        assert (await stream.__anext__())["type"] == "ready"
        told.clear()

        async def write():
            for number in range(10):
                await asyncio.sleep(0.1)
                await asyncio.to_thread(kim.notes.create, {"title": f"after {number}"})

        writing = asyncio.create_task(write())
        while (await asyncio.wait_for(stream.__anext__(), 20))["type"] != "resync":
            pass
        await writing
        await fails_async(AsyncHaechi(SERVER).notes.watch().__anext__(), "unauthenticated")
        await client.notes.remove({"author": me})


for step in (rows, texts_and_filters, repeats, sessions, blocking_streams):
    step()
asyncio.run(parallel())
print("done")
