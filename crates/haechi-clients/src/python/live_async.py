    async def live(
        self,
        *,
        where: W | str | None = None,
        order: Mapping[O, Direction] | None = None,
        expand: E | None = None,
        page_size: int | None = None,
        count: bool | None = None,
    ) -> AsyncIterator[Page[R]]:
        """The page that a query finds, now and after each change; many changes at once are one page."""
        changed = asyncio.Event()
        changed.set()
        watched = None if _looks_through(where) else where

        async def note() -> None:
            try:
                async for _ in self.watch(where=watched, fields=cast(Any, ["id"])):
                    changed.set()
            finally:
                changed.set()

        watching = asyncio.create_task(note())
        try:
            while True:
                await changed.wait()
                if watching.done():
                    watching.result()
                changed.clear()
                yield await self.list(where=where, order=order, expand=expand, page_size=page_size, count=count)
                await asyncio.sleep(_TOGETHER)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
