# ---- filters, orders and expansions ----


class Me:
    """The caller, in filters over people: `where={"lead": me}`."""

    def __repr__(self) -> str:
        return "me"


me: Final = Me()

T = TypeVar("T")
Direction = Literal["asc", "desc", "asc nulls_first", "asc nulls_last", "desc nulls_first", "desc nulls_last"]


class Equal(TypedDict, Generic[T], total=False):
    eq: T | None
    ne: T | None
    in_: Sequence[T]
    not_in: Sequence[T]


class Compared(TypedDict, Generic[T], total=False):
    eq: T | None
    ne: T | None
    in_: Sequence[T]
    not_in: Sequence[T]
    lt: T
    lte: T
    gt: T
    gte: T


class Textual(TypedDict, total=False):
    eq: str | None
    ne: str | None
    in_: Sequence[str]
    not_in: Sequence[str]
    lt: str
    lte: str
    gt: str
    gte: str
    contains: str
    starts_with: str


class Listing(TypedDict, Generic[T], total=False):
    has: T
    eq: None
    ne: None


_NOTHING: Final = "id IS NULL"
_EVERYTHING: Final = "id IS NOT NULL"
_COMPARED: Final = {"eq": "=", "ne": "!=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">=", "has": ":"}
_ESCAPED: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _literal(value: object, place: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + re.sub(r'["\\\n\r\t]', lambda sign: _ESCAPED.get(sign[0], "\\" + sign[0]), value) + '"'
    if isinstance(value, (int, float, Me)):
        return repr(value)
    raise TypeError(f"the filter over {place} is no text, number or bool: write a time or a decimal as a text")


def _one_of(field: str, values: Sequence[object], negated: bool) -> str:
    # The language knows no empty list.
    if not values:
        return _EVERYTHING if negated else _NOTHING
    return f"{field} {'NOT IN' if negated else 'IN'} ({', '.join(_literal(value, field) for value in values)})"


def _test(field: str, operator: str, value: Any) -> str:
    if operator == "where":
        if not value:
            raise ValueError(f"the filter over {field}.where is empty")
        return _group(value, f"{field}.")
    if operator in ("in_", "not_in"):
        return _one_of(field, value, operator == "not_in")
    if operator in ("contains", "starts_with"):
        return f"{operator}({field}, {_literal(value, field)})"
    if operator not in _COMPARED:
        raise ValueError(f"the filter over {field} has no operator {operator!r}")
    if value is None:
        return f"{field} IS {'NOT ' if operator == 'ne' else ''}NULL"
    return f"{field} {_COMPARED[operator]} {_literal(value, field)}"


def _conditions(where: Mapping[str, Any], before: str) -> list[str]:
    found: list[str] = []
    for key, test in where.items():
        field = before + key
        if key == "and_":
            found += [_group(part, before) for part in test]
        elif key == "or_":
            found.append("(" + " OR ".join(_group(part, before) for part in test) + ")" if test else _NOTHING)
        elif key == "not_":
            found.append("NOT " + _group(test, before))
        elif not re.fullmatch("[a-z][a-z0-9_]*", key):
            raise ValueError(f"the filter names no field with {field!r}")
        elif test is None:
            found.append(f"{field} IS NULL")
        elif isinstance(test, Mapping):
            operators = cast(Mapping[str, Any], test)
            if not operators:
                raise ValueError(f"the filter over {field} is empty")
            found += [_test(field, operator, value) for operator, value in operators.items()]
        else:
            found.append(f"{field} = {_literal(test, field)}")
    return found


def _group(where: Mapping[str, Any], before: str) -> str:
    return "(" + (" AND ".join(_conditions(where, before)) or _EVERYTHING) + ")"


def filter_text(where: Mapping[str, Any] | str) -> str:
    """The text of a filter, as `filter=` of REST takes it."""
    return where if isinstance(where, str) else " AND ".join(_conditions(where, ""))


def _expansions(expand: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    for name, inner in expand.items():
        parts: list[str] = []
        if inner is not True:
            parts = [str(inner["first"])] if "first" in inner else []
            parts += [*inner.get("fields", ()), *_expansions(inner.get("expand", {}))]
        found.append(f"{name}({','.join(parts)})" if parts else name)
    return found


def _question(where: Any, order: Mapping[str, str] | None, expand: Any, **rest: object) -> dict[str, object]:
    asked = {key: value for key, value in rest.items() if value is not None}
    if where:
        asked["filter"] = filter_text(where)
    if order:
        asked["order_by"] = ", ".join(f"{field} {direction}" for field, direction in order.items())
    if expand:
        asked["expand"] = ",".join(_expansions(expand))
    return asked


# ---- problems ----


class FieldProblem(TypedDict):
    pointer: str
    """Where in what was sent (RFC 6901), as `/title`."""
    code: str
    detail: str


class HaechiError(Exception):
    """What the server, or the way to it, answered instead of a result."""

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after: float | None = None) -> None:
        self.status = status
        """0 without a reply."""
        named = problem.get("type")
        kind = str(named).rsplit("/", 1)[-1] if named else "unexpected" if status else "unreachable"
        self.kind: ProblemKind | Literal["unreachable", "unexpected"] = cast(Any, kind)
        self.title = str(problem.get("title", ""))
        self.detail = str(problem.get("detail", f"status {status}"))
        self.errors = cast(list[FieldProblem], problem.get("errors", []))
        self.request_id = cast("str | None", problem.get("request_id"))
        self.retry_after = retry_after
        super().__init__(self.detail)


def _retry_after(reply: httpx.Response) -> float | None:
    text = reply.headers.get("retry-after")
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    try:
        # A date counts from the server's own clock: ours may be wrong.
        then, now = parsedate_to_datetime(text).timestamp(), parsedate_to_datetime(reply.headers.get("date", "")).timestamp()
    except (TypeError, ValueError):
        return None
    return max(0.0, then - now)


def _failure(reply: httpx.Response) -> HaechiError:
    told: dict[str, Any] = {}
    if "problem+json" in reply.headers.get("content-type", ""):
        try:
            told = reply.json()
        except ValueError:
            pass
    return HaechiError(reply.status_code, told, _retry_after(reply))


def _unreachable(cause: Exception) -> HaechiError:
    error = HaechiError(0, {"detail": "The server cannot be reached."})
    error.__cause__ = cause
    return error


_FIRST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 8.0
_LONGEST_RETRY_AFTER: Final = 60.0
_TOGETHER: Final = 0.05
"""Changes that come so soon after another are one page of `live`."""


def _passes(error: HaechiError) -> bool:
    """Whether asking again may help."""
    return error.status in (0, 408, 425, 429, 502, 503, 504) or error.kind == "unknown-outcome"


def _pause(attempt: int, error: HaechiError) -> float:
    grown = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt) * random.uniform(0.5, 1.0)
    return max(grown, error.retry_after or 0.0)


# ---- what calls take and give ----


class Unseen(TypedDict):
    """What is left of a row whose writer may no longer read it."""

    id: str


class Many(TypedDict):
    count: int
    ids: list[str]


R = TypeVar("R")
P = TypeVar("P")
C = TypeVar("C")
U = TypeVar("U")
W = TypeVar("W")
F = TypeVar("F", bound=str)
O = TypeVar("O", bound=str)
S = TypeVar("S", bound=str)
E = TypeVar("E")
K = TypeVar("K")


class Page(TypedDict, Generic[R]):
    items: list[R]
    next_page_token: NotRequired[str]
    prev_page_token: NotRequired[str]
    total_size: NotRequired[int]


class Group(TypedDict, Generic[P]):
    key: P
    count: int
    sum: NotRequired[dict[str, str | float | None]]
    """Sums of whole numbers and decimals are exact, as texts."""
    avg: NotRequired[dict[str, float | None]]
    min: NotRequired[P]
    max: NotRequired[P]


class Told(TypedDict, Generic[R]):
    """A change, or a sign of the stream: `ready`, and `resync`: what you see may be another list now, read it again."""

    type: Literal["ready", "resync", "create", "update", "delete"]
    id: NotRequired[str]
    record: NotRequired[R]


class Account(TypedDict):
    email: str
    password: str


class Session(TypedDict):
    session: str
    expire_time: str
    user: str
    token: str
    device: str


class Caller(TypedDict):
    kind: Literal["user", "service"]
    id: str
    roles: list[str]
    email: NotRequired[str]
    session: NotRequired[str]
    auth_time: NotRequired[str]


class SessionEntry(TypedDict):
    id: str
    create_time: str
    seen_time: str
    expire_time: str
    address: str
    agent: str
    current: NotRequired[bool]


class KeyEntry(TypedDict):
    id: str
    label: str
    hint: str
    scopes: list[str]
    create_time: str
    expire_time: str
    key: NotRequired[str]
    """Shown once, when it is made."""


class _Events:
    """Reads server-sent events from pieces of text. What is cut inside of an event is dropped."""

    def __init__(self) -> None:
        self._text = ""

    def read(self, piece: str) -> list[dict[str, str]]:
        *parts, self._text = re.split(r"\r?\n\r?\n", self._text + piece)
        return [dict(line.split(": ", 1) for line in part.splitlines() if ": " in line) for part in parts]


def _ended(event: Mapping[str, str]) -> HaechiError | None:
    reason = json.loads(event.get("data", "{}")).get("reason")
    if reason == "signed_out":
        return HaechiError(401, {"type": "unauthenticated", "detail": "The session has ended."})
    if reason == "refused":
        return HaechiError(403, {"type": "forbidden", "detail": "You may no longer watch this."})
    return None


def _looks_through(where: Any) -> bool:
    """Streams do not look through references."""
    return isinstance(where, str) or '"where":' in json.dumps(where, default=str)


# ---- async ----


class AsyncAuth:
    """Signing up, in and out, and one's own sessions and keys."""

    device: str | None = None
    """Proof that this device has signed in before: keep it, and set it before the next sign-in."""

    def __init__(self, client: AsyncClientBase) -> None:
        self._client = client

    async def _post(self, path: str, body: object = None) -> Any:
        # These routes look at no key, so they are never sent twice.
        return await self._client.request("POST", f"/auth/v1/{path}", body=body, once=True)

    def _began(self, session: Session) -> Session:
        self._client.token = session["token"]
        self.device = session["device"]
        return session

    async def sign_up(self, email: str, password: str, *, profile: Mapping[str, object] | None = None, invitation: str | None = None) -> None:
        await self._post("sign-up", {"email": email, "password": password, "profile": profile, "invitation": invitation})

    async def sign_in(self, email: str, password: str) -> Session:
        return self._began(await self._post("sign-in", {"email": email, "password": password, "device": self.device}))

    async def sign_out(self) -> None:
        await self._post("sign-out")
        self._client.token = None

    async def me(self) -> Caller | None:
        """Who one is; `None` for nobody."""
        try:
            return await self._client.request("GET", "/auth/v1/me")
        except HaechiError as error:
            if error.status == 401:
                return None
            raise

    async def change_password(self, current_password: str, new_password: str) -> Session:
        return self._began(await self._post("password", {"current_password": current_password, "new_password": new_password}))

    async def set_password(self, code: str, new_password: str) -> None:
        await self._post("password", {"code": code, "new_password": new_password})

    async def sessions(self) -> list[SessionEntry]:
        return (await self._client.request("GET", "/auth/v1/sessions"))["items"]

    async def end_session(self, id: str) -> None:
        await self._client.request("DELETE", f"/auth/v1/sessions/{quote(id, safe='')}", once=True)

    async def end_other_sessions(self) -> None:
        await self._client.request("DELETE", "/auth/v1/sessions", once=True)

    async def keys(self) -> list[KeyEntry]:
        return (await self._client.request("GET", "/auth/v1/keys"))["items"]

    async def create_key(self, label: str, scopes: Sequence[str], expire_time: str | None = None) -> KeyEntry:
        return await self._post("keys", {"label": label, "scopes": scopes, "expire_time": expire_time})

    async def revoke_key(self, id: str) -> None:
        await self._client.request("DELETE", f"/auth/v1/keys/{quote(id, safe='')}", once=True)


class AsyncClientBase:
    """What the client does for every request: credential, retries, problems."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = 30.0,
        silence: float = 50.0,
        retries: int = 4,
        language: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        on_signed_out: Callable[[HaechiError], None] | None = None,
    ) -> None:
        self.token = token
        self.timeout = timeout
        self.silence = silence
        self.auth = AsyncAuth(self)
        self._retries = retries
        self._on_signed_out = on_signed_out
        headers = {"Accept-Language": language} if language else {}
        self.http = httpx.AsyncClient(base_url=url, timeout=timeout, headers=headers, transport=transport)

    async def aclose(self) -> None:
        await self.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def credential(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def lost(self, error: HaechiError) -> HaechiError:
        if error.kind == "unauthenticated" and self.token and self._on_signed_out:
            self._on_signed_out(error)
        return error

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        params: Mapping[str, str] | None = None,
        version: int | None = None,
        idempotency_key: str | None = None,
        reads: bool = False,
        once: bool = False,
    ) -> Any:
        """Any request. What changes something is sent again only with a key; `once` is never sent again."""
        reads = reads or method == "GET"
        key = None if reads or once else idempotency_key or uuid.uuid4().hex
        headers = {"Accept": "application/json", **self.credential()}
        if key:
            headers["Idempotency-Key"] = key
        if version is not None:
            headers["If-Match"] = f'"{version}"'
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body).encode()
        attempt = 0
        while True:
            try:
                reply = await self.http.request(method, path, params=params, content=content, headers=headers)
                if reply.status_code == 204:
                    return None
                if reply.is_success:
                    return reply.json()
                error = _failure(reply)
            except (httpx.TransportError, ValueError) as cause:
                error = _unreachable(cause)
            if not (reads or key) or not _passes(error) or attempt >= self._retries or (error.retry_after or 0.0) > _LONGEST_RETRY_AFTER:
                raise self.lost(error)
            await asyncio.sleep(_pause(attempt, error))
            attempt += 1

    async def batch(self, operations: Sequence[Operation], *, idempotency_key: str | None = None) -> list[Any]:
        """Changes that happen all or none, with a result for each."""
        sent = [
            {("filter" if key == "where" else key): filter_text(cast(Any, value)) if key == "where" else value for key, value in operation.items()}
            for operation in operations
        ]
        return (await self.request("POST", "/api/v1:batch", body={"operations": sent}, idempotency_key=idempotency_key))["results"]


class AsyncCollection(Generic[R, P, C, U, W, F, O, S, E, K]):
    def __init__(self, client: AsyncClientBase, name: str) -> None:
        self._client = client
        self._path = f"/api/v1/{name}"

    def _of(self, id: str) -> str:
        return f"{self._path}/{quote(id, safe='')}"

    async def _act(self, id: str, action: str, body: object, version: int | None, idempotency_key: str | None) -> R | Unseen:
        return await self._client.request("POST", f"{self._of(id)}:{action}", body=body, version=version, idempotency_key=idempotency_key)

    @overload
    async def get(self, id: str, *, fields: None = None, expand: E | None = None) -> R: ...
    @overload
    async def get(self, id: str, *, fields: Sequence[F], expand: E | None = None) -> P: ...
    async def get(self, id: str, *, fields: Sequence[F] | None = None, expand: E | None = None) -> R | P:
        asked: dict[str, str] = {}
        if fields is not None:
            asked["fields"] = ",".join(fields)
        if expand:
            asked["expand"] = ",".join(_expansions(cast(Any, expand)))
        return await self._client.request("GET", self._of(id), params=asked)

    @overload
    async def list(
        self,
        *,
        where: W | str | None = None,
        order: Mapping[O, Direction] | None = None,
        fields: None = None,
        expand: E | None = None,
        page_size: int | None = None,
        page_token: str | None = None,
        count: bool | None = None,
    ) -> Page[R]: ...
    @overload
    async def list(
        self,
        *,
        where: W | str | None = None,
        order: Mapping[O, Direction] | None = None,
        fields: Sequence[F],
        expand: E | None = None,
        page_size: int | None = None,
        page_token: str | None = None,
        count: bool | None = None,
    ) -> Page[P]: ...
    async def list(
        self,
        *,
        where: W | str | None = None,
        order: Mapping[O, Direction] | None = None,
        fields: Sequence[F] | None = None,
        expand: E | None = None,
        page_size: int | None = None,
        page_token: str | None = None,
        count: bool | None = None,
    ) -> Page[R] | Page[P]:
        """A page."""
        by = cast("Mapping[str, str] | None", order)
        body = _question(where, by, expand, fields=fields, page_size=page_size, page_token=page_token, count=count)
        # In the body: values of filters do not belong into URLs, which end up in logs.
        return await self._client.request("POST", f"{self._path}:query", body=body, reads=True)

    async def pages(
        self,
        *,
        where: W | str | None = None,
        order: Mapping[O, Direction] | None = None,
        expand: E | None = None,
        page_size: int | None = None,
    ) -> AsyncIterator[Page[R]]:
        """All pages, one after the other."""
        token: str | None = None
        while True:
            page = await self.list(where=where, order=order, expand=expand, page_size=page_size, page_token=token)
            yield page
            token = page.get("next_page_token")
            if not token:
                return

    async def all(
        self,
        *,
        where: W | str | None = None,
        order: Mapping[O, Direction] | None = None,
        expand: E | None = None,
        page_size: int | None = None,
    ) -> AsyncIterator[R]:
        """All rows of all pages."""
        async for page in self.pages(where=where, order=order, expand=expand, page_size=page_size):
            for row in page["items"]:
                yield row

    async def aggregate(
        self,
        *,
        where: W | str | None = None,
        by: Sequence[O] | None = None,
        sum: Sequence[S] | None = None,
        avg: Sequence[S] | None = None,
        min: Sequence[O] | None = None,
        max: Sequence[O] | None = None,
    ) -> builtins.list[Group[P]]:
        """Counts and sums, in groups where `by` names fields. What was not asked for is absent from a group."""
        body = _question(where, None, None, group_by=by, sum=sum, avg=avg, min=min, max=max)
        return (await self._client.request("POST", f"{self._path}:aggregate", body=body, reads=True))["groups"]

    async def create(self, data: C, *, idempotency_key: str | None = None) -> R | Unseen:
        return await self._client.request("POST", self._path, body=data, idempotency_key=idempotency_key)

    async def update(self, id: str, data: U, *, version: int | None = None, idempotency_key: str | None = None) -> R | Unseen:
        """Changes fields: what is absent stays, `None` takes a value away."""
        return await self._client.request("PATCH", self._of(id), body=data, version=version, idempotency_key=idempotency_key)

    async def delete(self, id: str, *, version: int | None = None, idempotency_key: str | None = None) -> None:
        await self._client.request("DELETE", self._of(id), version=version, idempotency_key=idempotency_key)

    async def upsert(self, on: K, data: C, *, idempotency_key: str | None = None) -> R | Unseen:
        """Changes the row with this unique key, or creates it."""
        return await self._client.request("POST", f"{self._path}:upsert", body={"on": on, "data": data}, idempotency_key=idempotency_key)

    async def change(self, where: W | str, data: U, *, idempotency_key: str | None = None) -> Many:
        """Changes all rows that the filter finds, at most 1 000, or none."""
        body = {"filter": filter_text(cast(Any, where)), "data": data}
        return await self._client.request("POST", f"{self._path}:change", body=body, idempotency_key=idempotency_key)

    async def remove(self, where: W | str, *, idempotency_key: str | None = None) -> Many:
        """Deletes all rows that the filter finds, at most 1 000, or none."""
        body = {"filter": filter_text(cast(Any, where))}
        return await self._client.request("POST", f"{self._path}:remove", body=body, idempotency_key=idempotency_key)

    async def watch(self, *, where: W | str | None = None, fields: Sequence[F] | None = None) -> AsyncIterator[Told[P]]:
        """Changes, from now on, without end: what breaks off is opened again after the last position."""
        body = json.dumps(_question(where, None, None, fields=fields)).encode()
        position: str | None = None
        began = False
        attempt = 0
        while True:
            error = HaechiError(0, {"detail": "The stream has ended."})
            headers = {"Accept": "text/event-stream", "Content-Type": "application/json", **self._client.credential()}
            if position:
                headers["Last-Event-ID"] = position
            try:
                timeout = httpx.Timeout(self._client.timeout, read=self._client.silence)
                async with self._client.http.stream("POST", f"{self._path}:watch", content=body, headers=headers, timeout=timeout) as reply:
                    if not reply.is_success:
                        await reply.aread()
                        raise _failure(reply)
                    # Something on the way may answer 200 with a page of its own.
                    if not reply.headers.get("content-type", "").startswith("text/event-stream"):
                        raise ValueError("no stream")
                    events = _Events()
                    ended = False
                    async for piece in reply.aiter_text():
                        for event in events.read(piece):
                            attempt = 0
                            name = event.get("event")
                            if name == "end":
                                final = _ended(event)
                                if final:
                                    raise final
                                ended = True
                            elif name == "ready":
                                # What happened before a new beginning is not known.
                                if not began or position is None:
                                    yield {"type": "resync" if began else "ready"}
                                began = True
                            elif name:
                                yield cast("Told[P]", {"type": name, **json.loads(event.get("data", "{}"))})
                            position = event.get("id", position)
                        if ended:
                            break
            except HaechiError as thrown:
                if thrown.status == 410:
                    position = None
                    continue
                if not _passes(thrown) and thrown.status != 500:
                    raise self._client.lost(thrown) from None
                error = thrown
            except (httpx.TransportError, ValueError):
                pass
            await asyncio.sleep(_pause(attempt, error))
            attempt += 1


# ---- end of async ----
